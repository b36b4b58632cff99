import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { BudgetAlert, LlmRequest } from '../examples/jobs/budget-guard.js'
import type { Attribution, Click, Purchase } from '../examples/jobs/click-to-purchase.js'
import { GAP_MS, type PageView, type Visit } from '../examples/jobs/sessions.js'
import { seededRandom } from '../src/base/random.js'
import { titled } from './faults/fault-kit.js'
import { compared } from './support/compared.js'
import { killLimitMs, killsOf, runUntilKilled } from './support/killed-run.js'
import { leftToLongRuns, runs } from './support/long.js'

// The jobs of examples/jobs, killed by SIGKILL at random and run again: what is in the file at the end is what lists and loops make of all
// events. These are chosen so that there is one right answer, whatever comes first within a poll.

const SCRIPT = fileURLToPath(new URL('support/run-example-job.mjs', import.meta.url))
const BUILT = fileURLToPath(new URL('../build/examples/jobs/budget-guard.js', import.meta.url))
/** For each engine and job. */
const KILLS = killsOf(runs(10, 1))
const EVENTS = Math.max(300, KILLS * 120)
const TENS_PER_KILL = (EVENTS * 0.92) / 10 / KILLS
const SEED = 20_261_128
const START_MS = 1_767_225_600_000
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

interface KilledJob {
  readonly name: string
  readonly events: readonly object[]
  readonly expected: () => readonly object[]
}

/** Tenants take turns of ten minutes, so that no request of one comes when its old ones are forgotten. */
function requests(): LlmRequest[] {
  const random = seededRandom(SEED)
  const turnEvents = 30
  return Array.from({ length: EVENTS }, (_, i) => ({
    tenant: `tenant ${Math.floor(i / turnEvents) % 18}`,
    at: START_MS + i * 20_000,
    // Sums of quarters are exact.
    costUsd: Math.floor(random() * 6) / 4,
  }))
}

function expectedAlerts(all: readonly LlmRequest[]): BudgetAlert[] {
  const alerts: BudgetAlert[] = []
  for (let from = 0; from < all.length; from += 30) {
    const turn = all.slice(from, from + 30)
    const tenant = turn[0]?.tenant ?? ''
    let spentUsd = 0
    let isOver = false
    const minutes = new Map<number, number>()
    for (const { at, costUsd } of turn) {
      spentUsd += costUsd
      const minute = Math.floor(at / MINUTE_MS) * MINUTE_MS
      minutes.set(minute, (minutes.get(minute) ?? 0) + costUsd)
      if (spentUsd > 10 && !isOver) {
        isOver = true
        alerts.push({ tenant, at, kind: 'over budget', spentUsd })
      }
    }
    for (const [minute, cost] of minutes) {
      spentUsd -= cost
      if (spentUsd > 10 || !isOver) continue
      isOver = false
      alerts.push({ tenant, at: minute + HOUR_MS, kind: 'within budget', spentUsd })
    }
  }
  return alerts
}

function actions(): (Click | Purchase)[] {
  const random = seededRandom(SEED)
  return Array.from({ length: EVENTS }, (_, i) => {
    const action = {
      user: `user ${Math.floor(random() * 10)}`,
      product: `product ${Math.floor(random() * 4)}`,
      at: START_MS + i * 30_011,
    }
    return random() < 0.7 ? { ...action, campaign: `campaign ${i}` } : { ...action, price: i }
  })
}

function expectedPairs(all: readonly (Click | Purchase)[]): Attribution[] {
  const clicks = all.filter((action): action is Click => 'campaign' in action)
  const purchases = all.filter((action): action is Purchase => 'price' in action)
  return purchases.flatMap(({ user, product, price, at }) =>
    clicks
      .filter((click) => click.user === user && click.product === product)
      .filter((click) => click.at <= at && at - click.at <= HOUR_MS)
      .map((click) => ({ campaign: click.campaign, product, price, afterMs: at - click.at })),
  )
}

/** No two views are a gap apart to the millisecond. */
function views(): PageView[] {
  const random = seededRandom(SEED)
  return Array.from({ length: EVENTS }, (_, i) => ({
    user: `user ${Math.floor(random() * 25)}`,
    at: START_MS + i * 70_001,
  }))
}

function expectedVisits(all: readonly PageView[]): Visit[] {
  const users = new Set(all.map(({ user }) => user))
  return [...users].flatMap((user) => {
    const visits: { user: string; from: number; to: number; pages: number }[] = []
    for (const { at } of all.filter((view) => view.user === user)) {
      const last = visits.at(-1)
      if (last === undefined || at - last.to > GAP_MS) visits.push({ user, from: at, to: at, pages: 1 })
      else {
        last.to = at
        last.pages++
      }
    }
    return visits
  })
}

const asked = requests()
const done = actions()
const seen = views()
const jobs: readonly KilledJob[] = [
  { name: 'budgetGuard', events: asked, expected: () => expectedAlerts(asked) },
  { name: 'clickToPurchase', events: done, expected: () => expectedPairs(done) },
  { name: 'sessions', events: seen, expected: () => expectedVisits(seen) },
  { name: 'sessionWindows', events: seen, expected: () => expectedVisits(seen) },
]

let folder: string
beforeAll(() => {
  if (!existsSync(BUILT)) throw new Error(`${BUILT} is not there: build first (npm run build)`)
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-example-kill-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

for (const engine of ['memory', 'lmdb'] as const) {
  for (const { name, events, expected } of jobs) {
    const title = `J3: ${name} of the examples, killed ${KILLS} times on the ${engine} engine, has lost nothing and nothing twice`
    it.skipIf(leftToLongRuns !== undefined)(
      titled(title, leftToLongRuns),
      async () => {
        await writeFile(
          join(folder, 'events.ndjson'),
          events.map((event) => JSON.stringify(event)).join('\n'),
        )
        const random = seededRandom(SEED)
        for (let kills = 0; kills < KILLS; kills++) {
          // All of them together still come before the end.
          const tens = 1 + Math.floor(random() * (TENS_PER_KILL - 1))
          expect(await runUntilKilled(SCRIPT, [name, folder, engine], tens, 'done')).toBe(false)
        }
        expect(await runUntilKilled(SCRIPT, [name, folder, engine], Infinity, 'done')).toBe(true)
        const lines = (await readFile(join(folder, 'outputs.ndjson'), 'utf8')).trimEnd().split('\n')
        const right = expected()
        expect(right.length).toBeGreaterThan(0)
        const outputs = lines.map((line) => JSON.parse(line) as object)
        expect(compared(outputs, right)).toEqual({ lost: 0, doubled: 0 })
      },
      killLimitMs(KILLS),
    )
  }
}
