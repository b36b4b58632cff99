// The command line as a process: what a shell sees of it.

import { execFile, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from '../src/index.js'

/** What `npx holdfast` starts, and the compiled modules that it is made of. */
const main = fileURLToPath(new URL('../dist/command/main.js', import.meta.url))
const unbundled = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'holdfast-cli-process-'))
const checkpoints = join(directory, 'checkpoints')
afterAll(() => rmSync(directory, { recursive: true, force: true }))

beforeAll(async () => {
  const backend = new MemoryStateBackend()
  for (let i = 0; i < 200_000; i++) backend.putSync(Buffer.from(`user:${i}`), Buffer.from(`value ${i}`))
  const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(checkpoints) })
  await coordinator.createCheckpoint()
  await coordinator.shutdown()
  await backend.close()
})

/** The user that owns nothing. */
const NOBODY = 65_534

/** Whether this process can start others as that user, and they could read the program. */
const nobodyReads = (file: string): boolean =>
  process.getuid?.() === 0 && spawnSync('test', ['-r', file], { uid: NOBODY }).status === 0

describe.skipIf(!existsSync(main))('holdfast as a process', () => {
  it('ends quietly when the reader of its output has seen enough', async () => {
    const script = '"$0" "$1" --json scan "$2" | head -n 1; echo "status ${PIPESTATUS[0]}"'
    const { stdout, stderr } = await promisify(execFile)('bash', [
      '-c',
      script,
      process.execPath,
      main,
      checkpoints,
    ])
    expect([stdout, stderr]).toEqual(['{"key":"user:0","value":"value 0"}\nstatus 0\n', ''])
  })

  it.skipIf(!existsSync('/dev/full')).each([
    ['at its end', 'list'],
    ['on the way, with more to come', 'scan'],
    ['where it is help', 'list --help'],
  ])('says what it could not write %s, and that is a failure', async (_, command) => {
    const script = `"$0" "$1" ${command} "$2" >/dev/full; echo "status $?"`
    const { stdout, stderr } = await promisify(execFile)('bash', [
      '-c',
      script,
      process.execPath,
      main,
      checkpoints,
    ])
    expect([stdout, stderr]).toEqual([
      'status 3\n',
      'holdfast: stdout: no space left on device (--debug shows where)\n',
    ])
  })

  it('finishes a change that nobody reads of, and leaves nothing of what was only for a while', async () => {
    const temporary = join(directory, 'temporary')
    mkdirSync(temporary)
    const script =
      '"$0" "$1" copy "$2" "$3" | true; "$0" "$1" drill "$2" | true; "$0" "$1" verify "$3" --all | wc -l'
    const copied = join(directory, 'copied')
    const { stdout, stderr } = await promisify(execFile)(
      'bash',
      ['-c', script, process.execPath, main, checkpoints, copied],
      { env: { ...process.env, TMPDIR: temporary } },
    )
    expect([stdout.trim(), stderr]).toEqual(['2', ''])
    expect(readdirSync(temporary)).toEqual([])
    for (const made of [temporary, copied]) rmSync(made, { recursive: true })
  })

  it('leaves nothing half written where it is interrupted', async () => {
    const target = join(directory, 'all.ndjson')
    const child = spawn(process.execPath, [main, 'export', checkpoints, target], { stdio: 'ignore' })
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    while (!readdirSync(directory).some((name) => name.endsWith('.tmp')) && child.exitCode === null) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    child.kill('SIGINT')
    // It may have come to its end before: then the file is there, and whole.
    const status = await ended
    expect([0, 130]).toContain(status)
    expect(readdirSync(directory).sort()).toEqual(
      status === 0 ? ['all.ndjson', 'checkpoints'] : ['checkpoints'],
    )
  })

  it.skipIf(!nobodyReads(main))('is told by doctor who may read a directory, where this user may not', () => {
    chmodSync(directory, 0o755)
    chmodSync(checkpoints, 0o700)
    const { status, stdout } = spawnSync(process.execPath, [main, 'doctor', checkpoints], {
      uid: NOBODY,
      encoding: 'utf8',
    })
    expect([status, stdout]).toEqual([
      1,
      expect.stringMatching(/problem +permissions: user 65534 may not .*chown/),
    ])
  })

  it('loads for a command only what that needs', async () => {
    const version = await loadedBy('--version')
    expect(version.packages).toEqual(['commander'])
    expect(version.builtins).not.toContain('worker_threads')
    const listed = await loadedBy('list', checkpoints)
    // Not what lays out tables of any characters, either.
    expect(listed.packages).toEqual(['commander'])
    const files = (await loadedBy('--json', 'list', checkpoints)).files
    expect(files.filter((name) => name.startsWith('cli/commands/'))).toEqual(['cli/commands/list.js'])
    // Neither an engine on the disk nor typed state, windows or jobs.
    expect(files.filter((name) => /^(lmdb|redis|postgres|job|window|state|inspector)\//.test(name))).toEqual(
      [],
    )
  })

  it('is made of few files, as loading many takes longer than most commands', async () => {
    const { files } = await loadedBy('--json', 'list', checkpoints)
    expect(files.length).toBeGreaterThan(100)
    const bundled = (await loaded(main, ['--json', 'list', checkpoints])).files
    expect(bundled).toContain('command/main.js')
    expect(bundled.filter((name) => !name.startsWith('command/'))).toEqual([])
    expect(bundled.length).toBeLessThan(25)
    expect((await loaded(main, ['--version'])).files.length).toBeLessThan(10)
  })
})

interface Loaded {
  /** Names of packages, and files of this one, that were loaded. */
  readonly packages: readonly string[]
  readonly files: readonly string[]
  readonly builtins: readonly string[]
}

/** What a call of the command line loads. */
const loadedBy = (...args: string[]): Promise<Loaded> => loaded(unbundled, args)

async function loaded(program: string, args: readonly string[]): Promise<Loaded> {
  const report = join(directory, 'loaded')
  writeFileSync(report, '')
  const hooks = `
    import { appendFileSync } from 'node:fs'
    export async function load(url, context, next) {
      appendFileSync(${JSON.stringify(report)}, url + '\\n')
      return await next(url, context)
    }`
  const register = `
    import { register } from 'node:module'
    register(${JSON.stringify(asModule(hooks))})`
  await promisify(execFile)(process.execPath, ['--import', asModule(register), program, ...args])
  const urls = readFileSync(report, 'utf8').split('\n')
  rmSync(report)
  const found = (pattern: RegExp) =>
    [...new Set(urls.map((url) => pattern.exec(url)?.[1]))].filter((name) => name !== undefined).toSorted()
  return {
    packages: found(/\/node_modules\/((?:@[^/]+\/)?[^/]+)\//),
    files: found(/^file:.*\/dist\/(.*)$/),
    builtins: found(/^node:(.*)$/),
  }
}

const asModule = (text: string) => `data:text/javascript,${encodeURIComponent(text)}`
