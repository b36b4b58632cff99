// Servers of outside systems, for tests and for trying things out: each is a module beside this one. A server listens on loopback only,
// keeps its files in a folder of its own, and is ended by its process id.

import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as os from 'node:os'
import * as path from 'node:path'

const START_LIMIT_MS = 60_000
const LOOK_EVERY_MS = 50
const STOP_LIMIT_MS = 15_000
const INSTALL_LIMIT_MS = 240_000

/** The system cannot be had here; the message says why. */
export class Unavailable extends Error {}

/** Where what was downloaded is kept from one run to the next: outside of the repository. */
export function cacheFolder(name) {
  const caches = process.env['XDG_CACHE_HOME'] || path.join(os.homedir(), '.cache')
  const folder = path.join(caches, 'holdfast-services', name)
  fs.mkdirSync(folder, { recursive: true })
  return folder
}

/** A folder of the cache that `fill` was ended in once. What an installation that was interrupted has left is removed first: installers take it for whole. */
function installedFolder(name, fill) {
  const folder = cacheFolder(name)
  const done = path.join(folder, 'installed')
  if (fs.existsSync(done)) return folder
  fs.rmSync(folder, { recursive: true })
  fs.mkdirSync(folder)
  fill(folder)
  fs.writeFileSync(done, '')
  return folder
}

/** The path of a program, if there is one. `folders` are looked into before those of PATH. */
export function findProgram(name, folders = []) {
  const all = [...folders, ...(process.env['PATH'] ?? '').split(path.delimiter)]
  return all
    .map((folder) => path.join(folder, name))
    .find((file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile() === true)
}

/** Runs an installer, with its last words as the reason where it fails. */
export function install(command, args, cwd) {
  const options = { cwd, encoding: 'utf8', timeout: INSTALL_LIMIT_MS, stdio: ['ignore', 'pipe', 'pipe'] }
  const result = spawnSync(command, args, {
    ...options,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
  if (result.status === 0) return
  const said = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim().split('\n').at(-1)
  throw new Unavailable(`${command} ${args[0]}: ${result.error?.message ?? said}`)
}

/** Installs a Debian package where that can be done. */
export function installDebianPackage(name) {
  if (process.getuid?.() !== 0 || findProgram('apt-get') === undefined)
    throw new Unavailable(`the Debian package ${name} is not installed, and only root may install it`)
  install('apt-get', ['install', '-y', '--no-install-recommends', name])
}

/**
 * Unpacks packages of a suite of Debian into the cache, and returns their folder: nothing is installed, and the system's own lists stay as they are.
 * What they need of the system must be there.
 */
export function unpackDebianPackages(suite, names) {
  return installedFolder(`${suite}-${names.join('-')}`, (folder) => {
    if (findProgram('apt-get') === undefined) throw new Unavailable('there is no apt-get')
    const lists = path.join(folder, 'apt')
    for (const each of ['lists/partial', 'archives/partial'])
      fs.mkdirSync(path.join(lists, each), { recursive: true })
    const source = path.join(lists, 'sources.list')
    const signed = '[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    fs.writeFileSync(source, `deb ${signed} http://deb.debian.org/debian ${suite} main\n`)
    const settings = {
      'Dir::Etc::SourceList': source,
      'Dir::Etc::SourceParts': '/dev/null',
      'Dir::State': lists,
      'Dir::Cache': lists,
      'Dir::State::Status': '/var/lib/dpkg/status',
      // Another user, as whom apt downloads where it can, may not write here.
      'APT::Sandbox::User': 'root',
    }
    const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
    install('apt-get', ['update', '-q', ...options], folder)
    install('apt-get', ['download', '-q', ...options, ...names.map((name) => `${name}/${suite}`)], folder)
    for (const file of fs.readdirSync(folder))
      if (file.endsWith('.deb')) install('dpkg-deb', ['-x', file, folder], folder)
    fs.rmSync(lists, { recursive: true })
  })
}

/** Installs a package of PyPI into the cache, and returns its folder. */
export function installPythonPackage(name, version, { withDependencies = false } = {}) {
  return installedFolder(`${name.replace(/\[.*/, '')}-${version}`, (folder) => {
    if (findProgram('python3') === undefined) throw new Unavailable('there is no python3')
    const options = withDependencies ? [] : ['--no-deps']
    install('python3', ['-m', 'pip', 'install', '-q', ...options, '--target', folder, `${name}==${version}`])
  })
}

/** Installs a package of npm, with what it needs, into the cache, and returns the folder that has its `node_modules`. */
export function installNpmPackage(name, version) {
  return installedFolder(`${name}-${version}`, (folder) => {
    // In that folder: what this repository asks of its own packages is not asked of these, which have needs of their own.
    const options = ['--prefix', folder, '--no-audit', '--no-fund', '--no-save', '--engine-strict=false']
    install('npm', ['install', ...options, `${name}@${version}`], folder)
  })
}

/** What programs of Java log with, where nobody reads it. */
export const SILENT_LOG = ['org.slf4j', 'slf4j-nop', '1.7.36']

/** Downloads packages of Maven Central, each `[group, name, version]`, with what they need into the cache, and returns the folder of their jars. */
export function installMavenPackages(name, packages) {
  const jarsIn = (folder) => path.join(folder, 'libs')
  const folder = installedFolder(name, (empty) => {
    if (findProgram('mvn') === undefined) installDebianPackage('maven')
    const pom = path.join(empty, 'pom.xml')
    fs.writeFileSync(pom, pomOf(name, packages))
    install('mvn', [
      '-q',
      '-B',
      '-f',
      pom,
      'dependency:copy-dependencies',
      `-DoutputDirectory=${jarsIn(empty)}`,
    ])
  })
  return jarsIn(folder)
}

const pomOf = (name, packages) => `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>holdfast</groupId><artifactId>${name}</artifactId><version>1</version>
  <dependencies>
${packages
  .map(
    ([group, artifact, version]) =>
      `    <dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`,
  )
  .join('\n')}
  </dependencies>
</project>
`

/** A port that nobody listens on at the moment. */
export async function freePort() {
  const server = net.createServer()
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A certificate for this machine, signed by itself, and its key, in a folder. */
export function selfSigned(folder) {
  const certificate = path.join(folder, 'certificate.pem')
  const key = path.join(folder, 'key.pem')
  const subject = [
    '-subj',
    '/CN=127.0.0.1',
    '-addext',
    'subjectAltName=IP:127.0.0.1,DNS:localhost',
    '-days',
    '2',
  ]
  install('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    ...subject,
    '-keyout',
    key,
    '-out',
    certificate,
  ])
  return { certificate, key }
}

/** Whether somebody listens there. */
function accepts(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    const end = (answer) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => end(true)).once('error', () => end(false))
    socket.setTimeout(1_000, () => end(false))
  })
}

/** Whether a server that speaks the protocol of Redis is ready: while it loads what it has kept, it takes connections already. */
export function answersPing(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    const end = (answer) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('data', (said) => end(String(said).startsWith('+PONG')))
    for (const event of ['error', 'close']) socket.once(event, () => end(false))
    socket.setTimeout(1_000, () => end(false))
  })
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** A server as a process that may be killed and started again on what it has kept. */
export class Server {
  #plan
  #child
  #output

  /**
   * `plan`: { name, command, args, folder, port, env?, user?, isReady? (default: the port is open), signal? (default SIGTERM), startLimitMs?, address, variables }
   */
  constructor(plan) {
    this.#plan = plan
    this.#output = path.join(plan.folder, 'output')
  }

  get name() {
    return this.#plan.name
  }

  get address() {
    return this.#plan.address
  }

  get port() {
    return this.#plan.port
  }

  get folder() {
    return this.#plan.folder
  }

  get pid() {
    return this.#child?.pid
  }

  /** Resolves when it is ready. It may be tried more than once: what was killed may not have let go of everything yet. */
  async start() {
    const { name, port, isReady = () => accepts(port), startLimitMs = START_LIMIT_MS } = this.#plan
    const giveUpMs = Date.now() + startLimitMs
    let ended = this.#spawn()
    for (;;) {
      if (await isReady()) return
      if (Date.now() > giveUpMs) break
      if (await Promise.race([ended.then(() => true), pause(LOOK_EVERY_MS).then(() => false)])) {
        if (this.#child?.error !== undefined) break
        await pause(LOOK_EVERY_MS * 4)
        ended = this.#spawn()
      }
    }
    const said = fs.readFileSync(this.#output, 'utf8').trim().split('\n').slice(-5).join('\n')
    await this.kill()
    throw new Error(`${name} did not start within ${startLimitMs / 1_000} s:\n${said}`)
  }

  #spawn() {
    const { command, args, folder, env, user } = this.#plan
    const output = fs.openSync(this.#output, 'a')
    const child = spawn(command, args, {
      cwd: folder,
      env: { ...process.env, ...env },
      stdio: ['ignore', output, output],
      ...user,
    })
    fs.closeSync(output)
    this.#child = child
    return new Promise((resolve) => {
      child.once('exit', resolve).once('error', (error) => {
        child.error = error
        resolve()
      })
    })
  }

  /** As a power cut would: kill -9. Resolves when the process is gone. */
  async kill() {
    await this.#end('SIGKILL')
  }

  /** Ends it in its own way, and by force where that takes too long. */
  async stop() {
    await this.#end(this.#plan.signal ?? 'SIGTERM')
  }

  async #end(signal) {
    const child = this.#child
    this.#child = undefined
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', () => resolve(true)))
    child.kill(signal)
    if (await Promise.race([gone, pause(STOP_LIMIT_MS).then(() => false)])) return
    child.kill('SIGKILL')
    await gone
  }
}
