import { answersPing, findProgram, installDebianPackage, Server } from './service.mjs'

/** Everything is on disk before it is acknowledged: kill -9 loses nothing. */
export const durableArguments = (port, folder) =>
  `--port ${port} --bind 127.0.0.1 --dir ${folder} --appendonly yes --appendfsync always --save`
    .split(' ')
    .concat('')

function tlsArguments(port, secure) {
  if (secure === undefined) return []
  const { certificate, key, password } = secure
  const files = ['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-ca-cert-file', certificate]
  return ['--tls-port', String(port), ...files, '--tls-auth-clients', 'no', '--requirepass', password]
}

/** Redis, from Debian. */
export const redis = {
  name: 'redis',
  prepare() {
    if (findProgram('redis-server') === undefined) installDebianPackage('redis-server')
  },
  async create({ port, folder, secure }) {
    return new Server({
      name: 'redis',
      command: 'redis-server',
      args: durableArguments(secure === undefined ? port : 0, folder).concat(tlsArguments(port, secure)),
      port,
      folder,
      ...(secure === undefined && { isReady: () => answersPing(port) }),
      address:
        secure === undefined ? `redis://127.0.0.1:${port}` : `rediss://:${secure.password}@127.0.0.1:${port}`,
    })
  },
}
