import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Clock, systemClock } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { LmdbStateBackend } from '../lmdb-state-backend.js'
import { openEnvironment } from './environment.js'
import { StoreDirectory } from './store-directory.js'
import { encodeStoreState, STATE_KEY, type StoreState } from './store-state.js'
import { type VerifyOptions, verifyDataFile, verifyStore } from './verify-process.js'

const node = process.execPath

/** What a promise rejects with, from now on. */
const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error) => error,
  )

describe('the process that reads a store', () => {
  let folder: string
  let backend: LmdbStateBackend
  let dataPath: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-verify-'))
    backend = await LmdbStateBackend.open({ path: join(folder, 'store') })
    backend.putSync(Buffer.from('key'), Buffer.from('value'))
    await backend.flush()
    dataPath = await StoreDirectory.dataPathIn(join(folder, 'store'))
  })
  afterAll(async () => {
    await backend.close()
    await rm(folder, { recursive: true })
  })
  afterEach(() => {
    process.execPath = node
    vi.unstubAllEnvs()
  })

  const verify = (options?: VerifyOptions) => verifyDataFile(dataPath, options)
  const healthy = { ok: true, entries: 1 }
  const unchecked = (reason: RegExp) => ({
    code: 'STORAGE_ERROR',
    details: { operation: 'verify', reason: expect.stringMatching(reason) },
  })

  /** From here on the program of this process is a script of the shell, as it is a program of somebody's where one is packed. */
  async function runAs(script: string): Promise<void> {
    const path = join(folder, 'program')
    await writeFile(path, `#!/bin/sh\n${script}\n`)
    await chmod(path, 0o755)
    process.execPath = path
  }

  /** A module that NODE_OPTIONS loads into every process. */
  async function preload(code: string): Promise<void> {
    const path = join(folder, 'preload.cjs')
    await writeFile(path, code)
    vi.stubEnv('NODE_OPTIONS', `--require "${path}"`)
  }

  it('reads the file that has come in the place of one that is gone, and calls a store that is compacted again and again unchecked, not damaged', async () => {
    const directory = join(folder, 'store')
    let asked = 0
    const paths = (gone: number) => () => (asked++ < gone ? `${dataPath}.${asked}` : dataPath)
    expect(await verifyStore(directory, paths(3))).toMatchObject(healthy)
    asked = 0
    expect(await errorOf(verifyStore(directory, paths(Infinity)))).toMatchObject(
      unchecked(/compacted 5 times/),
    )
    expect(await verifyStore(directory, () => `${dataPath}.gone`)).toMatchObject({ ok: false })
  })

  it('is understood whatever else prints in it', async () => {
    await preload(`console.log('{"ok":false}'); console.error('{"ok":false}')`)
    expect(await verify()).toMatchObject(healthy)
  })

  it('starts without what NODE_OPTIONS loads, which may fail or wait', async () => {
    await preload(`throw new Error('not in this process')`)
    expect(await verify()).toMatchObject(healthy)
    vi.stubEnv('NODE_OPTIONS', '--input-type=module --inspect-brk=127.0.0.1:0')
    expect(await verify()).toMatchObject(healthy)
  })

  it('is given NODE_OPTIONS where it does not run without, as under Plug’n’Play', async () => {
    await runAs(`[ -n "$NODE_OPTIONS" ] || exit 1\nexec ${node} "$@"`)
    await preload(`console.log('found')`)
    expect(await verify()).toMatchObject(healthy)
  })

  it.each([
    ['is not there', '/nowhere/program', /\/nowhere\/program cannot be started: .*ENOENT/],
    ['ends at once', '/bin/true', /\/bin\/true did not run as Node\.js: .* exit code 0/],
    ['fails', '/bin/false', /\/bin\/false did not run as Node\.js: .* exit code 1/],
  ])('tells that the store could not be checked where its program %s', async (_, program, reason) => {
    process.execPath = program
    await expect(verify()).rejects.toMatchObject(unchecked(reason))
  })

  it('starts a program that runs as itself, whatever it is given, once: not each one the next', async () => {
    const starts = join(folder, 'starts')
    const application = `
      import { appendFileSync } from 'node:fs'
      import { LmdbStateBackend } from 'holdfast/lmdb'
      appendFileSync(${JSON.stringify(starts)}, 'started\\n')
      process.execPath = ${JSON.stringify(join(folder, 'program'))}
      await LmdbStateBackend.verify(${JSON.stringify(join(folder, 'store'))}).catch(({ code }) => console.error(code))`
    await runAs(`exec ${node} --input-type=module -e '${application.replaceAll("'", `'"'"'`)}'`)
    await expect(verify()).rejects.toMatchObject(unchecked(/did not run as Node\.js: .*: STORAGE_ERROR/))
    expect(await readFile(starts, 'utf8')).toBe('started\n')
  })

  it('is not started where this one is a single executable application, which would run again', async () => {
    await runAs(`echo started > '${join(folder, 'again')}'`)
    const builtIn = vi.spyOn(process, 'getBuiltinModule').mockReturnValue({ isSea: () => true } as never)
    try {
      await expect(verify()).rejects.toMatchObject(unchecked(/is a single executable application/))
    } finally {
      builtIn.mockRestore()
    }
    expect(existsSync(join(folder, 'again'))).toBe(false)
  })

  it.runIf(process.platform === 'linux')(
    'is not ended, with all processes of the group of this one, where no file may be opened to start it',
    async () => {
      const script = `
        import { openSync, closeSync } from 'node:fs'
        import { LmdbStateBackend } from 'holdfast/lmdb'
        const store = await LmdbStateBackend.temporary()
        const open = []
        try {
          for (;;) open.push(openSync('/dev/null'))
        } catch {}
        console.log(await store.verify().catch(({ code, message }) => code + ' ' + message))
        open.map(closeSync)
        console.log((await store.verify()).ok)
        await store.close()`
      const command = `ulimit -n 96; "$0" --input-type=module -e "$1"; echo ended with $?`
      // In a group of its own: that of this test would be ended, too.
      const child = spawn('sh', ['-c', command, node, script], {
        detached: true,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const lines = (await text(child.stdout)).trim().split('\n')
      expect(lines).toEqual([
        expect.stringMatching(/^STORAGE_ERROR .* cannot be started: .*EMFILE/),
        'true',
        'ended with 0',
      ])
    },
  )

  it('is not waited for where it says nothing, nor is what it has started', async () => {
    await runAs('sleep 300 & sleep 300')
    const clock = new ManualClock()
    const error = errorOf(verify({ clock }))
    clock.advance(30_000)
    expect(await error).toMatchObject(unchecked(/did not run as Node\.js within 30 s/))
  })

  it('may be silent for a while between two words, and no longer', async () => {
    await runAs(`echo '{"kind":"started"}' >&3\nsleep 30`)
    const clock = new ManualClock()
    const waits: number[] = []
    const setTimer: Clock['setTimer'] = (callback, delayMs) => {
      waits.push(delayMs)
      return clock.setTimer(callback, delayMs)
    }
    let ended = false
    const silent = verify({ clock: { now: () => clock.now(), setTimer } }).finally(() => {
      ended = true
    })
    const error = errorOf(silent)
    await expect.poll(() => waits).toContain(60_000 / 8)
    clock.advance(59_999)
    await new Promise(setImmediate)
    expect(ended).toBe(false)
    clock.advance(1)
    expect(await error).toMatchObject(unchecked(/nothing was heard of the reading process for 60 s/))
  })

  it('is heard to its last word where this thread was held when it ended', async () => {
    // What reads is a child of a program that ends at once; its words come while nobody here listens.
    const runs = join(folder, 'runs')
    const done = join(folder, 'done')
    await runAs(`echo run >> "${runs}"\n(${node} "$@"; touch "${done}") &\nexit 0`)
    const asleep = new Int32Array(new SharedArrayBuffer(4))
    let short = 0
    const setTimer: Clock['setTimer'] = (callback, delayMs) => {
      const cancel = systemClock.setTimer(callback, delayMs)
      // The first short one waits for the last words.
      const isForLastWords = delayMs <= 1_000 && ++short === 1
      if (!isForLastWords) return cancel
      const until = performance.now() + 1_500
      while (performance.now() < until || !existsSync(done)) Atomics.wait(asleep, 0, 0, 20)
      return cancel
    }
    expect(await verify({ clock: { now: () => systemClock.now(), setTimer } })).toMatchObject(healthy)
    // No other one had to try it.
    expect(await readFile(runs, 'utf8')).toBe('run\n')
  })

  it('tells damage by the signal that reading it ends with', async () => {
    await runAs(`echo '{"kind":"started"}' >&3\nkill -s BUS $$`)
    expect(await verify()).toMatchObject({
      ok: false,
      problems: [{ reason: expect.stringContaining('SIGBUS') }],
    })
  })

  it.each([
    ['it is killed from outside', 'kill -s KILL $$', /SIGKILL/],
    ['it runs out of memory', 'echo JavaScript heap out of memory >&2; kill -s ABRT $$', /SIGABRT/],
    ['it fails', 'echo oops >&2; exit 3', /exit code 3: oops/],
    ['it says why', `echo '{"kind":"failed","reason":"EMFILE"}' >&3`, /EMFILE/],
    ['it says what nobody understands', 'echo hello >&3; sleep 30', /said something else: hello/],
  ])('does not call the store damaged where %s', async (_, end, reason) => {
    await runAs(`echo '{"kind":"started"}' >&3\n${end}`)
    await expect(verify()).rejects.toMatchObject(unchecked(reason))
  })

  it('tells of a version that it does not know, which is not damage', async () => {
    const path = join(folder, 'newer')
    await (await LmdbStateBackend.open({ path })).close()
    const environment = openEnvironment(await StoreDirectory.dataPathIn(path), { readOnly: false })
    const state = { format: 2, generation: 0, clockMs: 0, flushSequence: 0 } as unknown as StoreState
    environment.meta.putSync(STATE_KEY, encodeStoreState(state))
    await environment.close()
    await expect(LmdbStateBackend.verify(path)).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
  })

  it('ends when its store is closed', async () => {
    const other = await LmdbStateBackend.temporary()
    await runAs('sleep 30')
    const error = errorOf(other.verify())
    await new Promise(setImmediate)
    await other.close()
    expect(await error).toMatchObject({ code: 'CLOSED' })
  })

  it('does not begin when its signal has fired', async () => {
    const closed = new StateError('CLOSED', { component: 'x' })
    await expect(verify({ signal: AbortSignal.abort(closed) })).rejects.toBe(closed)
  })
})
