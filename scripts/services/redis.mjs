import { findProgram, installDebianPackage, Server } from './service.mjs'

/** Everything is on disk before it is acknowledged: kill -9 loses nothing. */
export const durableArguments = (port, folder) =>
  `--port ${port} --bind 127.0.0.1 --dir ${folder} --appendonly yes --appendfsync always --save`
    .split(' ')
    .concat('')

/** Redis, from Debian. */
export const redis = {
  name: 'redis',
  prepare() {
    if (findProgram('redis-server') === undefined) installDebianPackage('redis-server')
  },
  async create({ port, folder }) {
    return new Server({
      name: 'redis',
      command: 'redis-server',
      args: durableArguments(port, folder),
      port,
      folder,
      address: `redis://127.0.0.1:${port}`,
    })
  },
}
