import { afterEach, describe, expect, expectTypeOf, it, vi } from 'vitest'
import { z } from 'zod'
import { asynchronousBackend } from '../../test/support/asynchronous-backend.js'
import { EntryBlockBuilder } from '../backend/entry-block.js'
import type { StateBackend, SyncStateBackend } from '../backend/state-backend.js'
import { isStateError, type StateErrorCode } from '../base/errors.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import {
  aggregating,
  bool,
  defineState,
  float64,
  int64,
  json,
  list,
  map,
  messagePack,
  none,
  reducing,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from '../state.js'
import { ManualClock } from '../testing/manual-clock.js'
import { ModelStateBackend } from '../testing/model-state-backend.js'

interface Request {
  readonly tokens: number
}

const schema = defineState({
  key: tuple(utf8, utf8),
  states: {
    totals: aggregating(struct({ count: uint32, tokens: int64, open: bool }), (total, request: Request) => {
      total.count++
      total.tokens += request.tokens
    }),
    calls: aggregating(uint32, (count, by: number) => count + by),
    words: aggregating(json<string[]>(), (words, word: string) => [...words, word], { default: () => [] }),
    highest: reducing(float64, Math.max),
    merged: reducing(struct({ sum: int64 }), (left, right) => ({ sum: left.sum + right.sum })),
    profile: value(json(z.object({ name: z.string() })), { default: () => ({ name: 'nobody' }) }),
    place: value(struct({ x: float64, y: float64 })),
    seen: map(utf8, none),
    hours: map(uint32, struct({ count: uint32 })),
    steps: list(messagePack<{ at: Date }>()),
    last: list(uint32, { maxLength: 3 }),
  },
})

const open: (StateBackend | undefined)[] = []
afterEach(async () => {
  for (const backend of open.splice(0)) await backend?.close()
})

const kept = <Backend extends StateBackend>(backend: Backend): Backend => {
  open.push(backend)
  return backend
}

async function code(run: () => unknown): Promise<{ code: StateErrorCode; message: string } | undefined> {
  try {
    await run()
  } catch (error) {
    if (isStateError(error)) return { code: error.code, message: error.message }
    throw error
  }
  return undefined
}

const key: [string, string] = ['gpt', 'acme']
const other: [string, string] = ['gpt', 'zeta']

/** Items of an iterator of either kind. */
async function items<Item>(stream: Iterable<Item> | AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of stream) all.push(item)
  return all
}

const backends: { readonly [name: string]: () => StateBackend } = {
  'the memory engine': () => new MemoryStateBackend(),
  'a local engine that copies': () => new ModelStateBackend(),
  'an asynchronous engine': () => asynchronousBackend().backend,
}

describe.each(Object.entries(backends))('a store over %s', (engine, makeBackend) => {
  // The asynchronous face: over a local engine, awaiting a result is harmless.
  const make = async () => {
    const backend = kept(makeBackend())
    return { backend, store: await StateStore.open(backend, schema) }
  }

  it('aggregates structs where they lie, numbers, and what has a default', async () => {
    const { store } = await make()
    expect(await store.totals.get(key)).toBeUndefined()
    await store.totals.add(key, { tokens: 3 })
    await store.totals.add(key, { tokens: 4 })
    await store.totals.add(other, { tokens: 5 })
    expect(await store.totals.get(key)).toEqual({ count: 2, tokens: 7, open: false })
    await store.calls.add(key, 4)
    await store.calls.add(key, 5)
    expect(await store.calls.get(key)).toBe(9)
    expect(await store.words.get(key)).toEqual([])
    await store.words.add(key, 'a')
    await store.words.add(key, 'b')
    expect(await store.words.get(key)).toEqual(['a', 'b'])
    await store.totals.delete(key)
    expect(await store.totals.has(key)).toBe(false)
    expect(await store.totals.has(other)).toBe(true)
  })

  it('reduces: the first value is stored as it is', async () => {
    const { store } = await make()
    await store.highest.add(key, -5)
    expect(await store.highest.get(key)).toBe(-5)
    await store.highest.add(key, -7)
    await store.highest.add(key, -2)
    expect(await store.highest.get(key)).toBe(-2)
    await store.merged.add(key, { sum: 2 })
    await store.merged.add(key, { sum: 3 })
    expect(await store.merged.get(key)).toEqual({ sum: 5 })
  })

  it('keeps values: get, put, putIfAbsent, update, delete', async () => {
    const { store } = await make()
    expect(await store.profile.get(key)).toEqual({ name: 'nobody' })
    await store.profile.update(key, ({ name }) => ({ name: `${name}!` }))
    expect(await store.profile.get(key)).toEqual({ name: 'nobody!' })
    expect(await store.profile.putIfAbsent(key, { name: 'b' })).toBe(false)
    expect(await store.profile.putIfAbsent(other, { name: 'b' })).toBe(true)
    await store.place.update(key, (place) => {
      place.x += 1.5
    })
    await store.place.update(key, (place) => ({ x: place.x + 1, y: 2 }))
    expect(await store.place.get(key)).toEqual({ x: 2.5, y: 2 })
    await store.place.delete(key)
    expect(await store.place.get(key)).toBeUndefined()
  })

  it('keeps maps in the order of map keys, read as a whole, in part, and from the end', async () => {
    const { store } = await make()
    for (const hour of [7, 300, 1, 2 ** 31, 5]) {
      await store.hours.update(key, hour, (cell) => {
        cell.count = hour % 10
      })
    }
    await store.hours.put(other, 6, { count: 6 })
    expect(await items(store.hours.keys(key))).toEqual([1, 5, 7, 300, 2 ** 31])
    expect(await items(store.hours.keys(key, { gt: 1, lte: 300, reverse: true }))).toEqual([300, 7, 5])
    expect(await items(store.hours.keys(key, { gte: 5, lt: 300, limit: 1 }))).toEqual([5])
    expect(await items(store.hours.entries(key, { gte: 300 }))).toEqual([
      [300, { count: 0 }],
      [2 ** 31, { count: 8 }],
    ])
    expect(await store.hours.size(key)).toBe(5)
    expect((await items(store.hours.all())).length).toBe(6)
    expect(await store.seen.putIfAbsent(key, 'x')).toBe(true)
    expect(await store.seen.putIfAbsent(key, 'x')).toBe(false)
    await store.hours.delete(key, 5)
    await store.hours.clear(key)
    expect(await store.hours.size(key)).toBe(0)
    expect(await store.hours.get(other, 6)).toEqual({ count: 6 })
    expect(await store.seen.has(key, 'x')).toBe(true)
  })

  it('keeps lists: append, at, length, stream, trim, maxLength', async () => {
    const { store } = await make()
    expect(await store.last.get(key)).toEqual([])
    await store.last.append(key, 1)
    await store.last.append(key, 2, 3, 4)
    expect(await store.last.get(key)).toEqual([2, 3, 4])
    await store.last.append(key, 5, 6, 7, 8, 9)
    expect(await store.last.get(key)).toEqual([7, 8, 9])
    expect([await store.last.at(key, 0), await store.last.at(key, -1), await store.last.at(key, 3)]).toEqual([
      7,
      9,
      undefined,
    ])
    expect(await store.last.length(key)).toBe(3)
    await store.steps.append(key, ...[1, 2, 3, 4].map((n) => ({ at: new Date(n) })))
    await store.steps.append(other, { at: new Date(9) })
    expect(
      (await items(store.steps.values(key, { reverse: true, limit: 2 }))).map(({ at }) => at.getTime()),
    ).toEqual([4, 3])
    await store.steps.trim(key, 2)
    expect((await store.steps.get(key)).map(({ at }) => at.getTime())).toEqual([3, 4])
    await store.steps.append(key, { at: new Date(5) })
    expect((await items(store.steps.entries())).length).toBe(4)
    await store.steps.trim(key, 0)
    expect(await store.steps.length(key)).toBe(0)
    await store.steps.clear(other)
    expect(await items(store.steps.entries())).toEqual([])
    expect(await store.last.length(key)).toBe(3)
  })

  it('clears everything under a key in one step, and nothing else', async () => {
    const { store, backend } = await make()
    for (const each of [key, other]) {
      await store.totals.add(each, { tokens: 1 })
      await store.hours.put(each, 1, { count: 1 })
      await store.last.append(each, 1, 2)
    }
    await store.clear(key)
    // The record of the schema, and what the other key has: a total, an hour, two elements and their head.
    expect(await backend.count()).toBe(6)
    expect(await store.last.get(other)).toEqual([1, 2])
  })

  it('scans a state by key groups; all groups together are all keys', async () => {
    const { store } = await make()
    for (let i = 0; i < 50; i++) await store.calls.add(['k', String(i)], i)
    const first = await items(store.calls.entries({ groups: { from: 0, until: 64 } }))
    const second = await items(store.calls.entries({ groups: { from: 64, until: 128 } }))
    expect(first.length).toBeGreaterThan(5)
    expect(second.length).toBeGreaterThan(5)
    expect([...first, ...second]).toEqual(await items(store.calls.entries()))
    expect(new Set([...first, ...second].map(([[, i]]) => i)).size).toBe(50)
    expect((await items(store.calls.entries({ limit: 7 }))).length).toBe(7)
    const { range } = store.keyGroups({ from: 64, until: 128 })
    expect((await code(() => store.keyGroups({ from: 0, until: 129 })))?.code).toBe('INVALID_ARGUMENT')
    expect([...range.gte]).toEqual([0, 64])
  })

  it('W20: an overflow names key and field, and leaves everything as it was', async () => {
    const { store } = await make()
    await store.totals.add(key, { tokens: Number.MAX_SAFE_INTEGER })
    const failed = await code(() => store.totals.add(key, { tokens: 1 }))
    expect(failed?.code).toBe('SERIALIZATION_FAILED')
    expect(failed?.message).toContain(`state 'totals', key ["gpt","acme"]`)
    expect(failed?.message).toContain('.tokens')
    expect(await store.totals.get(key)).toEqual({ count: 1, tokens: Number.MAX_SAFE_INTEGER, open: false })
    expect((await code(() => store.totals.add(other, { tokens: Number.NaN })))?.code).toBe(
      'SERIALIZATION_FAILED',
    )
    expect(await store.totals.has(other)).toBe(false)
    expect((await code(() => store.calls.add(key, -1)))?.code).toBe('SERIALIZATION_FAILED')
    expect((await code(() => store.highest.add(key, Number.NaN)))?.code).toBe('SERIALIZATION_FAILED')
  })

  it('K2 and K3: keys and values that cannot be written name state and key', async () => {
    const { store } = await make()
    expect((await code(() => store.calls.add(['\ud800', 'a'], 1)))?.message).toContain('lone surrogate')
    expect((await code(() => store.profile.put(key, undefined as never)))?.code).toBe('SERIALIZATION_FAILED')
    expect((await code(() => store.profile.put(key, null as never)))?.code).toBe('SERIALIZATION_FAILED')
    expect((await code(() => store.profile.put(null as never, { name: '' })))?.code).toBe(
      'SERIALIZATION_FAILED',
    )
    expect((await code(() => store.last.append(key, 1, undefined as never)))?.code).toBe(
      'SERIALIZATION_FAILED',
    )
    expect(await store.last.get(key)).toEqual([])
    expect((await code(() => store.seen.put(key, 'x'.repeat(2_040))))?.message).toContain('2048')
  })

  it('what a function throws is thrown on, and nothing is stored', async () => {
    const { store } = await make()
    await store.place.put(key, { x: 1, y: 1 })
    const fails = async () =>
      store.place.update(key, (place) => {
        place.x = 9
        throw new RangeError('mine')
      })
    await expect(fails()).rejects.toThrow(RangeError)
    expect(await store.place.get(key)).toEqual({ x: 1, y: 1 })
  })

  it('a change within a change of the same state is refused, of another state it is not', async () => {
    const { store } = await make()
    // Over an asynchronous engine the inner call is one of its own, after the outer one.
    if (engine === 'an asynchronous engine') return
    const nested = () =>
      store.calls.add(key, 1) ??
      store.place.update(key, (place) => {
        void store.place.get(other)
        void store.hours.put(other, 1, { count: 1 })
        place.x = 2
      })
    await store.place.put(other, { x: 5, y: 5 })
    await nested()
    expect(await store.place.get(key)).toEqual({ x: 2, y: 0 })
    expect(await store.place.get(other)).toEqual({ x: 5, y: 5 })
    for (const write of [
      () => store.place.update(other, () => {}),
      () => store.place.put(other, { x: 1, y: 1 }),
    ]) {
      const failed = await code(() =>
        store.place.update(key, () => {
          void write()
        }),
      )
      expect(failed?.code).toBe('TRANSACTION_FAILED')
    }
    expect(await store.place.get(key)).toEqual({ x: 2, y: 0 })
  })

  it('a change is of its own key, whatever its function reads and writes beside it', async () => {
    // Over an asynchronous engine the inner calls are calls of their own, after the outer one.
    if (engine === 'an asynchronous engine') return
    const beside: { readonly [name: string]: (made: Awaited<ReturnType<typeof make>>) => unknown } = {
      nothing: () => {},
      'a read of the same key': ({ store }) => store.place.get(key),
      'a read of another key': ({ store }) => store.place.get(other),
      'a look at another key': ({ store }) =>
        (store.place as { view?(of: typeof key): unknown }).view?.(other),
      'a read of another state': ({ store }) => store.merged.get(other),
      'a write of another state': ({ store }) => store.highest.add(key, 1),
      'a walk through the state': ({ store }) =>
        Array.from(store.place.entries() as unknown as Iterable<unknown>),
      'a count of all that is there': ({ backend }) => (backend as SyncStateBackend).count(),
      'an engine that loses everything': ({ backend }) => backend.clear(),
      'a snapshot': ({ backend }) => (backend as MemoryStateBackend).snapshotSync().closeSync(),
    }
    for (const [name, step] of Object.entries(beside)) {
      const made = await make()
      const { store } = made
      for (const each of [key, other]) await store.place.put(each, { x: 1, y: 1 })
      // Twice, as the first one may find what the puts have left.
      for (const x of [2, 3]) {
        await store.place.update(key, (place) => {
          void step(made)
          place.x = x
        })
        expect(await store.place.get(key), name).toEqual({ x, y: 1 })
        if (!name.includes('loses')) expect(await store.place.get(other), name).toEqual({ x: 1, y: 1 })
      }
    }
  })

  it('hostile stored bytes are DESERIALIZATION_FAILED with state and key, never a wrong value', async () => {
    const { store, backend } = await make()
    await store.totals.add(key, { tokens: 1 })
    await store.calls.add(key, 1)
    await store.profile.put(key, { name: 'a' })
    await store.last.append(key, 1)
    await store.steps.append(key, { at: new Date(0) })
    const reads: (() => unknown)[] = [
      () => store.totals.get(key),
      () => store.calls.get(key),
      () => store.profile.get(key),
      () => store.last.get(key),
      () => store.last.append(key, 1),
      () => store.totals.add(key, { tokens: 1 }),
      () => items(store.steps.entries()),
    ]
    for (const read of reads) expect(await code(read)).toBeUndefined()
    for await (const [stored, bytes] of backend.scan({ lt: Uint8Array.of(0xff) })) {
      await backend.put(stored, Uint8Array.of(...bytes, 0xee))
    }
    for (const read of reads) {
      const failed = await code(read)
      expect(failed?.code, String(read)).toBe('DESERIALIZATION_FAILED')
      expect(failed?.message).toMatch(/state '\w+', key \["gpt","acme"\]/)
    }
  })
})

describe('a change over the memory engine', () => {
  it('looks an entry up once: what is there is written back where it was seen', async () => {
    const backend = kept(new MemoryStateBackend())
    const store = await StateStore.open(backend, schema)
    for (const each of [key, other]) store.totals.add(each, { tokens: 1 })
    const updates = vi.spyOn(backend, 'updateSync')
    const { gets, puts } = backend.stats()
    for (let i = 0; i < 100; i++) store.totals.add(i % 2 === 0 ? key : other, { tokens: 1 })
    expect(updates).not.toHaveBeenCalled()
    expect(backend.stats()).toMatchObject({ gets: gets + 100, puts: puts + 100 })
    expect(store.totals.get(key)).toMatchObject({ count: 51, tokens: 51 })
  })
})

describe('batches over a local engine', () => {
  const make = async (backend: SyncStateBackend = new MemoryStateBackend()) => {
    kept(backend)
    return { backend, store: await StateStore.open(backend, schema) }
  }

  it('are seen inside at once, outside when they are done', async () => {
    const { store, backend } = await make()
    store.last.append(key, 1, 2)
    const outside = kept(backend)
    const before = outside.stats().puts
    const result = store.batch(() => {
      store.calls.add(key, 2)
      store.calls.add(key, 3)
      store.hours.put(key, 1, { count: 1 })
      store.hours.put(key, 2, { count: 1 })
      store.hours.delete(key, 1)
      store.last.append(key, 3, 4)
      expect(store.calls.get(key)).toBe(5)
      expect([...store.hours.keys(key)]).toEqual([2])
      expect(store.last.get(key)).toEqual([2, 3, 4])
      store.last.clear(key)
      expect(store.last.get(key)).toEqual([])
      store.last.append(key, 9)
      expect(outside.stats().puts).toBe(before)
      return 'done'
    })
    expect(result).toBe('done')
    expect(store.calls.get(key)).toBe(5)
    expect(store.last.get(key)).toEqual([9])
    expect([...store.last.entries()]).toEqual([[key, 9]])
    expect([...store.hours.keys(key)]).toEqual([2])
  })

  it('leave nothing when they throw, and the store goes on', async () => {
    const { store, backend } = await make()
    store.calls.add(key, 1)
    const puts = backend.stats().puts
    const fails = () =>
      store.batch(() => {
        store.calls.add(key, 1)
        store.seen.put(key, 'x')
        store.batch(() => store.calls.add(other, 1))
        throw new Error('no')
      })
    expect(fails).toThrow('no')
    expect(backend.stats().puts).toBe(puts)
    expect(store.calls.get(key)).toBe(1)
    expect(store.calls.has(other)).toBe(false)
  })

  it('must be done when their function returns', async () => {
    const { store } = await make()
    const failed = await code(() => store.batch(async () => store.calls.add(key, 1)))
    expect(failed?.code).toBe('TRANSACTION_FAILED')
    expect(store.calls.has(key)).toBe(false)
  })
})

describe('batches over an asynchronous engine', () => {
  const make = async () => {
    const { backend, memory, calls } = asynchronousBackend()
    kept(memory)
    return { memory, calls, store: await StateStore.open(backend, schema) }
  }

  it('are one write; other writes wait, and calls outside do not see inside', async () => {
    const { store, calls } = await make()
    const writes = calls.get('write') ?? 0
    let inside: number | undefined
    const batch = store.batch(async () => {
      await store.calls.add(key, 2)
      await store.seen.put(key, 'x')
      await store.calls.add(key, 3)
      inside = await store.calls.get(key)
    })
    const meanwhile = store.calls.add(key, 10)
    await batch
    expect(inside).toBe(5)
    expect(calls.get('write')).toBe(writes + 1)
    await meanwhile
    expect(await store.calls.get(key)).toBe(15)
  })

  it('leave nothing when they throw', async () => {
    const { store } = await make()
    const failing = store.batch(async () => {
      await store.calls.add(key, 2)
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await store.calls.has(key)).toBe(false)
    await store.batch(() => store.calls.add(key, 1))
    expect(await store.calls.get(key)).toBe(1)
  })

  it('refuse a call that was not awaited in time', async () => {
    const { store } = await make()
    let late: Promise<unknown> = Promise.resolve()
    await store.batch(() => {
      late = Promise.resolve().then(async () => {
        for (let i = 0; i < 20; i++) await Promise.resolve()
        return store.calls.add(key, 1)
      })
    })
    await expect(late).rejects.toMatchObject({ code: 'TRANSACTION_FAILED' })
  })

  it('loses no addition of calls that are not awaited one by one', async () => {
    const { store } = await make()
    await Promise.all(Array.from({ length: 50 }, (_, i) => store.calls.add(i % 2 === 0 ? key : other, 1)))
    await Promise.all(Array.from({ length: 20 }, () => store.batch(() => store.calls.add(key, 1))))
    expect(await store.calls.get(key)).toBe(45)
    expect(await store.calls.get(other)).toBe(25)
    await Promise.all(Array.from({ length: 20 }, (_, i) => store.steps.append(key, { at: new Date(i) })))
    expect((await store.steps.get(key)).length).toBe(20)
  })

  it('takes a key as it is at the call', async () => {
    const { store } = await make()
    const changing: [string, string] = ['a', 'a']
    const added = store.calls.add(changing, 1)
    changing[0] = 'b'
    await added
    expect(await store.calls.get(['a', 'a'])).toBe(1)
  })
})

describe('time to live', () => {
  const clock = new ManualClock(1_000_000)
  const expiring = defineState({
    key: utf8,
    states: {
      write: value(uint32, { ttl: { afterMs: 1_000 } }),
      read: value(struct({ n: uint32 }), { ttl: { afterMs: 1_000, refresh: 'readWrite' } }),
      seen: map(utf8, none, { ttl: { afterMs: 1_000 } }),
      steps: list(uint32, { ttl: { afterMs: 1_000 } }),
      kept: value(uint32),
    },
  })
  const make = async (backend: SyncStateBackend) => ({
    backend: kept(backend),
    store: await StateStore.open(backend, expiring),
  })

  it('L1: an expired value is not seen, by any read', async () => {
    const { store } = await make(new MemoryStateBackend({ clock, sweepIntervalMs: Infinity, ttlMs: 10 }))
    store.write.put('a', 1)
    store.kept.put('a', 1)
    store.seen.put('a', 'x')
    clock.advance(999)
    expect(store.write.get('a')).toBe(1)
    clock.advance(1)
    expect([
      store.write.get('a'),
      store.write.has('a'),
      [...store.write.entries()],
      store.seen.has('a', 'x'),
    ]).toEqual([undefined, false, [], false])
    // Neither does the backend's own time to live hold for what has none, nor for the record of the schema.
    expect(store.kept.get('a')).toBe(1)
  })

  it('L2: what is refreshed by reading, by writing only, and element by element', async () => {
    const { store } = await make(new MemoryStateBackend({ clock, sweepIntervalMs: Infinity }))
    store.write.put('a', 1)
    store.read.put('a', { n: 1 })
    store.seen.put('a', 'x')
    store.steps.append('a', 1)
    clock.advance(600)
    expect([store.write.get('a'), store.read.get('a')]).toEqual([1, { n: 1 }])
    store.seen.put('a', 'y')
    store.steps.append('a', 2)
    clock.advance(600)
    expect([store.write.get('a'), store.read.view('a')?.n]).toEqual([undefined, 1])
    expect([...store.seen.keys('a')]).toEqual(['y'])
    expect(store.steps.get('a')).toEqual([2])
    expect(store.steps.length('a')).toBe(1)
    clock.advance(999)
    expect(store.read.get('a')).toEqual({ n: 1 })
    expect(store.steps.get('a')).toEqual([])
    store.steps.append('a', 3)
    expect(store.steps.get('a')).toEqual([3])
  })

  it('L2: of a map, reading a value by its key sets its time anew, and a look over all of it does not', async () => {
    const read = map(utf8, uint32, { ttl: { afterMs: 1_000, refresh: 'readWrite' } })
    const backend = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
    const store = await StateStore.open(kept(backend), defineState({ key: utf8, states: { read } }))
    for (const name of ['x', 'y']) store.read.put('a', name, 1)
    clock.advance(600)
    expect([...store.read.entries('a')]).toHaveLength(2)
    store.read.get('a', 'x')
    clock.advance(600)
    expect([...store.read.keys('a')]).toEqual(['x'])
  })

  it.each(['processing', 'event'] as const)(
    'L2: of a list, at sets the time of its element anew, get that of all, and values none, in %s time',
    async (time) => {
      for (const makeBackend of [
        () => new MemoryStateBackend({ clock, sweepIntervalMs: Infinity }),
        () => asynchronousBackend({ clock }).backend,
      ]) {
        const steps = list(utf8, { ttl: { afterMs: 1_000, refresh: 'readWrite', time } })
        const backend = kept(makeBackend())
        const store = await StateStore.open(backend, defineState({ key: utf8, states: { steps } }))
        let atMs = 5_000
        store.at(atMs)
        const pass = async (ms: number) => {
          clock.advance(ms)
          atMs += ms
          await store.advanceWatermark(atMs)
          store.at(atMs)
        }
        const values = async () => {
          const found: string[] = []
          for await (const step of store.steps.values('a')) found.push(step)
          return found
        }
        await store.steps.append('a', 'first', 'second', 'third')
        await store.steps.append('b', 'other')
        await pass(600)
        expect(await values()).toEqual(['first', 'second', 'third'])
        expect(await store.steps.at('a', 1)).toBe('second')
        expect(await store.steps.at('a', -4)).toBeUndefined()
        await pass(600)
        expect(await values()).toEqual(['second'])
        expect(await store.steps.get('b')).toEqual([])
        await store.steps.append('a', 'fourth')
        await pass(300)
        expect(await store.steps.get('a')).toEqual(['second', 'fourth'])
        await pass(999)
        expect(await values()).toEqual(['second', 'fourth'])
        expect(await store.steps.length('a')).toBe(2)
        await pass(1)
        expect(await store.steps.get('a')).toEqual([])
        await store.steps.append('a', 'fifth')
        expect(await store.steps.get('a')).toEqual(['fifth'])
      }
    },
  )

  it('L5: a policy that changes holds for what is written from then on', async () => {
    const backend = kept(new MemoryStateBackend({ clock, sweepIntervalMs: Infinity }))
    const lasting = await StateStore.open(backend, defineState({ key: utf8, states: { n: value(uint32) } }))
    lasting.n.put('a', 1)
    const short = await StateStore.open(
      backend,
      defineState({ key: utf8, states: { n: value(uint32, { ttl: { afterMs: 50 } }) } }),
    )
    short.n.put('b', 2)
    clock.advance(50)
    expect([...short.n.entries()]).toEqual([['a', 1]])
  })

  it('L6: what is held stays within a constant factor of what is alive, heads of lists too', async () => {
    const backend = new MemoryStateBackend({ clock, sweepIntervalMs: 100 })
    const { store } = await make(backend)
    const perMs = process.env['HOLDFAST_LONG'] === '1' ? 10 : 3
    for (let i = 0; i < 2_000 * perMs; i++) {
      store.steps.append(`user-${i}`, i)
      if (i % perMs === 0) clock.advance(1)
    }
    // The lists of 1,000 ms are alive, an element and a head each.
    expect(await backend.count()).toBeLessThan(2_500 * perMs)
    clock.advance(2_000)
    expect(await backend.count()).toBe(1)
  })
})

describe('types', () => {
  it('follow from the schema and the backend', async () => {
    const local = await StateStore.open(kept(new MemoryStateBackend()), schema)
    const remote = await StateStore.open(kept(asynchronousBackend().backend), schema)
    expectTypeOf(local.totals.get(key)).toEqualTypeOf<
      { count: number; tokens: number; open: boolean } | undefined
    >()
    expectTypeOf(remote.totals.get(key)).toEqualTypeOf<
      Promise<{ count: number; tokens: number; open: boolean } | undefined>
    >()
    expectTypeOf(local.profile.get(key)).toEqualTypeOf<{ name: string }>()
    expectTypeOf(local.words.get(key)).toEqualTypeOf<string[]>()
    expectTypeOf(local.seen.put).parameters.toEqualTypeOf<
      [key: Parameters<typeof local.seen.put>[0], mapKey: string, value?: undefined]
    >()
    expectTypeOf(local.steps.values(key)).toEqualTypeOf<IterableIterator<{ at: Date }>>()
    expectTypeOf(remote.steps.values(key)).toEqualTypeOf<AsyncIterableIterator<{ at: Date }>>()
    expectTypeOf(remote.batch(async () => 1)).toEqualTypeOf<Promise<number>>()
    expectTypeOf(local.place.view(key)).toEqualTypeOf<Readonly<{ x: number; y: number }> | undefined>()
    // A wrong name does not compile, nor does a wrong key or value.
    expectTypeOf(local).not.toHaveProperty('total')
    expectTypeOf(local.totals.add).parameter(1).toEqualTypeOf<Request>()
    expectTypeOf(local.totals.add)
      .parameter(0)
      .extract<readonly unknown[]>()
      .toEqualTypeOf<[string, string]>()
  })
})

describe('a definition that is wrong', () => {
  it('is INVALID_ARGUMENT with everything that is wrong', async () => {
    const wrong = (make: () => unknown) => code(make).then((failed) => failed?.code)
    expect(await wrong(() => defineState({ key: utf8, states: { batch: value(uint32) } as never }))).toBe(
      'INVALID_ARGUMENT',
    )
    expect(await wrong(() => defineState({ key: json() as never, states: {} }))).toBe('INVALID_ARGUMENT')
    expect(await wrong(() => defineState({ key: utf8, states: {}, keyGroups: 40_000 }))).toBe(
      'INVALID_ARGUMENT',
    )
    expect(await wrong(() => defineState({ key: utf8, states: { a: value(uint32) }, drop: ['a'] }))).toBe(
      'INVALID_ARGUMENT',
    )
    expect(await wrong(() => value(uint32, { ttl: { afterMs: -1 } }))).toBe('INVALID_ARGUMENT')
    expect(await wrong(() => value(uint32, { ttl: {} as never }))).toBe('INVALID_ARGUMENT')
    expect(await wrong(() => value(uint32, { tl: 1 } as never))).toBe('INVALID_ARGUMENT')
    expect(await wrong(() => list(uint32, { maxLength: 0 }))).toBe('INVALID_ARGUMENT')
    expect(await wrong(() => aggregating(utf8, (a: string, _added: string) => a, {} as never))).toBe(
      'INVALID_ARGUMENT',
    )
    expect(await wrong(() => map(json() as never, none))).toBe('INVALID_ARGUMENT')
  })
})

describe('key groups', () => {
  it('move half of a store to another backend, and what is moved opens there', async () => {
    const source = kept(new MemoryStateBackend())
    const store = await StateStore.open(source, schema)
    for (let i = 0; i < 200; i++) {
      store.calls.add(['k', String(i)], i)
      store.last.append(['k', String(i)], i)
    }
    const target = kept(new MemoryStateBackend())
    const moved = await StateStore.open(target, schema)
    const { range } = store.keyGroups({ from: 64, until: 128 })
    const builder = new EntryBlockBuilder(1_024)
    for (const [stored, bytes] of source.scanSync(range)) {
      builder.add(stored, bytes, Infinity)
    }
    const block = builder.take()
    async function* blocks() {
      yield block
    }
    await target.replaceAll(blocks(), { range })
    await source.deleteRange(range)
    const left = [...store.calls.entries()]
    const arrived = [...moved.calls.entries()]
    expect(left.length).toBeGreaterThan(50)
    expect(arrived.length).toBe(200 - left.length)
    expect(arrived.every(([[, i]]) => moved.last.at(['k', i], 0) === Number(i))).toBe(true)
    expect([...moved.calls.entries({ groups: { from: 0, until: 64 } })]).toEqual([])
  })
})
