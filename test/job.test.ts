import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { titled } from './faults/fault-kit.js'
import { leftToLongRuns, runs } from './support/long.js'

// The example job as a user runs it: the built program, its own processes, its real checkpoints on disk.

const MAIN = fileURLToPath(new URL('../build/examples/token-usage/main.js', import.meta.url))
const DEMO = fileURLToPath(new URL('../build/examples/demo/main.js', import.meta.url))

/** Nothing here takes a tenth of that, where the machine is free; what hangs is ended before the test is given up. */
const LONGEST_RUN_MS = 240_000

interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

interface Report {
  readonly equal: boolean
  readonly differences: readonly string[]
  readonly events: number
  readonly windows: number
  readonly skippedLines: number
  readonly killsPlanned: number
  readonly kills: readonly {
    readonly atEvents: number
    readonly replayedEvents: number
    readonly restored?: { readonly checkpointId: string; readonly events: number }
  }[]
  readonly uninterrupted: { readonly digest: string }
  readonly killed: { readonly digest: string }
  readonly busiestWindows: readonly { readonly count: number }[]
}

let directory: string

beforeAll(async () => {
  for (const file of [MAIN, DEMO]) {
    if (!existsSync(file)) throw new Error(`${file} is not there: build first (npm run build)`)
  }
  directory = await mkdtemp(join(tmpdir(), 'holdfast-job-'))
})

afterAll(async () => {
  if (directory !== undefined) await rm(directory, { recursive: true })
})

/** Runs a program with its temporary files in a directory of its own; `interruptAfter` sends SIGINT at an output. */
function run(program: string, args: readonly string[], interruptAfter?: RegExp): Promise<Outcome> {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: directory,
    env: { ...process.env, TMPDIR: directory },
    timeout: LONGEST_RUN_MS,
    killSignal: 'SIGKILL',
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
    if (interruptAfter?.test(stderr)) child.kill('SIGINT')
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
}

async function report(...args: string[]): Promise<Report> {
  const { status, stdout, stderr } = await run(MAIN, [...args, '--json'])
  expect(stderr).toBe('')
  expect(status).toBe(0)
  return JSON.parse(stdout) as Report
}

/** A usage or input error: exit status 2, nothing on stdout, and the last line of stderr, which is the message. */
async function refusal(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(MAIN, [...args, '--json'])
  expect(status).toBe(2)
  expect(stdout).toBe('')
  expect(stderr.trimEnd()).not.toContain('\n')
  return stderr
}

async function input(name: string, content: string): Promise<string> {
  await writeFile(join(directory, name), content)
  return name
}

/** A trace of `count` requests; every seventh has a model's name with a line end, where that is wanted. */
function trace(count: number, lineEnds = false): string {
  const model = (i: number) => (lineEnds && i % 7 === 0 ? '"multi\r\nline"' : 'plain')
  const row = (i: number) => `${1_700_000_000 + i * 3},${model(i)},t${i % 3},${i},${i % 50}`
  return ['when,model,tenant,in,out', ...Array.from({ length: count }, (_, i) => row(i))].join('\r\n')
}

const columns = ['--time', 'when', '--tokens-in', 'in', '--tokens-out', 'out']

const EVENTS = runs(20_000, 2_000)
const CSV_EVENTS = runs(2_000, 1_000)
/** In seconds. */
const PACE = `${runs(1, 0.3)}`
const KILLED = ['--events', `${EVENTS}`, '--pace', PACE, '--seed-kill', '1']
/** In memory. */
const KILLS = runs(2, 1)
/** On the engine that persists. */
const STORE_KILLS = runs(2, 1)

let ranInMemory: Promise<Report> | undefined

/** The run on the memory engine that both engines' tests look at, once. */
function inMemory(): Promise<Report> {
  ranInMemory ??= report(...KILLED, '--kills', `${KILLS}`)
  return ranInMemory
}

describe('the example job', () => {
  it('J3: puts out what the run did that was never killed', async () => {
    const found = await inMemory()
    expect(found).toMatchObject({ equal: true, differences: [], events: EVENTS, killsPlanned: KILLS })
    expect(found.killed.digest).toMatch(/^[0-9a-f]{64}$/)
    expect(found.killed.digest).toBe(found.uninterrupted.digest)
    expect(found.kills).toHaveLength(KILLS)
    for (const { atEvents, restored, replayedEvents } of found.kills) {
      expect(atEvents).toBeGreaterThan(0)
      expect(atEvents).toBeLessThan(EVENTS)
      expect(restored?.events).toBeGreaterThan(0)
      expect(replayedEvents).toBe(Math.max(0, atEvents - (restored?.events ?? 0)))
    }
    expect(found.busiestWindows).toHaveLength(10)
    // Temporary files are gone.
    expect((await readdir(directory)).filter((name) => name.startsWith('holdfast-token-usage'))).toEqual([])
  })

  it.skipIf(leftToLongRuns !== undefined)(
    titled(
      'comes back from its own store on the engine that persists, without any checkpoint',
      leftToLongRuns,
    ),
    async () => {
      const found = await report(...KILLED, '--kills', `${STORE_KILLS}`, '--backend', 'lmdb')
      expect(found).toMatchObject({ equal: true, differences: [], events: EVENTS, killsPlanned: STORE_KILLS })
      expect(found.kills).toHaveLength(STORE_KILLS)
      for (const { restored } of found.kills) {
        expect(restored?.checkpointId).toBe('what the store had flushed')
        expect(restored?.events).toBeGreaterThan(0)
      }
      expect(found.killed.digest).toBe((await inMemory()).killed.digest)
    },
  )

  // A quick run does so in the test of what is shown: each such report is four processes.
  it.skipIf(leftToLongRuns !== undefined)(
    titled('resumes a CSV file in the middle', leftToLongRuns),
    async () => {
      const path = await input('trace.csv', trace(CSV_EVENTS, true))
      // The trace is in order: its windows close on the way, not at the end alone.
      const found = await report('--input', path, ...columns, '--pace', PACE, '--disorder', '0')
      expect(found).toMatchObject({ equal: true, events: CSV_EVENTS, skippedLines: 0 })
      expect(found.kills).toHaveLength(1)
    },
  )

  it.skipIf(leftToLongRuns !== undefined)(
    titled('counts broken lines once, killed or not', leftToLongRuns),
    async () => {
      const lines = trace(600).split('\r\n')
      for (const at of [5, 200, 300, 500]) lines.splice(at, 0, 'broken')
      const path = await input('broken.csv', `${lines.join('\r\n')}\r\nx`)
      const found = await report('--input', path, ...columns, '--pace', '0.5', '--skip-bad-lines')
      expect(found).toMatchObject({ equal: true, events: 600, skippedLines: 5 })
      expect(found.kills).toHaveLength(1)
      expect(await refusal('--input', path, ...columns)).toMatch(
        /^error: broken\.csv, line 6: .*--skip-bad-lines\n$/,
      )
    },
  )

  it.skipIf(leftToLongRuns !== undefined)(
    titled('can be killed between two requests', leftToLongRuns),
    async () => {
      expect((await report('--events', '2', '--pace', '0.5')).kills).toMatchObject([{ atEvents: 1 }])
    },
  )

  it.skipIf(leftToLongRuns !== undefined)(
    titled('says so where there is only one request', leftToLongRuns),
    async () => {
      const { status, stdout } = await run(MAIN, ['--events', '1', '--pace', '0'])
      expect(status).toBe(0)
      expect(stdout).toContain('only 0 of 1 happened')
      expect(stdout).toContain('EQUAL, but this proves nothing')
    },
  )

  it.skipIf(leftToLongRuns !== undefined)(
    titled(
      'shows both runs of a CSV file, the kill, the restore in the middle, a table and the comparison',
      leftToLongRuns,
    ),
    async () => {
      const path = await input('shown.csv', trace(CSV_EVENTS, true))
      const { status, stdout, stderr } = await run(MAIN, [
        '--input',
        path,
        ...columns,
        '--disorder',
        '0',
        '--pace',
        PACE,
        '--seed-kill',
        '3',
        '--checkpoint-every',
        '30',
      ])
      expect(status).toBe(0)
      expect(stderr).toMatch(/restored chk-\d{10}: as of request [\d,]+/)
      expect(stderr).toMatch(/killed with SIGKILL: it had reported [\d,]+ requests/)
      expect(stdout).toMatch(/^2023-11-1\d \d\d:\d\d plain /m)
      expect(stdout).toMatch(
        /1\. at request [\d,]+ or a little later;\n +restored chk-\d{10} .*, [\d,]+ requests replayed/,
      )
      expect(stdout).toContain('EQUAL: the kill left no trace')
    },
  )

  it.skipIf(leftToLongRuns !== undefined)(
    titled('keeps the checkpoints where it is told to, and does not go on with old ones', leftToLongRuns),
    async () => {
      await report('--events', '100', '--pace', '0.5', '--dir', 'kept')
      expect(await readdir(join(directory, 'kept', 'killed'))).not.toEqual([])
      expect(await refusal('--dir', 'kept')).toBe(
        'error: kept: is not empty; name a new directory with --dir\n',
      )
    },
  )

  it('ends its worker and removes its files on Ctrl-C', async () => {
    const { status, stdout } = await run(MAIN, ['--events', '2000', '--pace', '3600'], /run to be killed/)
    expect(status).toBe(130)
    expect(stdout).toBe('')
    expect((await readdir(directory)).filter((name) => name.startsWith('holdfast-token-usage'))).toEqual([])
  })

  it('refuses what is wrong in one line', async () => {
    const csv = await input('good.csv', 'a,b\n1,2\n')
    expect(await refusal('--unknown')).toBe("error: unknown option '--unknown' (see --help)\n")
    expect(await refusal('--input', csv)).toContain(
      'no column "timestampMs"; name one with --time: there are "a", "b"',
    )
    expect(await refusal('--dir', csv)).toBe(
      'error: good.csv: is not a directory; name a new or empty one with --dir\n',
    )
  })

  // What is wrong with a file is tested where it is found out (file-source.test.ts).
  it.skipIf(leftToLongRuns !== undefined)(
    titled('refuses each file that it cannot read in one line', leftToLongRuns),
    async () => {
      await mkdir(join(directory, 'folder'), { recursive: true })
      expect(await refusal('--input', 'nowhere.csv')).toContain('nowhere.csv: there is no such file')
      expect(await refusal('--input', 'folder')).toContain('folder: is not a regular file')
      expect(await refusal('--input', await input('empty.csv', ''))).toContain('empty.csv: is empty')
      expect(await refusal('--input', await input('header.csv', 'timestampMs\n'))).toContain(
        'there are no requests',
      )
      expect(await refusal('--dir', 'no/where')).toContain('no/where: there is no directory to create it in')
    },
  )
})

describe('the tour', () => {
  it('holds what it claims', async () => {
    const { status, stdout, stderr } = await run(DEMO, [])
    expect(stderr).toBe('')
    expect(status).toBe(0)
    expect(stdout).toContain('hit rate 50.0 %')
    expect(stdout).toContain('all 10 windows are as they were')
    expect(stdout).toContain('They counted 100 windows in one shared entry')
    expect(stdout).toMatch(/Everything held\.\n$/)
  })
})
