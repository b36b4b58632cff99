import * as path from 'node:path'
import { installNpmPackage, Server } from './service.mjs'

const VERSION = '3.37.0'

function program() {
  return path.join(installNpmPackage('azurite', VERSION), 'node_modules/azurite/dist/src/blob/main.js')
}

/** Azure Blob Storage, from npm. It keeps its conditions. */
export const azurite = {
  name: 'azurite',
  prepare() {
    program()
  },
  async create({ port, folder }) {
    const place = ['--blobHost', '127.0.0.1', '--blobPort', String(port), '--location', folder]
    return new Server({
      name: 'azurite',
      command: process.execPath,
      args: [program(), ...place, '--skipApiVersionCheck', '--silent'],
      port,
      folder,
      address: `http://127.0.0.1:${port}/devstoreaccount1`,
    })
  },
}
