import { describe, expect, it } from 'vitest'
import type { SyncStateBackend } from '../backend/state-backend.js'
import { isStateError } from '../base/errors.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import {
  defineState,
  from,
  index,
  list,
  type StateSchema,
  StateStore,
  struct,
  uint32,
  utf8,
  value,
} from '../state.js'

/** The same backend as a process sees it that only reads; `before` is called before each of its reads. */
function readerOf(backend: MemoryStateBackend, before: () => void = () => {}): SyncStateBackend {
  return new Proxy(backend, {
    get: (target, name) => {
      if (name === 'isReadOnly') return true
      if (name === 'getSync') before()
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

const openToRead = <Schema extends StateSchema>(backend: SyncStateBackend, schema: Schema) =>
  StateStore.open(backend, schema)

const place = struct({ floor: uint32 })
const byFloor = index(uint32, ({ floor }: { floor: number }) => floor)
const first = defineState({
  key: utf8,
  keyGroups: 2,
  states: { place: value(place), seen: value(uint32, { ttl: { afterMs: 100, time: 'event' } }) },
})
const indexed = defineState({
  key: utf8,
  keyGroups: 2,
  states: { place: value(place, { indexes: { byFloor } }), seen: first.states.seen },
})
const second = defineState({
  key: utf8,
  keyGroups: 2,
  states: {
    place: value(struct({ level: uint32 }), {
      migrations: [from(place, ({ floor }) => ({ level: floor + 100 }))],
    }),
    seen: first.states.seen,
  },
})
const incompatible = (error: unknown) => isStateError(error, 'INCOMPATIBLE')

describe('a store that is open for reading only, while another one writes', () => {
  it('goes on with the watermark of the writer', async () => {
    const backend = new MemoryStateBackend()
    await using _ = backend
    const writer = await StateStore.open(backend, first)
    writer.at(1_000)
    writer.seen.put('a', 7)
    const reader = await openToRead(readerOf(backend), first)
    expect(reader.seen.get('a')).toBe(7)
    writer.advanceWatermark(1_099)
    expect(reader.watermark).toBe(1_099)
    expect([...reader.seen.entries()]).toEqual([['a', 7]])
    writer.at(1_100)
    writer.seen.put('b', 8)
    writer.advanceWatermark(1_100)
    expect(reader.seen.get('a')).toBeUndefined()
    expect([...reader.seen.entries()]).toEqual([['b', 8]])
    expect(reader.seen.has('b')).toBe(true)
  })

  it('queries an index from the moment on that the writer has built it', async () => {
    const backend = new MemoryStateBackend()
    await using _ = backend
    const before = await StateStore.open(backend, first)
    before.place.put('a', { floor: 1 })
    const writer = await StateStore.open(backend, indexed)
    const reader = await openToRead(readerOf(backend), indexed)
    const query = () => [...reader.place.query('byFloor')].map(({ entry }) => entry[0])
    expect(query).toThrow('migrate()')
    await writer.migrate()
    expect(query()).toEqual(['a'])
    await writer.migrate({ indexes: true })
    expect(query()).toEqual(['a'])
    expect(reader.schema).toEqual(writer.schema)
  })

  it('is INCOMPATIBLE from the moment on that the writer has recorded another schema, and shows nothing of before', async () => {
    const backend = new MemoryStateBackend()
    await using _ = backend
    const before = await StateStore.open(backend, first)
    before.place.put('a', { floor: 1 })
    const reader = await openToRead(readerOf(backend), first)
    expect(reader.place.get('a')).toEqual({ floor: 1 })
    const scan = reader.place.entries()
    scan.next()
    const writer = await StateStore.open(backend, second)
    writer.place.put('b', { level: 1 })
    const reads: (() => unknown)[] = [
      () => reader.place.get('a'),
      () => reader.place.has('b'),
      () => reader.place.view('a'),
      () => [...reader.place.entries()],
      () => reader.seen.get('a'),
      () => reader.watermark,
      () => reader.place.get('a'),
    ]
    for (const read of reads) {
      try {
        read()
        expect.unreachable(String(read))
      } catch (error) {
        expect(incompatible(error), `${read}: ${error}`).toBe(true)
      }
    }
    await backend.clear()
    expect(() => reader.place.get('a')).toThrow('recorded since')
  })

  it('finds an entry that the writer migrates between two looks', async () => {
    const backend = new MemoryStateBackend()
    await using _ = backend
    const before = await StateStore.open(backend, first)
    const writer = await StateStore.open(backend, second)
    for (let look = 1; look <= 8; look++) {
      const key = `k${look}`
      let reads = Infinity
      const reader = await openToRead(
        readerOf(backend, () => {
          if (--reads === 0) writer.place.update(key, (current) => current)
        }),
        second,
      )
      before.place.put(key, { floor: 7 })
      reads = look
      expect(reader.place.get(key), `at read ${look}`).toEqual({ level: 107 })
    }
  })

  it('is not opened, and not read any more, while a migration is unfinished that only a writer can do', async () => {
    const backend = new MemoryStateBackend()
    await using _ = backend
    const lists = defineState({ key: utf8, keyGroups: 2, states: { steps: list(uint32) } })
    const before = await StateStore.open(backend, lists)
    for (let i = 0; i < 700; i++) before.steps.append(`k${i}`, i)
    const reader = await openToRead(readerOf(backend), lists)
    const sums = defineState({
      key: utf8,
      keyGroups: 2,
      states: {
        steps: value(uint32, { migrations: [from(lists.states.steps, (steps) => steps.length)] }),
      },
    })
    const ending = new AbortController()
    const opening = StateStore.open(backend, sums, {
      migrate: { signal: ending.signal, onProgress: () => ending.abort() },
    })
    await expect(opening).rejects.toSatisfy((error) => isStateError(error, 'ABORTED'))
    await expect(openToRead(readerOf(backend), sums)).rejects.toThrow('{ migrate: true }')
    await expect(openToRead(readerOf(backend), sums)).rejects.toSatisfy(incompatible)
    expect(() => reader.steps.get('k0')).toThrow('steps')
    const writer = await StateStore.open(backend, sums, { migrate: true })
    expect(writer.steps.get('k699')).toBe(1)
    const after = await openToRead(readerOf(backend), sums)
    expect(after.steps.get('k0')).toBe(1)
  })
})
