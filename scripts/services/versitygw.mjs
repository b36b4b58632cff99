import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { cacheFolder, findProgram, Server, Unavailable } from './service.mjs'

/** As `go install github.com/versity/versitygw/cmd/versitygw@latest` makes it: that takes up to ten minutes, so it is not done here. */
function program() {
  const found = findProgram('versitygw', [cacheFolder('versitygw'), goFolder()])
  if (found !== undefined) return found
  const command = `GOBIN=${cacheFolder('versitygw')} go install github.com/versity/versitygw/cmd/versitygw@latest`
  throw new Unavailable(`there is no versitygw; ${command} makes it in up to ten minutes`)
}

function goFolder() {
  const { stdout } = spawnSync('go', ['env', 'GOPATH'], { encoding: 'utf8' })
  return path.join((stdout ?? '').trim() || '.', 'bin')
}

/** S3 on a folder, with a bucket `bucket`. It keeps its conditions. */
export const versitygw = {
  name: 'versitygw',
  prepare() {
    program()
  },
  async create({ port, folder }) {
    const data = path.join(folder, 'data')
    fs.mkdirSync(path.join(data, 'bucket'), { recursive: true })
    return new Server({
      name: 'versitygw',
      command: program(),
      args: ['--port', `127.0.0.1:${port}`, 'posix', data],
      env: { ROOT_ACCESS_KEY: 'test', ROOT_SECRET_KEY: 'testsecret' },
      port,
      folder,
      address: `http://127.0.0.1:${port}`,
    })
  },
}
