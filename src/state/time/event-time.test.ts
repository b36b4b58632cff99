import { describe, expect, it } from 'vitest'
import { asynchronousBackend } from '../../../test/support/asynchronous-backend.js'
import type { StateBackend } from '../../backend/state-backend.js'
import { isStateError, StateError } from '../../base/errors.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import {
  aggregating,
  defineState,
  list,
  map,
  none,
  StateStore,
  struct,
  uint32,
  utf8,
  value,
} from '../../state.js'

const byEvents = { afterMs: 1_000, time: 'event' } as const
const schema = defineState({
  key: utf8,
  keyGroups: 4,
  states: {
    total: aggregating(
      struct({ count: uint32 }),
      (total, by: number) => {
        total.count += by
      },
      { ttl: byEvents },
    ),
    seen: map(utf8, none, { ttl: byEvents }),
    last: list(uint32, { ttl: byEvents, maxLength: 3 }),
    read: value(uint32, { ttl: { ...byEvents, refresh: 'readWrite' } }),
    kept: value(uint32),
  },
})
type Store = StateStore<typeof schema, 'sync'>

/** Over an asynchronous backend the calls return promises: the tests await all of them. */
const opened = async (backend: StateBackend) => (await StateStore.open(backend, schema)) as unknown as Store

const items = async <Item>(stream: Iterable<Item>): Promise<Item[]> => {
  const all: Item[] = []
  for await (const item of stream) all.push(item)
  return all
}

const backends: [string, () => StateBackend][] = [
  ['the memory engine', () => new MemoryStateBackend()],
  ['an engine that answers later', () => asynchronousBackend().backend],
]

describe.each(backends)('time to live by events, on %s', (_name, make) => {
  it('L3: an entry expires when the watermark has come its time to live behind its event', async () => {
    await using backend = make()
    const store = await opened(backend)
    store.at(5_000)
    await store.total.add('a', 1)
    await store.advanceWatermark(5_999)
    expect(await store.total.get('a')).toEqual({ count: 1 })
    await store.advanceWatermark(6_000)
    expect(await store.total.get('a')).toBeUndefined()
    expect(await store.total.has('a')).toBe(false)
    expect(await items(store.total.entries())).toEqual([])
    await store.total.add('a', 7)
    // What is written at the time of an event that is too late is gone at once.
    expect(await store.total.get('a')).toBeUndefined()
    store.at(6_500)
    await store.total.add('a', 7)
    expect(await store.total.get('a')).toEqual({ count: 7 })
  })

  it('L3: an event that comes late does not shorten the life that a later one has given', async () => {
    await using backend = make()
    const store = await opened(backend)
    store.at(5_000)
    await store.total.add('a', 1)
    store.at(4_500)
    await store.total.add('a', 1)
    await store.advanceWatermark(5_999)
    expect(await store.total.get('a')).toEqual({ count: 2 })
  })

  it('a value too short for the time at which it expires is DESERIALIZATION_FAILED with state and key', async () => {
    await using backend = make()
    const store = await opened(backend)
    store.at(1_000)
    await store.total.add('a', 1)
    await store.seen.put('a', 'x')
    for await (const [key, stored] of backend.scan({ lt: Uint8Array.of(0x80) })) {
      if (stored.length > 0) await backend.put(key, stored.subarray(0, 7))
    }
    const reads = [
      async () => store.total.get('a'),
      async () => store.total.has('a'),
      async () => store.total.add('a', 1),
      async () => store.total.delete('a'),
      async () => items(store.total.entries()),
    ]
    for (const read of reads) {
      await expect(read(), String(read)).rejects.toSatisfy(
        (error) => isStateError(error, 'DESERIALIZATION_FAILED') && /total.*"a"/.test(error.message),
      )
    }
    const ofMap = /seen.*"a".*"x"/
    await expect((async () => store.seen.has('a', 'x'))()).rejects.toThrow(ofMap)
    await expect(items(store.seen.entries('a'))).rejects.toThrow(ofMap)
  })

  it('the watermark is no further than what was stored: a put that fails, a batch that fails', async () => {
    await using backend = make()
    let fails = false
    const write = backend.supports.sync ? 'updateSync' : 'write'
    const failing = new Proxy(backend, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name, target)
        if (typeof member !== 'function') return member
        if (name !== write) return member.bind(target)
        return (...args: unknown[]) => {
          if (fails)
            throw new StateError('STORAGE_ERROR', { storage: 'test', operation: 'put', reason: 'not now' })
          return member.apply(target, args) as unknown
        }
      },
    })
    const store = await opened(failing)
    store.at(1_000)
    await store.read.put('a', 1)
    await store.advanceWatermark(1_500)
    fails = true
    const advance = async () => store.advanceWatermark(2_000)
    await expect(advance()).rejects.toSatisfy((error) => isStateError(error, 'STORAGE_ERROR'))
    fails = false
    expect(store.watermark).toBe(1_500)
    expect(await store.read.has('a')).toBe(true)
    const inBatch = async () =>
      store.batch((): unknown => {
        const advanced: unknown = store.advanceWatermark(2_000)
        if (backend.supports.sync) throw new Error('not now')
        return Promise.resolve(advanced).then(() => Promise.reject(new Error('not now')))
      })
    await expect(inBatch()).rejects.toThrow('not now')
    expect(store.watermark).toBe(1_500)
    expect(await store.read.has('a')).toBe(true)
    const before = await backend.count()
    await store.advanceWatermark(2_000)
    expect(store.watermark).toBe(2_000)
    expect(await store.read.has('a')).toBe(false)
    // What the failed batch had removed is removed now: the entry and its look.
    await store.advanceWatermark(2_100)
    expect(await backend.count()).toBe(before - 2)
    expect((await opened(backend)).watermark).toBe(2_100)
    await Promise.all([store.advanceWatermark(4_000), store.advanceWatermark(3_000)])
    await Promise.all([store.advanceWatermark(5_000), store.advanceWatermark(6_000)])
    expect(store.watermark).toBe(6_000)
    expect((await opened(backend)).watermark).toBe(6_000)
  })

  it('L2: lists and maps expire by element, and reading refreshes where it is asked for', async () => {
    await using backend = make()
    const store = await opened(backend)
    store.at(1_000)
    await store.seen.put('a', 'x')
    await store.last.append('a', 1)
    await store.read.put('a', 1)
    await store.kept.put('a', 1)
    store.at(1_500)
    await store.seen.put('a', 'y')
    await store.last.append('a', 2, 3)
    await store.read.get('a')
    await store.advanceWatermark(2_000)
    expect(await items(store.seen.keys('a'))).toEqual(['y'])
    expect(await store.last.get('a')).toEqual([2, 3])
    expect(await store.last.length('a')).toBe(2)
    expect(await store.last.at('a', 0)).toBeUndefined()
    expect(await store.read.get('a')).toBe(1)
    expect(await store.kept.get('a')).toBe(1)
    await store.advanceWatermark(10_000)
    expect(await store.last.get('a')).toEqual([])
    expect(await store.read.get('a')).toBeUndefined()
  })

  it('T3: a watermark never goes back; T1: it is a whole number of milliseconds', async () => {
    await using backend = make()
    const store = await opened(backend)
    expect(store.watermark).toBe(-Infinity)
    await store.advanceWatermark(100)
    await store.advanceWatermark(50)
    expect(store.watermark).toBe(100)
    for (const wrong of [1.5, Number.NaN, Infinity, 2 ** 60]) {
      expect(() => store.at(wrong)).toThrow('timestampMs')
    }
  })

  it('a write before any time of events is refused, and leaves nothing', async () => {
    await using backend = make()
    const store = await opened(backend)
    const before = await backend.count()
    const write = async () => store.total.add('a', 1)
    await expect(write()).rejects.toMatchObject({
      code: 'NOT_INITIALIZED',
      message: expect.stringMatching(/advanceWatermark\(timestampMs\), cannot be written to at this moment$/),
    })
    expect(await backend.count()).toBe(before)
  })

  it('T9: the watermark is in the store: what has expired stays so when it is opened again', async () => {
    await using backend = make()
    const store = await opened(backend)
    store.at(1_000)
    await store.total.add('a', 1)
    await store.advanceWatermark(2_000)
    const again = await opened(backend)
    expect(again.watermark).toBe(2_000)
    expect(await again.total.get('a')).toBeUndefined()
  })

  it('L6: what is held stays within a factor of what is alive, when much arrives, is deleted, trimmed or refreshed', async () => {
    await using backend = make()
    const store = await opened(backend)
    const perSecond = process.env['HOLDFAST_LONG'] === '1' ? 5_000 : 50
    let most = 0
    for (let i = 0; i < perSecond * 6; i++) {
      store.at(Math.floor((i * 1_000) / perSecond))
      await store.seen.put('a', `${i}`)
      await store.last.append('b', i)
      await store.total.add('c', 1)
      await store.read.put(`d${i}`, i)
      await store.read.delete(`d${i}`)
      if (i % (perSecond / 10) === 0) await store.advanceWatermark(Math.floor((i * 1_000) / perSecond))
      if (i % 10 === 0) most = Math.max(most, await backend.count())
    }
    // Alive are the elements of one second, each with its look entry; a tenth of a second waits for the watermark.
    expect(most).toBeLessThan(perSecond * 2 * 1.3 + 40)
    await store.advanceWatermark(100_000)
    for (let i = 0; i < perSecond; i++) await store.advanceWatermark(100_001 + i)
    // The record, and the watermark.
    expect(await backend.count()).toBe(2)
  })

  it('what is cleared, and the key of all states, leaves no look entry', async () => {
    await using backend = make()
    const store = await opened(backend)
    store.at(1_000)
    const before = await backend.count()
    await store.seen.put('a', 'x')
    await store.seen.put('a', 'y')
    await store.seen.clear('a')
    expect(await backend.count()).toBe(before)
    await store.last.append('a', 1, 2, 3, 4, 5)
    await store.total.add('a', 1)
    await store.last.trim('a', 1)
    expect(await store.last.get('a')).toEqual([5])
    await store.clear('a')
    expect(await backend.count()).toBe(before)
  })

  it('a batch that fails leaves neither entries nor look entries', async () => {
    await using backend = make()
    const store = await opened(backend)
    store.at(1_000)
    await store.total.add('a', 1)
    const before = await backend.count()
    const failing = async () =>
      await (store.batch as (body: () => unknown) => unknown)(async () => {
        await store.seen.put('a', 'x')
        throw new Error('not now')
      })
    const failingNow = () =>
      store.batch(() => {
        store.seen.put('a', 'x')
        throw new Error('not now')
      })
    await expect(backend.supports.sync ? Promise.resolve().then(failingNow) : failing()).rejects.toThrow(
      'not now',
    )
    expect(await backend.count()).toBe(before)
    expect(await store.total.get('a')).toEqual({ count: 1 })
  })

  it('L5: another policy holds for new writes at once, and for what is stored when it is migrated', async () => {
    await using backend = make()
    const store = await opened(backend)
    store.at(1_000)
    await store.total.add('a', 1)
    await store.seen.put('a', 'x')
    await store.kept.put('a', 1)
    const longer = { afterMs: 10_000, time: 'event' } as const
    const changed = defineState({
      key: utf8,
      keyGroups: 4,
      states: {
        ...schema.states,
        seen: map(utf8, none, { ttl: longer }),
        kept: value(uint32, { ttl: byEvents }),
        total: aggregating(struct({ count: uint32 }), (total, by: number) => {
          total.count += by
        }),
      },
    })
    const open = async () =>
      (await StateStore.open(backend, changed)) as unknown as StateStore<typeof changed, 'sync'>
    const next = await open()
    await next.advanceWatermark(1_500)
    // Enabling it on a state that had none changes its form: the old value is read as it is, and has no end.
    expect(await next.kept.get('a')).toBe(1)
    await next.migrate({ ttl: true })
    expect(
      (await next.plan()).states.every(({ isTtlChanged, entries }) => !isTtlChanged && entries === 0),
    ).toBe(true)
    await next.advanceWatermark(2_499)
    expect(await next.kept.get('a')).toBe(1)
    expect(await next.total.get('a')).toEqual({ count: 1 })
    await next.advanceWatermark(2_500)
    expect(await next.kept.get('a')).toBeUndefined()
    // No time to live any more.
    expect(await next.total.get('a')).toEqual({ count: 1 })
    await next.advanceWatermark(11_499)
    expect(await items(next.seen.keys('a'))).toEqual(['x'])
    await next.advanceWatermark(11_500)
    expect(await items(next.seen.keys('a'))).toEqual([])
    expect(await next.total.get('a')).toEqual({ count: 1 })
  })
})
