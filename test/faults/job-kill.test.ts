import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { seededRandom } from '../../src/base/random.js'
import { leftToLongRuns, runs } from '../support/long.js'
import { expectedCounts } from './children/counted-events.js'
import { expectedKeyCounts } from './children/many-keys.js'
import { expectedSeconds, expectedWindows } from './children/windowed-events.js'
import { compileSources } from './compile-sources.js'
import { titled } from './fault-kit.js'

/** For each test. */
const KILLS = runs(10, 1)
const EVENTS = runs(20_000, 1_000)
/** Behind each kill some parts of a cut are lost, so that it takes many events to be killed so often. */
const MANY_EVENTS = runs(900_000, 15_000)
const STAGED_KILLS = runs(16, 2)
/** As few parts have all cuts together where the machine has so much to do that there is one cut. */
const FEWEST_PARTS = runs(10, 5)
const SEED = 20_261_126

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-job-kill-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** Runs the job in a process that is killed after some lines of its output; whether it had ended before. */
async function runUntil(script: string, engine: string, lines: number): Promise<boolean> {
  const child = spawn(process.execPath, [script, folder, engine, String(EVENTS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise((resolve) => child.on('exit', resolve))
  let isDone = false
  let seen = 0
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'done') isDone = true
    else if (++seen === lines) child.kill('SIGKILL')
  }
  await ended
  return isDone
}

/** Runs a job that is killed again and again, until it has come to its end; the lines that it has put out. */
async function killedOutputs(child: string, file: string, engine: string): Promise<unknown[]> {
  const script = (await compileSources()).pathOf(`test/faults/children/${child}.ts`)
  const random = seededRandom(SEED)
  // So early that most often the last one, too, comes before the end.
  const most = EVENTS / 100 / KILLS
  for (let kills = 0; kills < KILLS; kills++) {
    if (await runUntil(script, engine, 1 + Math.floor(random() * (most - 1)))) break
  }
  expect(await runUntil(script, engine, Infinity)).toBe(true)
  const text = await readFile(join(folder, file), 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
}

/** A quick run kills each of these kinds of job on one of its engines. */
const leftOut = (isQuick: boolean): string | undefined => (isQuick ? undefined : leftToLongRuns)

for (const engine of ['memory', 'lmdb']) {
  const job = leftOut(engine === 'lmdb')
  it.skipIf(job !== undefined)(
    titled(`J3: a job on the ${engine} engine that is killed again and again puts everything out once`, job),
    async () => {
      expect(await killedOutputs('run-job', 'counts.ndjson', engine)).toEqual(expectedCounts(EVENTS))
    },
  )

  const windows = leftOut(engine === 'memory')
  it.skipIf(windows !== undefined)(
    titled(`J3: windows on the ${engine} engine fire once, whenever the job is killed`, windows),
    async () => {
      const lines = (await killedOutputs('run-windows', 'results.ndjson', engine)) as string[]
      expect(lines.sort()).toEqual(expectedWindows(EVENTS))
    },
  )
}

const STAGES = {
  memory: 'windows, then timers',
  lmdb: 'timers, then timers',
  'lmdb-windows': 'windows, then windows',
}

for (const [engine, kinds] of Object.entries(STAGES)) {
  const title = `J1, R5: two stages (${kinds}) put everything out once and in order, whenever the job is killed`
  it.skipIf(leftToLongRuns !== undefined)(titled(title, leftToLongRuns), async () => {
    expect(await killedOutputs('run-stages', 'seconds.ndjson', engine)).toEqual(expectedSeconds(EVENTS))
  })
}

it('J1, J3: windows fire once where the job is killed in the middle of a cut that is staged', async () => {
  const script = (await compileSources()).pathOf('test/faults/children/staged-windows.ts')
  const random = seededRandom(SEED)
  const run = async (killAt: number): Promise<number | null> => {
    const child = spawn(process.execPath, [script, folder, String(MANY_EVENTS), String(killAt)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    return await new Promise((resolve) => child.on('exit', resolve))
  }
  let kills = 0
  // By a signal: it has no code. How many parts are left for the later ones depends on how many cuts there were.
  while (kills < STAGED_KILLS && (await run(1 + Math.floor(random() * FEWEST_PARTS))) === null) kills++
  expect(kills).toBeGreaterThan(0)
  expect(await run(0)).toBe(0)
  const text = await readFile(join(folder, 'counts.ndjson'), 'utf8')
  const lines = text.trimEnd().split('\n')
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(expectedKeyCounts(MANY_EVENTS))
})
