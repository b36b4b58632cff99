import { beforeEach, expect, it, vi } from 'vitest'
import { LocalBackend } from '../backend/facade/local-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import type { ByteWriter } from '../state/codec/bytes.js'
import { float64, int32, uint32 } from '../state/codec/numbers.js'
import { map, value as oneValue } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { combined, count, max, sum } from '../window/aggregate/ready-made.js'
import { hopping, tumbling, type WindowAssigner } from '../window/assign/assigner.js'
import { type SessionWindows, session } from '../window/assign/by-key.js'
import { KeyTable } from '../window/operator/key-table.js'
import { boundedDisorder } from '../window/time/watermark-strategy.js'
import { windowed } from '../window/windowed.js'
import type { BadEvent } from './job-options.js'
import { KeysAhead } from './keys-ahead.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { arraySource } from './source/iterable-source.js'

const polled = <Event>(events: readonly Event[], failures?: ReadonlyMap<number, Error>) => ({
  partition: '0',
  events,
  positionAfter: (place: number) => place + 1,
  ...(failures !== undefined && { failures }),
})

it('takes each key once, and throws what it has thrown when its turn comes', () => {
  let calls = 0
  const told: unknown[][] = []
  const keyOf = (event: string) => {
    calls++
    if (event === 'none') throw new Error('no key')
    return event
  }
  const ahead = new KeysAhead(keyOf, 4, (keys, some) => void told.push(keys.slice(0, some)))
  const events = polled(['a', 'b', 'none', 'c', 'd'])
  expect(ahead.look(events, 0, 5)).toBe(3)
  expect([ahead.keyAt(0), ahead.keyAt(1)]).toEqual(['a', 'b'])
  expect(() => ahead.keyAt(2)).toThrow('no key')
  expect(ahead.look(events, 3, 5)).toBe(5)
  expect([ahead.keyAt(3), ahead.keyAt(4)]).toEqual(['c', 'd'])
  expect(calls).toBe(5)
  expect(told).toEqual([
    ['a', 'b'],
    ['c', 'd'],
  ])
})

it('tells strings and numbers only, goes no further than it may, and not over an event that could not be decoded', () => {
  const told: unknown[][] = []
  const ahead = new KeysAhead(
    (event: unknown) => event,
    4,
    (keys, some) => void told.push(keys.slice(0, some)),
  )
  const key = ['x']
  expect(ahead.look(polled([1, 2, key, 3]), 0, 4)).toBe(3)
  expect(ahead.keyAt(2)).toBe(key)
  expect(ahead.look(polled([1, 2, 3, 4, 5, 6]), 1, 6)).toBe(5)
  expect(ahead.look(polled([1, 2, 3, 4]), 0, 2)).toBe(2)
  expect(ahead.look(polled([1, 2, 3, 4], new Map([[2, new Error('bytes')]])), 0, 4)).toBe(2)
  expect(told).toEqual([
    [1, 2],
    [2, 3, 4, 5],
    [1, 2],
    [1, 2],
  ])
})

// Whatever has few keys is looked up without being told in advance.
beforeEach(() => {
  const spies = [
    vi.spyOn(KeyTable.prototype, 'isFar', 'get').mockReturnValue(true),
    vi.spyOn(LocalBackend.prototype, 'isFar', 'get').mockReturnValue(true),
  ]
  return () => {
    for (const spy of spies) spy.mockRestore()
  }
})

interface Reading {
  readonly key: number
  readonly at: number
  readonly amount: number
}

const KEYS = 600
const EVENTS = 2_000

/** Each key once, then any, in disorder. Some have no key, some no number, some a key that is none. */
function readings(): Reading[] {
  let seed = 7
  const draw = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff
    return (seed >>> 8) % below
  }
  return Array.from({ length: EVENTS }, (_, i) => {
    const kind = draw(100)
    const key = kind === 1 ? 2 ** 40 : i < KEYS ? i - KEYS / 2 : draw(KEYS) - KEYS / 2
    return { key, at: i * 2 - draw(100), amount: kind === 2 ? Number.NaN : kind === 3 ? -1 : draw(1_000) }
  })
}

async function resultsOf<Key>(
  windows: WindowAssigner | SessionWindows,
  keys: { readonly codec: never; readonly of: (key: number) => Key },
): Promise<{ readonly results: Map<string, string>; readonly asked: number; readonly bad: number }> {
  const results = new Map<string, string>()
  let asked = 0
  const aggregate = combined({
    count: count(),
    sum: sum(({ amount }: Reading) => amount),
    max: max(({ amount }: Reading) => amount),
  })
  await using backend = new MemoryStateBackend()
  const job = await runJob({
    name: 'many keys',
    source: arraySource<Reading>(readings()),
    key: (event: Reading) => {
      asked++
      if (event.amount === -1) throw new Error('it has no key')
      return keys.of(event.key) as never
    },
    timestamp: ({ at }: Reading) => at,
    time: { watermarks: boundedDisorder(100), maxAheadMs: Infinity },
    schema: defineState({ key: keys.codec, states: {} }) as never,
    windows: { w: windowed({ windows, aggregate }) } as never,
    onBadEvent: 'skip',
    sink: functionSink({
      write: (outputs) => {
        for (const { output } of outputs) {
          const { key, window, value } = output as {
            readonly key: Key
            readonly window: { readonly startMs: number; readonly endMs: number }
            readonly value: object
          }
          results.set(`${Number(key)} ${window.startMs} ${window.endMs}`, JSON.stringify(value))
        }
      },
    }),
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 },
  })
  const { badEvents } = await job.finished
  return { results, asked, bad: badEvents }
}

/** The same by hand, over all events in the order of their time. */
function byHand(windows: 'tumbling' | 'hopping' | 'session'): Map<string, string> {
  const results = new Map<string, { count: number; sum: number; max: number }>()
  const add = (name: string, { amount }: Reading) => {
    const before = results.get(name) ?? { count: 0, sum: 0, max: amount }
    const { count: some, sum: total, max: most } = before
    results.set(name, { count: some + 1, sum: total + amount, max: Math.max(most, amount) })
  }
  const good = readings().filter(
    ({ key, amount }) => key !== 2 ** 40 && amount !== -1 && !Number.isNaN(amount),
  )
  const byKey = new Map<number, Reading[]>()
  for (const each of good.sort((left, right) => left.at - right.at)) {
    const events = byKey.get(each.key)
    if (events === undefined) byKey.set(each.key, [each])
    else events.push(each)
  }
  for (const [key, events] of byKey) {
    for (let i = 0; i < events.length; ) {
      let end = i + 1
      if (windows === 'session') {
        while (end < events.length && (events[end]?.at ?? 0) - (events[end - 1]?.at ?? 0) <= 300) end++
        const name = `${key} ${events[i]?.at} ${(events[end - 1]?.at ?? 0) + 300}`
        for (const event of events.slice(i, end)) add(name, event)
      } else {
        const event = events[i] as Reading
        const slide = windows === 'tumbling' ? 1_000 : 500
        const last = Math.floor(event.at / slide) * slide
        for (let start = last; start > event.at - 1_000; start -= slide)
          add(`${key} ${start} ${start + 1_000}`, event)
      }
      i = end
    }
  }
  return new Map(Array.from(results, ([name, value]) => [name, JSON.stringify(value)]))
}

const codecs = {
  numbers: { codec: int32 as never, of: (key: number): unknown => key },
  // What is no key of the other codecs is none here either.
  strings: {
    codec: utf8 as never,
    of: (key: number): unknown => (key === 2 ** 40 ? '\ud800' : `${key}`),
  },
}
const kinds = {
  tumbling: tumbling({ sizeMs: 1_000 }),
  hopping: hopping({ sizeMs: 1_000, slideMs: 500 }),
  session: session({ gapMs: 300 }),
}

for (const [kind, windows] of Object.entries(kinds)) {
  for (const [name, keys] of Object.entries(codecs)) {
    if ((name === 'strings') !== (kind === 'hopping')) continue
    it(`J7, W20: keys that are ${name} come to the same in ${kind} windows as by hand, bad events among them`, async () => {
      const { results, asked, bad } = await resultsOf(windows, keys)
      const expected = byHand(kind as keyof typeof kinds)
      expect(results.size).toBe(expected.size)
      expect(Array.from(expected).filter(([window, value]) => results.get(window) !== value)).toEqual([])
      expect(bad).toBe(
        readings().filter(({ key, amount }) => key === 2 ** 40 || amount === -1 || Number.isNaN(amount))
          .length,
      )
      // A slice that goes on behind a bad event asks the events behind it again.
      expect(asked).toBeGreaterThanOrEqual(EVENTS)
    })
  }
}

it('K1: both zeros are one key, whatever was found for it before', async () => {
  const { results } = await resultsOf(kinds.tumbling, {
    codec: float64 as never,
    of: (key: number): unknown => (key % 2 === 0 ? -0 : 0),
  })
  const ends = new Set(Array.from(results.keys(), (name) => name.split(' ').at(-1)))
  expect(results.size).toBe(ends.size)
})

it('J7: an engine is told which states the next events are of, and each event finds what those before it have left', async () => {
  const counts = { n: oneValue(float64), twice: oneValue(float64), all: map(uint32, float64) }
  const all = 1_000
  const events = Array.from({ length: all + 2_000 }, (_, i) => (i < all ? i : (i * 7919) % 500))
  await using backend = new MemoryStateBackend()
  let told = 0
  const { bringNear } = backend
  backend.bringNear = (keys, ends, some) => {
    told += some
    bringNear.call(backend, keys, ends, some)
  }
  const outputs: (readonly number[])[] = []
  const job = await runJob({
    name: 'counts',
    source: arraySource(events),
    key: (event: number) => {
      if (event === 77) throw new Error('it has no key')
      return event
    },
    schema: defineState({ key: uint32, states: counts }),
    process: (event: number, { state, emit }: CountContext) => {
      state.n.put((state.n.get() ?? 0) + 1)
      state.twice.put((state.twice.get() ?? 0) + 2)
      if (event < 500) emit([event, state.n.get() ?? 0, state.twice.get() ?? 0])
    },
    onBadEvent: 'skip',
    sink: functionSink({
      write: (written: readonly { readonly output: readonly number[] }[]) => {
        for (const { output } of written) outputs.push(output)
      },
    }),
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 },
  } as never)
  await job.finished
  const seen = new Map<number, number>()
  const expected: (readonly number[])[] = []
  for (const event of events) {
    if (event === 77 || event >= 500) continue
    const n = (seen.get(event) ?? 0) + 1
    seen.set(event, n)
    expected.push([event, n, n * 2])
  }
  expect(outputs).toEqual(expected)
  // Two states of an event have one entry for its key each.
  expect(told).toBeGreaterThan(4_000)
})

it('J7: a key that an engine is told of is encoded once for all, and stands for its event wherever another slice begins', async () => {
  let written = 0
  const codec = {
    ...utf8,
    writeKey: (key: string, to: ByteWriter) => {
      written++
      utf8.writeKey(key, to)
    },
  }
  const events = Array.from({ length: 3_000 }, (_, i) => `user ${(i * 7_919) % 1_009}`)
  await using backend = new MemoryStateBackend()
  const outputs = new Map<string, number>()
  const job = await runJob({
    name: 'counts',
    source: arraySource(events),
    key: (event: string) => event,
    schema: defineState({ key: codec, states: { n: oneValue(float64) } }),
    process: (event: string, { state, emit }: CountContext) => {
      state.n.put((state.n.get() ?? 0) + 1)
      emit([event, state.n.get() ?? 0] as never)
    },
    sink: functionSink({
      write: (all: readonly { readonly output: readonly [string, number] }[]) => {
        for (const { output } of all) outputs.set(output[0], output[1])
      },
    }),
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 },
  } as never)
  await job.finished
  const expected = new Map<string, number>()
  for (const event of events) expected.set(event, (expected.get(event) ?? 0) + 1)
  expect(outputs).toEqual(expected)
  // The last one of a poll stands alone, and a slice that is over tells those behind it anew.
  expect(written).toBeGreaterThanOrEqual(events.length)
  expect(written).toBeLessThan(events.length * 1.5)
})

it('J7: an engine is told of the states that events ask for, and of the others now and then', async () => {
  const names = ['always', 'often', 'seldom', 'never']
  const states = Object.fromEntries(names.map((name) => [name, oneValue(uint32)]))
  await using backend = new MemoryStateBackend()
  let isLate = false
  const calls = { early: 0, late: 0 }
  const told = { early: new Map<number, number>(), late: new Map<number, number>() }
  const { bringNear } = backend
  backend.bringNear = (keys, ends, some) => {
    const half = isLate ? 'late' : 'early'
    calls[half]++
    const idOf = (place: number) => keys[place === 0 ? 3 : (ends[place - 1] as number) + 3] as number
    for (const id of new Set(Array.from({ length: some }, (_, place) => idOf(place)))) {
      told[half].set(id, (told[half].get(id) ?? 0) + 1)
    }
    bringNear.call(backend, keys, ends, some)
  }
  const counts = new Map<string, number>()
  const wrong: string[] = []
  const job = await runJob({
    name: 'states',
    source: arraySource(Array.from({ length: 20_000 }, (_, i) => i)),
    key: (event: number) => event % 1_000,
    schema: defineState({ key: uint32, states }),
    process: (event: number, { state }: { readonly state: { readonly [name: string]: Counted } }) => {
      isLate = event >= 10_000
      for (const name of ['always', 'often', 'seldom']) {
        if (name === 'often' && event % 3 === 0) continue
        if (name === 'seldom' && !isLate && event % 9 > 0) continue
        const of = `${name} ${event % 1_000}`
        const found = state[name]?.get()
        if (found !== counts.get(of)) wrong.push(of)
        state[name]?.put((found ?? 0) + 1)
        counts.set(of, (found ?? 0) + 1)
      }
    },
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 },
  } as never)
  await job.finished
  expect(wrong).toEqual([])
  const ids = Array.from(told.early.keys()).sort()
  const [always, often, seldom, never] = ids.map((id) =>
    (['early', 'late'] as const).map((half) => (told[half].get(id) ?? 0) / calls[half]),
  )
  for (const shares of [always, often]) expect(Math.min(...(shares ?? []))).toBeGreaterThan(0.9)
  expect(never).toEqual([expect.closeTo(1 / 64, 1), expect.closeTo(1 / 64, 1)])
  expect(seldom).toEqual([expect.closeTo(1 / 64, 1), expect.closeTo(0.9, 0)])
})

it('J7: the key at hand stays that of the last event, with its state, while the next ones are told and the first of them is bad', async () => {
  const events = Array.from({ length: 900 }, (_, i) => ({ key: i % 300, at: i % 50 === 49 ? Number.NaN : i }))
  await using backend = new MemoryStateBackend()
  let atHand: CountContext['state'] | undefined
  const seen: (number | undefined)[] = []
  const job = await runJob({
    name: 'counts',
    source: arraySource(events),
    key: ({ key }: { readonly key: number }) => key,
    timestamp: ({ at }: { readonly at: number }) => at,
    time: { watermarks: boundedDisorder(0) },
    schema: defineState({ key: uint32, states: { n: oneValue(float64), twice: oneValue(float64) } }),
    process: ({ key }: { readonly key: number }, { state }: CountContext) => {
      atHand = state
      state.n.put(key)
    },
    onBadEvent: () => seen.push(atHand?.n.get()),
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 },
  } as never)
  await job.finished
  expect(seen).toEqual(Array.from({ length: 18 }, (_, i) => (i * 50 + 48) % 300))
})

it('J7: a key that is too long to be stored is a fault of its event, told in advance or not', async () => {
  const tooLong = [40, 300, 301]
  const events = Array.from({ length: 600 }, (_, i) =>
    tooLong.includes(i) ? 'k'.repeat(2_044) : `${i % 50}`,
  )
  events[100] = 'k'.repeat(2_043)
  await using backend = new MemoryStateBackend()
  const bad: unknown[] = []
  const job = await runJob({
    name: 'counts',
    source: arraySource(events),
    key: (event: string) => event,
    schema: defineState({ key: utf8, states: { n: oneValue(float64), twice: oneValue(float64) } }),
    process: (_: string, { state }: CountContext) => {
      if (state.n.get() === undefined) state.twice.put(2)
      state.n.put(1)
    },
    onBadEvent: ({ reason, error, position }: BadEvent<string>) => {
      bad.push([reason, (error as { readonly code?: string }).code, position])
    },
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 },
  } as never)
  await job.finished
  expect(bad).toEqual(tooLong.map((i) => ['badValue', 'SERIALIZATION_FAILED', i + 1]))
})

it('J7: so it is where the first that an event does is to clear its key', async () => {
  const bad: unknown[] = []
  await using backend = new MemoryStateBackend()
  const job = await runJob({
    name: 'cleared',
    source: arraySource(['a', 'k'.repeat(5_000), 'b']),
    key: (event: string) => event,
    schema: defineState({ key: utf8, states: { n: oneValue(float64) } }),
    process: (_: string, { store, key }: { store: { clear(key: string): void }; key: string }) =>
      store.clear(key),
    onBadEvent: ({ reason, error }: BadEvent<string>) => {
      bad.push([reason, (error as { readonly code?: string }).code])
    },
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 },
  } as never)
  await job.finished
  expect(bad).toEqual([['badValue', 'SERIALIZATION_FAILED']])
})

interface Counted {
  get(): number | undefined
  put(value: number): void
}

interface CountContext {
  readonly state: {
    readonly n: Counted
    readonly twice: Counted
  }
  readonly emit: (output: readonly number[]) => void
}
