// Stores of every kind of state, compared with plain arrays and maps after each command.

import fc from 'fast-check'
import { describe, expect } from 'vitest'
import { isSyncBackend } from '../../src/backend/state-backend.js'
import { isStateError } from '../../src/base/errors.js'
import {
  aggregating,
  defineState,
  float64,
  index,
  int64,
  json,
  list,
  map,
  none,
  reducing,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from '../../src/state.js'
import type { ManualClock } from '../../src/testing/manual-clock.js'
import { onEveryEngine, type StateSubject } from '../support/state-subjects.js'

const TTL_MS = 1_000
const MAX_LENGTH = 4

const states = {
  total: aggregating(struct({ count: uint32, sum: int64 }), (total, by: number) => {
    total.count++
    total.sum += by
  }),
  highest: reducing(float64, Math.max),
  note: value(json<{ text: string }>(), { default: () => ({ text: '' }) }),
  steps: list(utf8),
  last: list(uint32, { maxLength: MAX_LENGTH }),
  hours: map(utf8, uint32, { indexes: { byCount: index(uint32, (count: number) => count) } }),
  seen: map(utf8, none, { ttl: { afterMs: TTL_MS } }),
}
const schema = defineState({ key: tuple(utf8, uint32), states, keyGroups: 16 })
type Key = [string, number]
const keys: readonly Key[] = [
  ['a', 1],
  ['a', 256],
  ['a\0', 1],
  ['', 0],
  ['é', 2 ** 32 - 1],
]

/** What a store should hold under one key. */
class Holding {
  total: { count: number; sum: number } | undefined
  highest: number | undefined
  note: { text: string } | undefined
  steps: string[] = []
  last: number[] = []
  hours = new Map<string, number>()
  /** When each expires. */
  seen = new Map<string, number>()
}

type Command =
  | { readonly do: 'add' | 'raise' | 'append last'; readonly key: number; readonly by: number }
  | {
      readonly do: 'note' | 'append step' | 'see' | 'forget hour'
      readonly key: number
      readonly text: string
    }
  | { readonly do: 'hour'; readonly key: number; readonly text: string; readonly by: number }
  | { readonly do: 'trim'; readonly key: number; readonly by: number }
  | { readonly do: 'clear' | 'delete total' | 'clear hours' | 'clear steps'; readonly key: number }
  | { readonly do: 'overflow'; readonly key: number }
  | { readonly do: 'wait'; readonly by: number }

interface Opening {
  readonly do: 'reopen' | 'restore' | 'kill'
}

type Step =
  | Command
  | { readonly do: 'batch'; readonly commands: readonly Command[]; readonly fails: boolean }
  | Opening
  | { readonly do: 'checkpoint' }

const key = fc.nat({ max: keys.length - 1 })
const text = fc.constantFrom('', 'a', 'b', '\0', 'é', 'long'.repeat(20))
const by = fc.nat({ max: 9 })
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ do: fc.constantFrom('add' as const, 'raise' as const, 'append last' as const), key, by }),
  fc.record({
    do: fc.constantFrom('note' as const, 'append step' as const, 'see' as const, 'forget hour' as const),
    key,
    text,
  }),
  fc.record({ do: fc.constant('hour' as const), key, text, by }),
  fc.record({ do: fc.constant('trim' as const), key, by: fc.nat({ max: 3 }) }),
  fc.record({
    do: fc.constantFrom(
      'clear' as const,
      'delete total' as const,
      'clear hours' as const,
      'clear steps' as const,
    ),
    key,
  }),
  fc.record({ do: fc.constant('overflow' as const), key }),
  fc.record({ do: fc.constant('wait' as const), by: fc.constantFrom(1, 400, 1_000) }),
)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: command },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('batch' as const),
      commands: fc.array(
        command.filter((each) => each.do !== 'wait'),
        { maxLength: 5 },
      ),
      fails: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('reopen' as const, 'restore' as const) }) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'checkpoint' }, { do: 'kill' }) },
)

type LocalStore = StateStore<typeof schema, 'sync'>

/** Does a command with a store; the result is a promise over an asynchronous backend. */
function perform(store: LocalStore, each: Command, clock: ManualClock): unknown {
  switch (each.do) {
    case 'add':
      return store.total.add(keys[each.key] as Key, each.by)
    case 'raise':
      return store.highest.add(keys[each.key] as Key, each.by)
    case 'append last':
      return store.last.append(keys[each.key] as Key, each.by, each.by + 1)
    case 'note':
      return store.note.update(keys[each.key] as Key, (note) => ({ text: note.text + each.text }))
    case 'append step':
      return store.steps.append(keys[each.key] as Key, each.text)
    case 'see':
      return store.seen.putIfAbsent(keys[each.key] as Key, each.text)
    case 'forget hour':
      return store.hours.delete(keys[each.key] as Key, each.text)
    case 'hour':
      return store.hours.update(keys[each.key] as Key, each.text, (count) => (count ?? 0) + each.by)
    case 'trim':
      return store.steps.trim(keys[each.key] as Key, each.by)
    case 'clear':
      return store.clear(keys[each.key] as Key)
    case 'delete total':
      return store.total.delete(keys[each.key] as Key)
    case 'clear hours':
      return store.hours.clear(keys[each.key] as Key)
    case 'clear steps':
      return store.steps.clear(keys[each.key] as Key)
    case 'overflow':
      return refused(() => store.total.add(keys[each.key] as Key, Number.MAX_SAFE_INTEGER * 2))
    case 'wait':
      return clock.advance(each.by)
  }
}

/** A call that must fail as an overflow does, now or later. */
function refused(call: () => unknown): unknown {
  const isOverflow = (error: unknown) => {
    if (!isStateError(error, 'SERIALIZATION_FAILED')) throw error
  }
  try {
    const result = call() as Promise<unknown> | undefined
    if (result === undefined) throw new Error('it was accepted')
    return result.then(() => {
      throw new Error('it was accepted')
    }, isOverflow)
  } catch (error) {
    return isOverflow(error)
  }
}

function performOnModel(holdings: Holding[], each: Command, nowMs: number): void {
  if (each.do === 'wait' || each.do === 'overflow') return
  const holding = holdings[each.key] as Holding
  switch (each.do) {
    case 'add':
      holding.total = { count: (holding.total?.count ?? 0) + 1, sum: (holding.total?.sum ?? 0) + each.by }
      return
    case 'raise':
      holding.highest = Math.max(holding.highest ?? -Infinity, each.by)
      return
    case 'append last':
      holding.last = [...holding.last, each.by, each.by + 1].slice(-MAX_LENGTH)
      return
    case 'note':
      holding.note = { text: (holding.note?.text ?? '') + each.text }
      return
    case 'append step':
      holding.steps.push(each.text)
      return
    case 'see':
      if ((holding.seen.get(each.text) ?? -Infinity) <= nowMs) holding.seen.set(each.text, nowMs + TTL_MS)
      return
    case 'forget hour':
      holding.hours.delete(each.text)
      return
    case 'hour':
      holding.hours.set(each.text, (holding.hours.get(each.text) ?? 0) + each.by)
      return
    case 'trim':
      holding.steps = each.by === 0 ? [] : holding.steps.slice(-each.by)
      return
    case 'clear':
      holdings[each.key] = new Holding()
      return
    case 'delete total':
      holding.total = undefined
      return
    case 'clear hours':
      holding.hours.clear()
      return
    case 'clear steps':
      holding.steps = []
      return
  }
}

const byBytes = ([left]: readonly [string, unknown], [right]: readonly [string, unknown]) =>
  Buffer.compare(Buffer.from(left), Buffer.from(right))

async function items<Item>(stream: Iterable<Item> | AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of stream) all.push(item)
  return all
}

async function compare(store: LocalStore, holdings: readonly Holding[], nowMs: number): Promise<void> {
  for (const [i, holding] of holdings.entries()) {
    const at = keys[i] as Key
    const actual = {
      total: await store.total.get(at),
      highest: await store.highest.get(at),
      note: await store.note.get(at),
      steps: await store.steps.get(at),
      last: await store.last.get(at),
      lengths: [await store.steps.length(at), await store.last.length(at)],
      hours: await items(store.hours.entries(at)),
      seen: await items(store.seen.keys(at, { reverse: true })),
    }
    const alive = [...holding.seen].filter(([, expiresAtMs]) => expiresAtMs > nowMs).sort(byBytes)
    expect(actual).toEqual({
      total: holding.total,
      highest: holding.highest,
      note: holding.note ?? { text: '' },
      steps: holding.steps,
      last: holding.last,
      lengths: [holding.steps.length, holding.last.length],
      hours: [...holding.hours].sort(byBytes),
      seen: alive.map(([each]) => each).reverse(),
    })
  }
  const count = (of: (holding: Holding) => number) => holdings.reduce((sum, holding) => sum + of(holding), 0)
  expect((await items(store.total.entries())).length).toBe(
    count(({ total }) => (total === undefined ? 0 : 1)),
  )
  expect((await items(store.steps.entries())).length).toBe(count(({ steps }) => steps.length))
  expect((await items(store.hours.all())).length).toBe(count(({ hours }) => hours.size))
  const found = await items(store.hours.query('byCount'))
  const counts = found.map(({ derived }) => derived)
  expect(counts).toEqual([...counts].sort((left, right) => left - right))
  const wanted = holdings.flatMap(({ hours }, i) =>
    [...hours].map(([hour, hourly]) => [hourly, keys[i], hour, hourly]),
  )
  const shown = (all: readonly unknown[][]) => all.map((each) => JSON.stringify(each)).sort()
  expect(shown(found.map(({ derived, entry }) => [derived, ...entry]))).toEqual(shown(wanted))
}

async function run(subject: StateSubject, steps: readonly Step[], clock: ManualClock): Promise<void> {
  let holdings = keys.map(() => new Holding())
  let saved = holdings
  let store = (await StateStore.open(subject.backend, schema)) as unknown as LocalStore
  for (const each of steps) {
    if (each.do === 'checkpoint') {
      await subject.checkpoint?.()
      saved = structuredCloneOf(holdings)
      continue
    }
    if (isOpening(each)) {
      const before = subject.backend
      if (each.do === 'restore') subject.backend = (await subject.restored?.()) ?? before
      if (each.do === 'kill') {
        subject.backend = (await subject.recovered?.()) ?? before
        if (subject.backend !== before) holdings = structuredCloneOf(saved)
      }
      if (subject.backend !== before) await before.close()
      store = (await StateStore.open(subject.backend, schema)) as unknown as LocalStore
    } else if (each.do === 'batch') {
      holdings = await runBatch(store, each, holdings, clock, isSyncBackend(subject.backend))
    } else {
      performOnModel(holdings, each, clock.now())
      await perform(store, each, clock)
    }
    await compare(store, holdings, clock.now())
  }
}

function isOpening(each: Step): each is Opening {
  return each.do === 'reopen' || each.do === 'restore' || each.do === 'kill'
}

class Cancelled extends Error {}

async function runBatch(
  store: LocalStore,
  { commands, fails }: Extract<Step, { do: 'batch' }>,
  holdings: Holding[],
  clock: ManualClock,
  isLocal: boolean,
): Promise<Holding[]> {
  const changed = structuredCloneOf(holdings)
  for (const each of commands) performOnModel(changed, each, clock.now())
  const end = () => {
    if (fails) throw new Cancelled()
  }
  const later = async () => {
    for (const each of commands) await perform(store, each, clock)
    end()
  }
  const atOnce = () => {
    for (const each of commands) perform(store, each, clock)
    end()
  }
  try {
    await (isLocal ? store.batch(atOnce) : store.batch(later as never))
  } catch (error) {
    if (!(error instanceof Cancelled)) throw error
    return holdings
  }
  return changed
}

function structuredCloneOf(holdings: readonly Holding[]): Holding[] {
  return holdings.map((holding) => Object.assign(new Holding(), structuredClone(holding)))
}

describe('typed state behaves as plain maps and arrays do, whatever the commands', () => {
  onEveryEngine(step, run, {
    memory: [600, 12],
    asynchronous: [100, 5],
    lmdb: [80, 2],
  })
})
