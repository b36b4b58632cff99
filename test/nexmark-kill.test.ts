import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import * as batch from '../examples/nexmark/expected.js'
import { type NexmarkSettings, nexmarkEvents } from '../examples/nexmark/generator.js'
import { seededRandom } from '../src/base/random.js'
import { titled } from './faults/fault-kit.js'
import { killLimitMs, killsOf, runUntilKilled } from './support/killed-run.js'
import { leftToLongRuns, runs } from './support/long.js'

// Queries of Nexmark as a user runs them, killed by SIGKILL at random and run again: what is in the file at the end is what lists and
// loops make of all events.

const MAIN = fileURLToPath(new URL('../build/examples/nexmark/main.js', import.meta.url))
/** For each engine and query. */
const KILLS = killsOf(runs(3, 1))
const EVENTS = Math.max(runs(10_000, 500), KILLS * 1_000)
const SEED = 5
/** Rows in front of the bids of query 13. */
const SIDE_KEYS = 10_000

const minutes: NexmarkSettings = { seed: SEED, events: EVENTS, eventsPerSecond: 20 }
const rare: NexmarkSettings = { ...minutes, events: EVENTS * 10 }
const days: NexmarkSettings = { ...minutes, eventsPerSecond: EVENTS / 250_000 }

interface Killed {
  readonly query: number
  readonly what: string
  readonly settings: NexmarkSettings
  /** How much of the events it asks for. Default: nearly all. */
  readonly reads?: number
  readonly expected: () => readonly object[]
  /** What of the outputs is the same in all runs. Default: each of them. */
  readonly compared?: (rows: readonly object[]) => readonly object[]
  /** Killed in quick runs, too, on this engine. */
  readonly quickOn?: 'memory'
}

const bids = nexmarkEvents(minutes, ['bid'])
const auctions = nexmarkEvents(minutes, ['auction'])
const killed: readonly Killed[] = [
  { query: 0, what: 'no state', settings: minutes, expected: () => bids },
  { query: 1, what: 'no state', settings: minutes, expected: () => batch.expected1(bids) },
  { query: 2, what: 'a selection', settings: minutes, expected: () => batch.expected2(bids) },
  {
    query: 3,
    what: 'a join without an end',
    settings: rare,
    reads: 0.08,
    expected: () => batch.expected3(nexmarkEvents(rare, ['person']), nexmarkEvents(rare, ['auction'])),
  },
  {
    query: 4,
    what: 'timers and a second stage',
    settings: minutes,
    expected: () => batch.expected4(auctions, bids),
    compared: (rows) => lastOf(rows as { category: number }[], ({ category }) => category),
  },
  { query: 5, what: 'two stages', settings: minutes, expected: () => batch.expected5(bids) },
  { query: 7, what: 'tumbling windows', settings: minutes, expected: () => batch.expected7(bids) },
  {
    query: 8,
    what: 'a window join',
    settings: rare,
    reads: 0.08,
    expected: () => batch.expected8(nexmarkEvents(rare, ['person']), nexmarkEvents(rare, ['auction'])),
  },
  {
    query: 9,
    what: 'timers',
    settings: minutes,
    expected: () => batch.expected9(auctions, bids),
  },
  { query: 11, what: 'sessions', settings: minutes, expected: () => batch.expected11(bids) },
  {
    query: 12,
    what: 'windows of processing time',
    settings: minutes,
    expected: () => bidsOfBidders(bids.map(({ bidder }) => ({ bidder, bids: 1 }))),
    compared: (rows) => bidsOfBidders(rows as { bidder: number; bids: number }[]),
  },
  {
    query: 13,
    what: 'a table of versions',
    settings: minutes,
    expected: () => batch.expected13(rowsOf(bids), bids),
  },
  {
    query: 15,
    what: 'distinct counts',
    settings: days,
    expected: () => batch.expected15(nexmarkEvents(days, ['bid'])),
  },
  {
    query: 16,
    what: 'aggregates that grow',
    settings: days,
    expected: () => batch.expected16(nexmarkEvents(days, ['bid'])),
    quickOn: 'memory',
  },
  {
    query: 17,
    what: 'windows of days',
    settings: days,
    expected: () => batch.expected17(nexmarkEvents(days, ['bid'])),
  },
  {
    query: 18,
    what: 'a value that is replaced',
    settings: minutes,
    expected: () => batch.expected18(bids),
    compared: (rows) =>
      lastOf(rows as { bidder: number; auction: number }[], ({ bidder, auction }) => `${bidder} ${auction}`),
  },
  { query: 19, what: 'a global window', settings: minutes, expected: () => batch.expected19(bids) },
  {
    query: 20,
    what: 'a join without an end',
    settings: minutes,
    expected: () => batch.expected20(auctions, bids),
  },
]

/** What was put out last of each. */
function lastOf<Row extends object>(rows: readonly Row[], of: (row: Row) => unknown): Row[] {
  return [...new Map(rows.map((row) => [of(row), row])).values()]
}

/** The rows of the side input that are looked up. */
function rowsOf(looked: readonly { readonly auction: number }[]) {
  const keys = new Set(looked.map(({ auction }) => auction % SIDE_KEYS))
  return Array.from(keys, (key) => ({ key, value: `row ${key}`, at: -Infinity }))
}

/** Which windows of the clock bids fall into is not the same in two runs; how many there are of each bidder is. */
function bidsOfBidders(counts: readonly { readonly bidder: number; readonly bids: number }[]): object[] {
  const totals = new Map<number, number>()
  for (const { bidder, bids: some } of counts) totals.set(bidder, (totals.get(bidder) ?? 0) + some)
  return Array.from(totals, ([bidder, total]) => ({ bidder, total }))
}

let folder: string
beforeAll(() => {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is not there: build first (npm run build)`)
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-nexmark-kill-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** Runs a query in a process that is killed behind some hundreds of events; whether it had ended before. */
function runUntil({ query, settings }: Killed, engine: string, hundreds: number): Promise<boolean> {
  const { events, eventsPerSecond, seed } = settings
  const options = { query, engine, folder, events, rate: eventsPerSecond, seed }
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  return runUntilKilled(MAIN, [...args, '--paced'], hundreds, '{')
}

/** In whatever order: keys are independent of each other. */
const sorted = (rows: readonly object[]): string[] =>
  rows.map((row) => JSON.stringify(Object.entries(row).sort())).sort()

for (const engine of ['memory', 'lmdb'] as const) {
  for (const each of killed) {
    const notNow = each.quickOn === engine ? undefined : leftToLongRuns
    const title = `J3: query ${each.query}, ${each.what}, on the ${engine} engine has lost nothing and nothing twice`
    it.skipIf(notNow !== undefined)(
      titled(title, notNow),
      async () => {
        const most = (each.settings.events * (each.reads ?? 0.92)) / 100 / KILLS
        const random = seededRandom(SEED + each.query)
        for (let kills = 0; kills < KILLS; kills++) {
          // All of them together still come before the end.
          const hundreds = 1 + Math.floor(random() * (most - 3))
          expect(await runUntil(each, engine, hundreds)).toBe(false)
        }
        expect(await runUntil(each, engine, Infinity)).toBe(true)
        const lines = (await readFile(join(folder, 'outputs.ndjson'), 'utf8')).trimEnd().split('\n')
        const expected = each.expected()
        expect(expected.length).toBeGreaterThan(0)
        const rows = lines.map((line) => JSON.parse(line) as object)
        expect(sorted(each.compared?.(rows) ?? rows)).toEqual(sorted(expected))
      },
      killLimitMs(KILLS),
    )
  }
}
