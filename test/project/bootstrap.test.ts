import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { titled } from '../faults/fault-kit.js'
import { leftToLongRuns } from '../support/long.js'
import { root } from './source-file.js'

// A package of the same shape as ours and a few lines large, with an `npm` that only notes that it was called. The
// compiler is the real one.

const lock = {
  packages: {
    '': {},
    'node_modules/typescript': { version: '1.2.3', integrity: 'sha512-a' },
    'node_modules/elsewhere': { version: '1.0.0', integrity: 'sha512-b', optional: true, os: ['plan9'] },
  },
}
const installed = { packages: { 'node_modules/typescript': lock.packages['node_modules/typescript'] } }
// Without the types of Node and of the language: the compiler then has a hundredth of the work.
const compilerOptions = { rootDir: '.', types: [], noLib: true }
const library = `
  interface Array<T> { slice(start: number): T[]; [index: number]: T }
  interface ReadonlyArray<T> { slice(start: number): T[]; readonly [index: number]: T }
  interface Boolean {}
  interface CallableFunction {}
  interface Function {}
  interface IArguments {}
  interface NewableFunction {}
  interface Number {}
  interface Object {}
  interface RegExp {}
  interface String {}
  declare const JSON: { stringify(value: object): string }
`
const program = `
  declare function setTimeout(callback: () => void, delayMs: number): void
  declare const process: {
    readonly argv: readonly string[]
    readonly stdout: { write(text: string): void }
    exitCode: number
    cwd(): string
    exit(status: number): void
    on(event: string, listener: () => void): void
  }
  if (process.argv[2] === 'exit') process.exitCode = 3
  if (process.argv[2] === 'wait') setTimeout(() => {}, 30_000)
  if (process.argv[2] === 'handle') {
    process.on('SIGTERM', () => process.exit(7))
    setTimeout(() => {}, 30_000)
  }
  process.stdout.write(JSON.stringify({ args: process.argv.slice(2), cwd: process.cwd(), value }))
`

let folder: string
let npmLog: string

function write(path: string, content: string | object): void {
  const file = join(folder, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
}

const read = (path: string): string => readFileSync(join(folder, path), 'utf8')
const has = (path: string): boolean => existsSync(join(folder, path))

/** What the tests start from, built once. */
const template = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-bootstrap-')))

beforeAll(() => {
  folder = template
  mkdirSync(join(folder, 'scripts'))
  copyFileSync(join(root, 'scripts/bootstrap.mjs'), join(folder, 'scripts/bootstrap.mjs'))
  const { compilerOptions: base } = JSON.parse(readFileSync(join(root, 'tsconfig.base.json'), 'utf8'))
  write('tsconfig.base.json', { compilerOptions: { ...base, lib: undefined } })
  // In place of the bundler, something that makes what is named.
  const made = { '#thread': './dist/threads/thread.cjs' }
  write('package.json', { name: 'holdfast', type: 'module', imports: made })
  write(
    'scripts/bundle-threads.mjs',
    `import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
    mkdirSync('dist/threads', { recursive: true })
    writeFileSync('dist/threads/thread.cjs', readFileSync('dist/other.js'))`,
  )
  write('scripts/bundle-page.mjs', '')
  write('scripts/bundle-entries.mjs', '')
  write('package-lock.json', lock)
  write('tsconfig.json', {
    files: [],
    references: [{ path: 'src' }, { path: 'examples' }],
  })
  for (const [name, outDir] of [
    ['src', '../dist'],
    ['examples', '../build/examples'],
  ] as const) {
    const options = { ...compilerOptions, outDir, tsBuildInfoFile: `../build/${name}.tsbuildinfo` }
    write(`${name}/tsconfig.json`, {
      extends: '../tsconfig.base.json',
      compilerOptions: options,
      include: ['**/*.ts'],
    })
    write(`${name}/library.d.ts`, library)
    write(`${name}/main.ts`, `export const value: number = 1\n${name === 'src' ? '' : program}`)
  }
  write('src/other.ts', 'export const other: number = 2\n')
  write('node_modules/.package-lock.json', installed)
  symlinkSync(join(root, 'node_modules/typescript'), join(folder, 'node_modules/typescript'), 'dir')
  write('bin/package.json', { type: 'commonjs' })
  write(
    'bin/npm-cli.js',
    `require('fs').appendFileSync(process.env.NPM_LOG, process.argv.slice(2).join(' ') + '\\n')\n`,
  )
  npmLog = join(folder, 'npm.log')
  firstRun = runMain('a', 'b c', '--json')
})

let firstRun: ReturnType<typeof runMain>

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-bootstrap-')))
  cpSync(template, folder, { recursive: true, preserveTimestamps: true })
  npmLog = join(folder, 'npm.log')
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))
afterAll(() => rmSync(template, { recursive: true, force: true }))

const environment = () => ({
  ...process.env,
  NPM_LOG: npmLog,
  npm_execpath: join(folder, 'bin/npm-cli.js'),
})

function bootstrap(args: readonly string[], extra: NodeJS.ProcessEnv = {}, cwd = folder) {
  return spawnSync(process.execPath, [join(folder, 'scripts/bootstrap.mjs'), ...args], {
    cwd,
    env: { ...environment(), ...extra },
    encoding: 'utf8',
  })
}

const runMain = (...args: string[]) => bootstrap(['build/examples/main.js', ...args])

describe('bootstrap', () => {
  it('builds, runs, and is silent when there is nothing to do', () => {
    expect(firstRun.stderr).toBe('holdfast: building\n')
    expect(JSON.parse(firstRun.stdout)).toEqual({ args: ['a', 'b c', '--json'], cwd: template, value: 1 })
    expect(firstRun.status).toBe(0)
    const second = runMain()
    expect(second.stderr).toBe('')
    expect(second.status).toBe(0)
    expect(existsSync(npmLog)).toBe(false)
  })

  it('builds again after a source has changed, was added, or has gone', () => {
    write('examples/main.ts', read('examples/main.ts').replace('number = 1', 'number = 5'))
    write('src/added.ts', 'export const added: number = 1\n')
    write('src/other.ts', 'export const other: number = 3\n')
    expect(JSON.parse(runMain().stdout)).toMatchObject({ value: 5 })
    expect(read('dist/threads/thread.cjs')).toContain('other = 3')
    expect(has('dist/added.js')).toBe(true)
    rmSync(join(folder, 'src/added.ts'))
    expect(runMain().stderr).toBe('holdfast: building\n')
    expect(has('dist/added.js')).toBe(false)
    expect(has('dist/added.d.ts')).toBe(false)
    expect(runMain().stderr).toBe('')
  })

  it.skipIf(leftToLongRuns !== undefined)(
    titled(
      'builds again when the result of an earlier build is gone, whatever the compiler remembers',
      leftToLongRuns,
    ),
    () => {
      // Five builds, each by a compiler of its own, take over a minute where many share the processors.
      for (const gone of [
        'dist',
        'build',
        'dist/main.js',
        'build/examples/main.js',
        'build/bootstrap.json',
      ]) {
        rmSync(join(folder, gone), { recursive: true })
        expect(runMain().status, gone).toBe(0)
        expect(has('dist/main.js') && has('dist/main.d.ts') && has('build/examples/main.js'), gone).toBe(true)
      }
      expect(runMain().stderr).toBe('')
    },
  )

  it('tells whether a build is what the sources give', async () => {
    const { buildIsCurrent } = await loadBootstrap()
    expect(buildIsCurrent(folder)).toBe(true)
    write('src/added.ts', 'export const added: number = 1\n')
    expect(buildIsCurrent(folder)).toBe(false)
    rmSync(join(folder, 'src/added.ts'))
    expect(buildIsCurrent(folder)).toBe(true)
    utimesSync(join(folder, 'src/other.ts'), 5, 5)
    expect(buildIsCurrent(folder)).toBe(false)
    cpSync(join(template, 'src/other.ts'), join(folder, 'src/other.ts'), { preserveTimestamps: true })
    write('dist/gone.js', '')
    expect(buildIsCurrent(folder)).toBe(false)
    rmSync(join(folder, 'dist/gone.js'))
    rmSync(join(folder, 'dist/threads/thread.cjs'))
    expect(buildIsCurrent(folder)).toBe(false)
    cpSync(join(template, 'dist/threads'), join(folder, 'dist/threads'), { recursive: true })
    expect(buildIsCurrent(folder)).toBe(true)
    rmSync(join(folder, 'dist/other.js'))
    expect(buildIsCurrent(folder)).toBe(false)
  })

  it('restores a missing output although a source has changed too', () => {
    rmSync(join(folder, 'dist/other.js'))
    rmSync(join(folder, 'dist/threads'), { recursive: true })
    utimesSync(join(folder, 'examples/main.ts'), 5, 5)
    expect(runMain().status).toBe(0)
    expect(has('dist/other.js')).toBe(true)
    expect(has('dist/threads/thread.cjs')).toBe(true)
  })

  it('stops at a build that fails, and tries again the next time', () => {
    write('src/other.ts', `export const other: number = (2\n`)
    for (let attempt = 0; attempt < 2; attempt++) {
      const result = runMain()
      expect(result.status).toBe(1)
      expect(result.stdout).toBe('')
      expect(result.stderr).toMatch(/TS1005/)
      expect(result.stderr).toMatch(/the build failed; \S+tsc says why above\.\n$/)
    }
    write('src/other.ts', 'export const other: number = 2\n')
    expect(runMain().status).toBe(0)
  })

  it('passes on the exit status and, when killed, the signal', () => {
    expect(runMain('exit').status).toBe(3)
    expect(bootstrap(['build/examples/missing.js']).status).toBe(1)
  })

  it.each([
    ['handle', 'SIGTERM', { code: 7, signal: null }],
    ['wait', 'SIGTERM', { code: null, signal: 'SIGTERM' }],
    ['wait', 'SIGINT', { code: null, signal: 'SIGINT' }],
    ['wait', 'SIGHUP', { code: null, signal: 'SIGHUP' }],
  ] as const)('hands a signal on to a program that will %s: %s', async (argument, signal, outcome) => {
    const args = [join(folder, 'scripts/bootstrap.mjs'), 'build/examples/main.js', argument]
    const child = spawn(process.execPath, args, {
      cwd: folder,
      env: environment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await firstOutput(child)
    child.kill(signal)
    const ended = await new Promise((resolve) =>
      child.on('exit', (code, by) => resolve({ code, signal: by })),
    )
    expect(ended).toEqual(outcome)
  })

  it('gives Node its options, works from anywhere and without standard input', () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'holdfast-elsewhere-'))
    try {
      const args = [join(folder, 'scripts/bootstrap.mjs'), '--no-warnings', 'build/examples/main.js', '-x']
      const result = spawnSync(process.execPath, args, {
        cwd: elsewhere,
        env: environment(),
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      expect(JSON.parse(result.stdout.toString())).toEqual({ args: ['-x'], cwd: folder, value: 1 })
    } finally {
      rmSync(elsewhere, { recursive: true })
    }
  })

  it("runs a program in the user's directory when asked to, also when npm has left it", () => {
    mkdirSync(join(folder, 'sub'))
    const args = ['--in-caller-directory', 'build/examples/main.js']
    const sub = join(folder, 'sub')
    const byNpm = { INIT_CWD: sub, npm_package_json: join(folder, 'package.json') }
    expect(JSON.parse(bootstrap(args, byNpm).stdout)).toMatchObject({ cwd: sub })
    const byAnother = { INIT_CWD: sub, npm_package_json: join(sub, 'package.json') }
    expect(JSON.parse(bootstrap(args, byAnother).stdout)).toMatchObject({ cwd: folder })
  })
})

describe('bootstrap installs', () => {
  const install = (change: () => void, extra: NodeJS.ProcessEnv = {}) => {
    change()
    const result = bootstrap(['--install-only'], extra)
    return { calls: existsSync(npmLog) ? readFileSync(npmLog, 'utf8') : '', ...result }
  }
  const note = (packages: object) => () => write('node_modules/.package-lock.json', { packages })
  const typescript = installed.packages['node_modules/typescript']

  it('nothing when node_modules is what the lock file says', () => {
    expect(install(() => undefined)).toMatchObject({ calls: '', stderr: '', stdout: '', status: 0 })
  })

  it.each([
    [
      'nothing is installed',
      () => rmSync(join(folder, 'node_modules'), { recursive: true }),
      'nothing is installed yet',
    ],
    [
      'npm was interrupted',
      () => rmSync(join(folder, 'node_modules/.package-lock.json')),
      'nothing is installed yet',
    ],
    [
      'its content differs',
      note({ 'node_modules/typescript': { ...typescript, integrity: 'sha512-x' } }),
      'node_modules/typescript is not what is locked',
    ],
    [
      'a version differs',
      note({ 'node_modules/typescript': { ...typescript, version: '1.2.2' } }),
      'is 1.2.2, locked is',
    ],
    ['a package is missing', note({}), 'node_modules/typescript is missing'],
    [
      'a package is extra',
      note({ ...installed.packages, 'node_modules/extra': {} }),
      'extra is not in the lock file',
    ],
    ['a folder was removed', () => rmSync(join(folder, 'node_modules/typescript')), 'typescript was removed'],
    ['it came from another machine', note(lock.packages), 'elsewhere is for another platform'],
  ])('exactly the locked packages when %s', (_, change, reason) => {
    const result = install(change)
    expect(result.calls).toBe('ci --ignore-scripts --no-audit --no-fund --loglevel=error\n')
    expect(result.stderr).toContain(reason)
    expect(result.stdout).toBe('')
    expect(result.status).toBe(0)
  })

  it('and says so when npm fails', () => {
    write('bin/npm-cli.js', 'process.exit(4)')
    const result = install(note({}))
    expect(result.status).toBe(1)
    expect(result.stderr).toMatch(/npm ci failed; its message is above\.\n$/)
  })

  it('with an npm it finds by itself when another package manager started it', async () => {
    const { npmCommand } = await loadBootstrap()
    const yarn = join(folder, 'bin/yarn.js')
    write('bin/yarn.js', '')
    const lonely = join(folder, 'lonely/bin/node')
    expect(npmCommand({ npm_execpath: yarn }, lonely)).toEqual({ command: 'npm', args: [] })
    write('lonely/lib/node_modules/npm/bin/npm-cli.js', '')
    const beside = join(folder, 'lonely/lib/node_modules/npm/bin/npm-cli.js')
    expect(npmCommand({ npm_execpath: yarn }, lonely)).toEqual({ command: lonely, args: [beside] })
  })
})

describe('the version of Node', () => {
  it('must be 20.19 or later', async () => {
    const { complaintAboutNode } = await loadBootstrap()
    for (const version of ['v20.19.0', 'v20.20.2', 'v22.0.0', 'v26.1.0']) {
      expect(complaintAboutNode(version), version).toBeUndefined()
    }
    for (const version of ['v20.18.3', 'v18.20.8', 'v0.12.0']) {
      expect(complaintAboutNode(version)).toBe(`holdfast needs Node.js 20.19 or later; this is ${version}.`)
    }
  })
})

interface Bootstrap {
  buildIsCurrent(root: string): boolean
  complaintAboutNode(version: string): string | undefined
  npmCommand(environment: NodeJS.ProcessEnv, nodePath: string): { command: string; args: string[] }
}

async function loadBootstrap(): Promise<Bootstrap> {
  return (await import(join(root, 'scripts/bootstrap.mjs'))) as Bootstrap
}

async function firstOutput(child: ChildProcess): Promise<void> {
  await new Promise((resolve) => child.stdout?.once('data', resolve))
}
