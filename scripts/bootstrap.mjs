// Makes a fresh clone runnable, then runs something in it. Plain JavaScript without dependencies, because it
// runs before there are any.
//
//   node scripts/bootstrap.mjs [--install-only] [--in-caller-directory] [node option]… [program [argument]…]
//
// (1) node_modules holds what package-lock.json says, for this platform, or it is installed anew by `npm ci`.
// (2) dist/ and build/ are what the sources give, or `tsc -b --noCheck` and then scripts/bundle-*.mjs run: what runs does not depend on
//     types, which `npm run build` and the gate check. Nothing is started when nothing has changed.
// (3) The program gets the remaining arguments and the standard streams; its exit status or signal becomes ours.
// (4) Standard output belongs to the program: whatever this file has to say goes to standard error.

import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const NEEDED_NODE = [20, 19]
const COMPILER = 'node_modules/typescript/bin/tsc'
const BUILD_STAMP = 'build/bootstrap.json'

/** The projects that `tsc -b` builds, and where each puts its JavaScript. */
const PROJECTS = [
  { sources: 'src', output: 'dist' },
  { sources: 'examples', output: 'build/examples' },
  { sources: 'bench', output: 'build/bench' },
  { sources: 'page', output: 'build/page' },
]
/** What is made of the compiled modules: what package.json's `imports` name, and what that shares. */
const THREADS = 'dist/threads'
/** What the inspector serves, of which this is made last, and what is no module in it. */
const PAGE = 'dist/page'
const PAGE_SCRIPT = `${PAGE}/page.js`
const PAGE_FILES = ['page/page.css', 'page/index.html', 'page/icon.svg']
/** What package.json's `bin` names, and what that shares. */
const COMMAND = 'dist/command'
/** What package.json's `exports` name, and what that shares. */
const ENTRIES = 'dist/entries'
const BUNDLERS = ['scripts/bundle-threads.mjs', 'scripts/bundle-page.mjs', 'scripts/bundle-entries.mjs']
const BUILD_SETTINGS = [
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'tsconfig.base.json',
  ...BUNDLERS,
  ...PAGE_FILES,
]

/** A failure that needs no stack trace: the message says it all. */
export class BootstrapError extends Error {}

/** One line that names the Node version needed, or undefined where this one will do. */
export function complaintAboutNode(version) {
  const [major, minor] = version.replace(/^v/, '').split('.').map(Number)
  const fits = major > NEEDED_NODE[0] || (major === NEEDED_NODE[0] && minor >= NEEDED_NODE[1])
  return fits ? undefined : `holdfast needs Node.js ${NEEDED_NODE.join('.')} or later; this is ${version}.`
}

/**
 * Why the installed packages are not those of the lock file, or undefined where they are. npm notes what it has
 * installed in node_modules/.package-lock.json as its last step, so an interrupted installation has no note.
 */
export function installNeeded(root, platform = process.platform, arch = process.arch) {
  const locked = readJson(path.join(root, 'package-lock.json'))
  if (locked === undefined) throw new BootstrapError('package-lock.json is missing or not JSON.')
  const installed = readJson(path.join(root, 'node_modules/.package-lock.json'))
  if (installed === undefined) return 'nothing is installed yet'
  for (const [place, wanted] of Object.entries(locked.packages)) {
    const found = installed.packages[place]
    if (place === '' || (found === undefined && wanted.optional)) continue
    if (found === undefined) return `${place} is missing`
    if (found.version !== wanted.version) return `${place} is ${found.version}, locked is ${wanted.version}`
    if (found.integrity !== wanted.integrity) return `${place} is not what is locked`
  }
  for (const [place, found] of Object.entries(installed.packages)) {
    if (locked.packages[place] === undefined) return `${place} is not in the lock file`
    if (!allows(found.os, platform) || !allows(found.cpu, arch)) return `${place} is for another platform`
    if (!fs.existsSync(path.join(root, place))) return `${place} was removed`
  }
  return undefined
}

/** Whether a package's `os` or `cpu` list admits a name; entries may be negated. */
function allows(list, name) {
  if (list === undefined || list.includes(name)) return true
  return list.every((entry) => entry.startsWith('!')) && !list.includes(`!${name}`)
}

/** How to start npm: the one that runs this script, the one beside this Node, or whichever the PATH has. */
export function npmCommand(environment = process.env, nodePath = process.execPath) {
  const beside = path.dirname(nodePath)
  const candidates = [
    environment.npm_execpath,
    path.join(beside, '../lib/node_modules/npm/bin/npm-cli.js'),
    path.join(beside, 'node_modules/npm/bin/npm-cli.js'),
  ]
  // npm_execpath is also set by other package managers, to themselves.
  const cli = candidates.find((file) => file && path.basename(file) === 'npm-cli.js' && fs.existsSync(file))
  return cli === undefined ? { command: 'npm', args: [] } : { command: nodePath, args: [cli] }
}

function install(root, reason) {
  say(`installing the locked packages (${reason})`)
  const npm = npmCommand()
  const args = [...npm.args, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  // Standard output of npm goes to our standard error: rule 4. On Windows a bare `npm` needs a shell.
  const shell = process.platform === 'win32' && npm.args.length === 0
  const result = spawnSync(npm.command, args, { cwd: root, stdio: ['ignore', 2, 2], shell })
  if (result.error) throw new BootstrapError(`cannot start npm: ${result.error.message}`)
  if (result.status !== 0) throw new BootstrapError('npm ci failed; its message is above.')
}

/** Every TypeScript source of a project, as paths relative to its folder, without tests. */
function sourcesOf(root, project) {
  const folder = path.join(root, project.sources)
  return listFiles(folder)
    .map((file) => path.relative(folder, file).split(path.sep).join('/'))
    .filter((file) => /\.tsx?$/.test(file) && !file.endsWith('.test.ts') && !file.endsWith('.d.ts'))
}

function listFiles(folder) {
  if (!fs.existsSync(folder)) return []
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const place = path.join(folder, entry.name)
    return entry.isDirectory() ? listFiles(place) : [place]
  })
}

function outputsOf(project, sources) {
  return sources.flatMap((file) => {
    const stem = `${project.output}/${file.replace(/\.tsx?$/, '')}`
    return [`${stem}.js`, `${stem}.d.ts`]
  })
}

/**
 * What decides about building: `signature` changes whenever a source or setting was touched, `missing` are outputs
 * that should be there, `stale` are outputs whose source is gone (they would end up in the package).
 */
export function inspectBuild(root) {
  const inputs = BUILD_SETTINGS.slice()
  const missing = missingBundles(root)
  const stale = []
  for (const project of PROJECTS) {
    const sources = sourcesOf(root, project)
    inputs.push(`${project.sources}/tsconfig.json`, ...sources.map((file) => `${project.sources}/${file}`))
    const expected = new Set(outputsOf(project, sources))
    for (const file of expected) if (!fs.existsSync(path.join(root, file))) missing.push(file)
    for (const file of listFiles(path.join(root, project.output))) {
      const name = path.relative(root, file).split(path.sep).join('/')
      if (isBundle(name)) continue
      if (/\.(js|d\.ts)$/.test(name) && !expected.has(name)) stale.push(name)
    }
  }
  const signature = inputs.sort().map((file) => {
    const found = fs.statSync(path.join(root, file), { throwIfNoEntry: false })
    return `${file} ${found ? `${found.size} ${Math.round(found.mtimeMs)}` : 'absent'}`
  })
  return { signature, missing, stale }
}

/** What is made of the compiled modules, and is not there. */
export function missingBundles(root) {
  const { imports = {}, bin = {}, exports = {} } = readJson(path.join(root, 'package.json')) ?? {}
  const entries = Object.values(exports).flatMap((each) => each.default ?? [])
  const named = [...Object.values(imports), ...Object.values(bin), ...entries]
  const bundles = [...named, ...(fs.existsSync(path.join(root, 'page')) ? [PAGE_SCRIPT] : [])]
  return bundles.filter((file) => !fs.existsSync(path.join(root, file)))
}

/** Whether a file is made of compiled modules, and not by the compiler. */
const isBundle = (file) =>
  [THREADS, PAGE, COMMAND, ENTRIES].some((folder) => file.replace(/^\.\//, '').startsWith(`${folder}/`))

/** Whether the outputs are what the sources give, as far as their names, sizes and times tell. */
export function buildIsCurrent(root) {
  const { signature, missing, stale } = inspectBuild(root)
  return isStamped(root, signature) && missing.length === 0 && stale.length === 0
}

function isStamped(root, signature) {
  return readJson(path.join(root, BUILD_STAMP))?.join('\n') === signature.join('\n')
}

async function buildIfNeeded(root) {
  const stampFile = path.join(root, BUILD_STAMP)
  const before = inspectBuild(root)
  for (const file of before.stale) fs.rmSync(path.join(root, file))
  const unchanged = isStamped(root, before.signature)
  if (unchanged && before.missing.length === 0) return
  say('building')
  fs.rmSync(stampFile, { force: true })
  const isMissing = (file) => !isBundle(file)
  const isAnew = unchanged || !fs.existsSync(path.join(root, 'dist'))
  if (isAnew) forgetBuild(root)
  try {
    await compile(root)
    if (!isAnew && inspectBuild(root).missing.some(isMissing)) {
      forgetBuild(root)
      await compile(root)
    }
  } catch (error) {
    forgetBuild(root)
    throw error
  }
  for (const bundler of BUNDLERS) await runTool(root, bundler, [])
  fs.mkdirSync(path.dirname(stampFile), { recursive: true })
  fs.writeFileSync(stampFile, JSON.stringify(before.signature))
}

/**
 * tsc trusts its notes about what it has written. When outputs of unchanged sources are gone, they must go too, and so when it has failed:
 * without checks of types it tells of what it cannot parse once, and then takes what it wrote for current.
 */
function forgetBuild(root) {
  for (const { sources } of PROJECTS) {
    fs.rmSync(path.join(root, `build/${sources}.tsbuildinfo`), { force: true })
  }
}

/** The first project is what the others refer to; these are compiled side by side. */
async function compile(root) {
  const [first, ...others] = PROJECTS.map(({ sources }) => sources)
  await runTool(root, COMPILER, ['-b', '--noCheck', first])
  const present = others.filter((sources) => fs.existsSync(path.join(root, sources)))
  const runs = present.map((sources) => runTool(root, COMPILER, ['-b', '--noCheck', sources]))
  for (const run of await Promise.allSettled(runs)) if (run.status === 'rejected') throw run.reason
}

function runTool(root, tool, options) {
  const args = [path.join(root, tool), ...options]
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2] })
    child.on('error', (error) => reject(new BootstrapError(`cannot start ${tool}: ${error.message}`)))
    child.on('exit', (status) => {
      if (status === 0) resolve()
      else reject(new BootstrapError(`the build failed; ${tool} says why above.`))
    })
  })
}

/** Runs a program and ends as it ends. */
function run(args, directory) {
  const child = spawn(process.execPath, args, { cwd: directory, stdio: 'inherit' })
  const forward = (signal) => {
    // A terminal sends Ctrl-C to the whole process group: the child has it already, and twice would mean "now!".
    if (signal === 'SIGINT' && process.stdin.isTTY) return
    child.kill(signal)
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
  for (const signal of signals) process.on(signal, forward)
  child.on('error', (error) => fail(error))
  child.on('exit', (status, signal) => {
    for (const name of signals) process.removeListener(name, forward)
    if (signal === null) process.exitCode = status
    else process.kill(process.pid, signal)
  })
}

/** Where the user stood when npm was asked to run a script of this package; npm itself changes to the root. */
function callerDirectory(root) {
  const { INIT_CWD, npm_package_json: manifest } = process.env
  const ours = manifest !== undefined && path.resolve(manifest) === path.join(root, 'package.json')
  return ours && INIT_CWD !== undefined ? INIT_CWD : process.cwd()
}

function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch (error) {
    if (error.code === 'ENOENT' || error instanceof SyntaxError) return undefined
    throw error
  }
}

function say(message) {
  process.stderr.write(`holdfast: ${message}\n`)
}

function fail(error) {
  say(error instanceof BootstrapError ? error.message : error.stack)
  process.exitCode = 1
}

async function main(root, args) {
  const complaint = complaintAboutNode(process.version)
  if (complaint !== undefined) throw new BootstrapError(complaint)
  const own = new Set()
  while (args[0] === '--install-only' || args[0] === '--in-caller-directory') own.add(args.shift())
  const reason = installNeeded(root)
  if (reason !== undefined) install(root, reason)
  if (!own.has('--install-only')) await buildIfNeeded(root)
  const program = args.findIndex((argument) => !argument.startsWith('-'))
  if (program === -1) return
  args[program] = path.resolve(root, args[program])
  run(args, own.has('--in-caller-directory') ? callerDirectory(root) : root)
}

const entry = process.argv[1]
if (entry !== undefined && import.meta.url === pathToFileURL(fs.realpathSync(entry)).href) {
  try {
    await main(path.dirname(path.dirname(fileURLToPath(import.meta.url))), process.argv.slice(2))
  } catch (error) {
    fail(error)
  }
}
