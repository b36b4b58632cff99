import * as fs from 'node:fs'
import * as path from 'node:path'
import { cacheFolder, findProgram, Server, Unavailable } from './service.mjs'

const VERSION = '0.14.1'

/** As `cargo install` makes it: that takes up to ten minutes, so it is not done here. */
function program() {
  const folder = cacheFolder(`s3s-fs-${VERSION}`)
  const found = findProgram('s3s-fs', [path.join(folder, 'bin')])
  if (found !== undefined) return found
  const command = `cargo install s3s-fs --version ${VERSION} --features binary --locked --root ${folder}`
  throw new Unavailable(`there is no s3s-fs; ${command} makes it in up to ten minutes`)
}

/** S3 on a folder, with a bucket `bucket`. It takes conditions, and does not keep them: a store that must be refused. */
export const s3sFs = {
  name: 's3s-fs',
  prepare() {
    program()
  },
  async create({ port, folder }) {
    const data = path.join(folder, 'data')
    fs.mkdirSync(path.join(data, 'bucket'), { recursive: true })
    const keys = ['--access-key', 'test', '--secret-key', 'testsecret']
    return new Server({
      name: 's3s-fs',
      command: program(),
      args: ['--host', '127.0.0.1', '--port', String(port), ...keys, data],
      port,
      folder,
      address: `http://127.0.0.1:${port}`,
    })
  },
}
