import * as fs from 'node:fs'
import * as path from 'node:path'
import { user } from './postgres.mjs'
import { findProgram, installDebianPackage, Server } from './service.mjs'

const programs = () => findProgram('pgbouncer', ['/usr/sbin'])

/** Throws `Unavailable` where it cannot be had. */
export function preparePgbouncer() {
  if (programs() === undefined) installDebianPackage('pgbouncer')
}

/** A pooler in front of a PostgreSQL, from Debian: a client has a connection of the server for one transaction. */
export function pgbouncer(port, folder, serverPort) {
  preparePgbouncer()
  const settings = path.join(folder, 'pgbouncer.ini')
  const owner = user()
  fs.writeFileSync(
    settings,
    `[databases]
postgres = host=127.0.0.1 port=${serverPort} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
`,
  )
  if (owner.uid !== undefined) for (const each of [folder, settings]) fs.chownSync(each, owner.uid, owner.gid)
  return new Server({
    name: 'pgbouncer',
    command: programs(),
    args: [settings],
    port,
    folder,
    user: owner,
    signal: 'SIGINT',
    address: `postgres://postgres@127.0.0.1:${port}/postgres`,
  })
}
