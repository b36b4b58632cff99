import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { findProgram, installDebianPackage, Server, Unavailable } from './service.mjs'

const DEBIAN = '/usr/lib/postgresql'

/** Where Debian has the programs of the newest version, and whoever else has them in PATH. */
function programs() {
  const versions = fs.existsSync(DEBIAN) ? fs.readdirSync(DEBIAN) : []
  const folders = versions
    .sort((left, right) => Number(right) - Number(left))
    .map((version) => path.join(DEBIAN, version, 'bin'))
  const initdb = findProgram('initdb', folders)
  return initdb === undefined ? undefined : path.dirname(fs.realpathSync(initdb))
}

/** PostgreSQL refuses to run as root: then it runs as the user that Debian has made for it. */
export function user() {
  if (process.getuid?.() !== 0) return {}
  const line = fs.readFileSync('/etc/passwd', 'utf8').match(/^postgres:[^:]*:(\d+):(\d+):/m)
  if (line === null) throw new Unavailable('PostgreSQL does not run as root, and there is no user postgres')
  return { uid: Number(line[1]), gid: Number(line[2]) }
}

/** Who connects needs the password. The files must be the server's own. */
function passwordFor(folder, { certificate, key, password }, owner) {
  const file = path.join(folder, 'password')
  fs.writeFileSync(file, password)
  for (const each of [certificate, key, file])
    if (owner.uid !== undefined) fs.chownSync(each, owner.uid, owner.gid)
  fs.chmodSync(key, 0o600)
  return ['-A', 'scram-sha-256', '--pwfile', file]
}

/** PostgreSQL, from Debian. */
export const postgres = {
  name: 'postgres',
  prepare() {
    if (programs() === undefined) installDebianPackage('postgresql')
    if (programs() === undefined) throw new Unavailable('PostgreSQL is installed, but has no initdb')
    user()
  },
  async create({ port, folder, secure }) {
    const bin = programs()
    const data = path.join(folder, 'data')
    const owner = user()
    if (owner.uid !== undefined) fs.chownSync(folder, owner.uid, owner.gid)
    const authentication = secure === undefined ? ['-A', 'trust'] : passwordFor(folder, secure, owner)
    const args = [
      '-D',
      data,
      '-U',
      'postgres',
      ...authentication,
      '--locale=C.UTF-8',
      '-E',
      'UTF8',
      '--no-sync',
    ]
    const made = spawnSync(path.join(bin, 'initdb'), args, { cwd: folder, encoding: 'utf8', ...owner })
    if (made.status !== 0) throw new Error(`initdb failed: ${made.error?.message ?? made.stderr}`)
    return serverOn(data, port, folder, secure)
  },
}

/** One that repeats what the server at that port does, and may be promoted. */
export function postgresStandby(port, folder, primaryPort) {
  const data = path.join(folder, 'data')
  const owner = user()
  if (owner.uid !== undefined) fs.chownSync(folder, owner.uid, owner.gid)
  const from = ['-h', '127.0.0.1', '-p', String(primaryPort), '-U', 'postgres']
  const how = ['-D', data, '--write-recovery-conf', '--wal-method=stream', '--checkpoint=fast', '--no-sync']
  const command = path.join(programs(), 'pg_basebackup')
  const made = spawnSync(command, [...from, ...how], { cwd: folder, encoding: 'utf8', ...owner })
  if (made.status !== 0) throw new Error(`pg_basebackup failed: ${made.error?.message ?? made.stderr}`)
  return serverOn(data, port, folder)
}

function serverOn(data, port, folder, secure) {
  const bin = programs()
  const settings = ['listen_addresses=127.0.0.1', 'fsync=off']
  if (secure !== undefined)
    settings.push('ssl=on', `ssl_cert_file=${secure.certificate}`, `ssl_key_file=${secure.key}`)
  // A server that is killed has given its writes to the machine: only a crash of that would lose them.
  return new Server({
    name: 'postgres',
    command: path.join(bin, 'postgres'),
    args: ['-D', data, '-p', String(port), '-k', folder, ...settings.flatMap((each) => ['-c', each])],
    port,
    folder,
    user: user(),
    // A fast end: it waits for no client.
    signal: 'SIGINT',
    isReady: async () => {
      const asked = ['-h', '127.0.0.1', '-p', String(port), '-q', '-t', '1']
      return spawnSync(path.join(bin, 'pg_isready'), asked).status === 0
    },
    address: `postgres://postgres${secure === undefined ? '' : `:${secure.password}`}@127.0.0.1:${port}/postgres`,
  })
}
