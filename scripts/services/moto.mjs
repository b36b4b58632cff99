import * as path from 'node:path'
import { installPythonPackage, Server } from './service.mjs'

const VERSION = '5.2.5'

/** S3 in memory, from PyPI. Its conditions hold most of the time, and it takes any digest. */
export const moto = {
  name: 'moto',
  prepare() {
    installPythonPackage('moto[server,s3]', VERSION, { withDependencies: true })
  },
  async create({ port, folder }) {
    const packages = installPythonPackage('moto[server,s3]', VERSION, { withDependencies: true })
    return new Server({
      name: 'moto',
      command: path.join(packages, 'bin/moto_server'),
      args: ['-H', '127.0.0.1', '-p', String(port)],
      env: { PYTHONPATH: packages },
      port,
      folder,
      address: `http://127.0.0.1:${port}`,
    })
  },
}
