// Stores whose program changes while they are used: three versions, migrated lazily, eagerly, or half, compared with plain maps.

import fc from 'fast-check'
import { describe, expect } from 'vitest'
import {
  defineState,
  from,
  index,
  json,
  list,
  map,
  StateStore,
  struct,
  uint32,
  utf8,
  value,
} from '../../src/state.js'
import type { ManualClock } from '../../src/testing/manual-clock.js'
import { onEveryEngine, type StateSubject } from '../support/state-subjects.js'

/** Every value stands for a number, in each version in another form. */
interface Version {
  readonly schema: ReturnType<typeof schemaOf>
  readonly form: (n: number) => never
  readonly number: (form: unknown) => number
}

interface N {
  readonly n: number
}

const TTL_MS = 1_000
const byClock = { afterMs: TTL_MS }
const byEvents = { afterMs: TTL_MS, time: 'event' } as const
const one = { one: value(uint32), steps: list(uint32), hours: map(utf8, uint32, { ttl: byClock }) }
const fromOne = [from(uint32, (n) => `${n}`)] as const
const fromTwo = [...fromOne, from(utf8, (text) => ({ n: Number(text) }))] as const

function schemaOf(version: number) {
  const states = [
    { ...one, seen: map(utf8, uint32, { ttl: byEvents }) },
    {
      one: value(utf8, { migrations: fromOne }),
      steps: list(utf8, { migrations: fromOne }),
      hours: map(utf8, utf8, { migrations: fromOne, ttl: byClock }),
      seen: map(utf8, utf8, { migrations: fromOne, ttl: byEvents }),
    },
    {
      one: value(json<N>(), { migrations: fromTwo, indexes: { byN: index(uint32, ({ n }: N) => n) } }),
      steps: list(struct({ n: uint32 }), { migrations: fromTwo }),
      hours: map(utf8, json<N>(), { migrations: fromTwo, ttl: byClock }),
      seen: map(utf8, struct({ n: uint32 }), { migrations: fromTwo, ttl: byEvents }),
    },
  ][version]
  return defineState({ key: utf8, keyGroups: 4, states: states as never }) as never as typeof shape
}
const shape = defineState({
  key: utf8,
  keyGroups: 4,
  states: {
    one: value(json<unknown>(), { indexes: { byN: index(uint32, () => 0) } }),
    steps: list(json<unknown>()),
    hours: map(utf8, json<unknown>(), { ttl: byClock }),
    seen: map(utf8, json<unknown>(), { ttl: byEvents }),
  },
})
const versions: readonly Version[] = [
  { schema: schemaOf(0), form: (n) => n as never, number: (n) => n as number },
  { schema: schemaOf(1), form: (n) => `${n}` as never, number: Number },
  { schema: schemaOf(2), form: (n) => ({ n }) as never, number: (each) => (each as N).n },
]
type Store = StateStore<typeof shape, 'sync'>

const keys = ['a', 'b', '']
const parts = ['x', 'y\0', 'é']
type Command =
  | { readonly do: 'put' | 'append' | 'trim'; readonly key: number; readonly n: number }
  | {
      readonly do: 'hour' | 'see' | 'change hour'
      readonly key: number
      readonly part: number
      readonly n: number
    }
  | { readonly do: 'forget hour'; readonly key: number; readonly part: number }
  | { readonly do: 'delete' | 'clear' | 'clear hours' | 'clear seen'; readonly key: number }
  | { readonly do: 'wait' | 'watermark'; readonly by: number }
type Step =
  | Command
  | {
      readonly do: 'evolve' | 'migrate' | 'migrate half' | 'reopen' | 'restore' | 'checkpoint' | 'kill'
    }

const key = fc.nat({ max: keys.length - 1 })
const part = fc.nat({ max: parts.length - 1 })
const n = fc.nat({ max: 9 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom('put' as const, 'append' as const, 'trim' as const), key, n }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('hour' as const, 'see' as const, 'change hour' as const),
      key,
      part,
      n,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('forget hour' as const), key, part }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('delete' as const, 'clear' as const, 'clear hours' as const, 'clear seen' as const),
      key,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('wait' as const, 'watermark' as const),
      by: fc.constantFrom(1, 400, 999),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'evolve' as const,
        'migrate' as const,
        'migrate half' as const,
        'reopen' as const,
        'restore' as const,
        'checkpoint' as const,
        'kill' as const,
      ),
    }),
  },
)

class Holding {
  one: number | undefined
  steps: number[] = []
  hours = new Map<string, { n: number; expiresAtMs: number }>()
  seen = new Map<string, { n: number; expiresAtMs: number }>()
}

class Model {
  holdings = keys.map(() => new Holding())
  watermarkMs = 0

  copy(): Model {
    const copy = new Model()
    copy.holdings = this.holdings.map((each) => Object.assign(new Holding(), structuredClone(each)))
    copy.watermarkMs = this.watermarkMs
    return copy
  }

  perform(each: Command, nowMs: number): void {
    if ('by' in each) {
      if (each.do === 'watermark') this.watermarkMs += each.by
      return
    }
    const holding = this.holdings[each.key] as Holding
    const name = 'part' in each ? (parts[each.part] as string) : ''
    if (each.do === 'put') holding.one = each.n
    if (each.do === 'delete') holding.one = undefined
    if (each.do === 'append') holding.steps.push(each.n)
    if (each.do === 'trim') holding.steps = each.n === 0 ? [] : holding.steps.slice(-each.n)
    if (each.do === 'hour') holding.hours.set(name, { n: each.n, expiresAtMs: nowMs + TTL_MS })
    if (each.do === 'change hour') {
      const before = holding.hours.get(name)
      const alive = before !== undefined && before.expiresAtMs > nowMs ? before.n : 0
      holding.hours.set(name, { n: alive + each.n, expiresAtMs: nowMs + TTL_MS })
    }
    if (each.do === 'see') holding.seen.set(name, { n: each.n, expiresAtMs: this.watermarkMs + TTL_MS })
    if (each.do === 'forget hour') holding.hours.delete(name)
    if (each.do === 'clear hours') holding.hours.clear()
    if (each.do === 'clear seen') holding.seen.clear()
    if (each.do === 'clear') this.holdings[each.key] = new Holding()
  }
}

function perform(store: Store, { form, number }: Version, each: Command, clock: ManualClock): unknown {
  if ('by' in each) {
    return each.do === 'wait' ? clock.advance(each.by) : store.advanceWatermark(store.watermark + each.by)
  }
  const at = keys[each.key] as string
  const name = 'part' in each ? (parts[each.part] as string) : ''
  switch (each.do) {
    case 'put':
      return store.one.put(at, form(each.n))
    case 'delete':
      return store.one.delete(at)
    case 'append':
      return store.steps.append(at, form(each.n))
    case 'trim':
      return store.steps.trim(at, each.n)
    case 'hour':
      return store.hours.put(at, name, form(each.n))
    case 'change hour':
      // A struct is given as zeros where there is none, and what is returned replaces it.
      return store.hours.update(at, name, (hour) => form((hour === undefined ? 0 : number(hour)) + each.n))
    case 'see':
      return store.seen.put(at, name, form(each.n))
    case 'forget hour':
      return store.hours.delete(at, name)
    case 'clear hours':
      return store.hours.clear(at)
    case 'clear seen':
      return store.seen.clear(at)
    case 'clear':
      return store.clear(at)
  }
}

async function items<Item>(stream: Iterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of stream) all.push(item)
  return all
}

const byBytes = (left: readonly [string, number], right: readonly [string, number]) =>
  Buffer.compare(Buffer.from(left[0]), Buffer.from(right[0]))

async function compare(store: Store, { number }: Version, model: Model, nowMs: number): Promise<void> {
  const alive = (entries: Holding['hours'], timeMs: number) =>
    [...entries]
      .filter(([, { expiresAtMs }]) => expiresAtMs > timeMs)
      .map(([name, each]) => [name, each.n] as const)
      .sort(byBytes)
  for (const [i, holding] of model.holdings.entries()) {
    const at = keys[i] as string
    const found = await store.one.get(at)
    const hours = await items(store.hours.entries(at))
    const seen = await items(store.seen.entries(at))
    expect({
      one: found === undefined ? undefined : number(found),
      steps: (await store.steps.get(at)).map(number),
      length: await store.steps.length(at),
      hours: hours.map(([name, each]) => [name, number(each)]),
      seen: seen.map(([name, each]) => [name, number(each)]),
    }).toEqual({
      one: holding.one,
      steps: holding.steps,
      length: holding.steps.length,
      hours: alive(holding.hours, nowMs),
      seen: alive(holding.seen, model.watermarkMs),
    })
  }
  const count = (of: (holding: Holding) => number) => model.holdings.reduce((sum, each) => sum + of(each), 0)
  expect(await items(store.one.entries())).toHaveLength(
    count((holding) => (holding.one === undefined ? 0 : 1)),
  )
  expect(await items(store.steps.entries())).toHaveLength(count(({ steps }) => steps.length))
  expect(await items(store.hours.all())).toHaveLength(count(({ hours }) => alive(hours, nowMs).length))
}

/** The index of version 3, once it is built, finds every entry by its number. */
async function compareIndex(store: Store, model: Model): Promise<void> {
  const [state] = store.schema.states
  if (state?.indexes?.every(({ built }) => built) !== true) return
  const found = await items(store.one.query('byN'))
  const expected = model.holdings.flatMap((holding, i) =>
    holding.one === undefined ? [] : [[holding.one, keys[i]]],
  )
  const sorted = expected.sort(([left = 0], [right = 0]) => Number(left) - Number(right))
  expect(found.map(({ derived }) => derived)).toEqual(sorted.map(([each]) => each))
  expect(new Set(found.map(({ entry: [at] }) => at))).toEqual(new Set(sorted.map(([, at]) => at)))
}

async function run(subject: StateSubject, steps: readonly Step[], clock: ManualClock): Promise<void> {
  let model = new Model()
  /** Of the newest checkpoint. */
  let saved = model
  let current = 0
  const open = async () =>
    (await StateStore.open(subject.backend, (versions[current] as Version).schema)) as unknown as Store
  let store = await open()
  await store.advanceWatermark(0)
  for (const each of steps) {
    // An engine without snapshots does not tell what is left of a time to live: what is migrated there lives anew.
    if (each.do === 'wait' && !subject.backend.supports.snapshots) continue
    const version = () => versions[current] as Version
    switch (each.do) {
      case 'evolve':
        current = Math.min(current + 1, versions.length - 1)
        store = await open()
        break
      case 'reopen':
        store = await open()
        break
      case 'restore': {
        const before = subject.backend
        if (subject.restored !== undefined) subject.backend = await subject.restored()
        if (subject.backend !== before) await before.close()
        store = await open()
        break
      }
      case 'checkpoint':
        await subject.checkpoint?.()
        saved = model.copy()
        break
      case 'kill': {
        // The program that comes next is of the newest version, whatever the one was that made the checkpoint.
        const before = subject.backend
        subject.backend = (await subject.recovered?.()) ?? before
        if (subject.backend !== before) {
          await before.close()
          model = saved.copy()
        }
        store = await open()
        break
      }
      case 'migrate':
        await store.migrate()
        break
      case 'migrate half': {
        const ending = new AbortController()
        await store.migrate({ signal: ending.signal, onProgress: () => ending.abort() }).catch(() => {})
        store = await open()
        break
      }
      default:
        model.perform(each, clock.now())
        await perform(store, version(), each, clock)
    }
    await compare(store, version(), model, clock.now())
    if (current === 2) await compareIndex(store, model)
  }
}

describe('a store whose program changes behaves as plain maps do, whatever the commands', () => {
  onEveryEngine(step, run, {
    memory: [1_000, 12],
    asynchronous: [300, 5],
    lmdb: [60, 2],
  })
})
