import { describe, expect, expectTypeOf, it } from 'vitest'
import { asynchronousBackend } from '../../../test/support/asynchronous-backend.js'
import type { StateBackend } from '../../backend/state-backend.js'
import { isStateError } from '../../base/errors.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import {
  defineState,
  from,
  index,
  indexEach,
  json,
  map,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from '../../state.js'
import { ManualClock } from '../../testing/manual-clock.js'

interface Profile {
  city?: string
  age: number
  tags: string[]
}
const indexes = {
  byCity: index(utf8, ({ city }: Profile) => city),
  byCityAndAge: index(tuple(utf8, uint32), ({ city, age }: Profile): [string, number] | undefined =>
    city === undefined ? undefined : [city, age],
  ),
  byTag: indexEach(utf8, ({ tags }: Profile) => tags),
}
const schema = defineState({
  key: utf8,
  keyGroups: 8,
  states: {
    profile: value(json<Profile>(), { indexes }),
    place: map(uint32, struct({ floor: uint32 }), {
      ttl: { afterMs: 1_000 },
      indexes: { byFloor: index(uint32, ({ floor }: { floor: number }) => floor) },
    }),
    session: value(json<Profile>(), {
      ttl: { afterMs: 100, time: 'event' },
      indexes: { byCity: indexes.byCity },
    }),
  },
})
type Store = StateStore<typeof schema, 'sync'>
const opened = async (backend: StateBackend) => (await StateStore.open(backend, schema)) as unknown as Store

async function items<Item>(stream: Iterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of stream) all.push(item)
  return all
}

const profile = (city: string | undefined, age: number, ...tags: string[]): Profile =>
  city === undefined ? { age, tags } : { city, age, tags }

const backends: [string, (clock: ManualClock) => StateBackend][] = [
  ['the memory engine', (clock) => new MemoryStateBackend({ clock })],
  ['an engine that answers later', (clock) => asynchronousBackend({ clock }).backend],
]

describe.each(backends)('an index, on %s', (_name, make) => {
  const backendOf = () => {
    const clock = new ManualClock(1_000_000)
    return { clock, backend: make(clock) }
  }
  const keysBy = async (
    store: Store,
    name: 'byCity' | 'byTag',
    options?: { eq?: string; gte?: string; lt?: string },
  ) => (await items(store.profile.query(name, options))).map(({ entry: [key] }) => key)

  it('a key with no room for one of its index entries is refused, and no index has changed', async () => {
    const { backend } = backendOf()
    const store = await opened(backend)
    const long = 'k'.repeat(2_020)
    await store.profile.put(long, profile('Rome', 1))
    const refused: unknown[] = []
    await store.batch(() => {
      try {
        const put: unknown = store.profile.put(long, profile('Oslo', 2, 'some tag that is too long'))
        return (put as Promise<void> | undefined)?.catch((error: unknown) => void refused.push(error))
      } catch (error) {
        return void refused.push(error)
      }
    })
    expect(refused).toEqual([expect.objectContaining({ code: 'SERIALIZATION_FAILED' })])
    expect(await store.profile.get(long)).toEqual(profile('Rome', 1))
    expect(await items(store.profile.query('byCity', { eq: 'Rome' }))).toHaveLength(1)
    expect(await items(store.profile.query('byCity', { eq: 'Oslo' }))).toHaveLength(0)
    expect(await items(store.profile.query('byCity', { eq: 'x'.repeat(3_000) }))).toHaveLength(0)
  })

  it('finds entries by derived values, in their order', async () => {
    const { backend } = backendOf()
    await using _ = backend
    const store = await opened(backend)
    const before = await backend.count()
    await store.profile.put('a', profile('Rome', 30, 'x', 'y', 'x'))
    await store.profile.put('b', profile('Oslo', 20, 'y'))
    await store.profile.put('c', profile(undefined, 20))
    await store.profile.put('d', profile('Rome', 20))
    expect(await keysBy(store, 'byCity', { eq: 'Rome' })).toEqual(expect.arrayContaining(['a', 'd']))
    expect(await keysBy(store, 'byCity', { eq: 'Rom' })).toEqual([])
    expect(await keysBy(store, 'byCity', { lt: 'Rome' })).toEqual(['b'])
    expect(await keysBy(store, 'byTag', { eq: 'y' })).toHaveLength(2)
    expect(await keysBy(store, 'byTag')).toHaveLength(3)
    const sorted = await items(store.profile.query('byCityAndAge', { gte: ['Oslo', 0], reverse: true }))
    expect(sorted.map(({ entry: [key, { age }], derived }) => [key, age, derived])).toEqual([
      ['a', 30, ['Rome', 30]],
      ['d', 20, ['Rome', 20]],
      ['b', 20, ['Oslo', 20]],
    ])
    await store.profile.put('a', profile('Oslo', 30, 'z'))
    await store.profile.update('b', (b) => ({ ...(b as Profile), city: 'Rome' }))
    await store.profile.delete('d')
    expect(await keysBy(store, 'byCity')).toEqual(['a', 'b'])
    expect(await keysBy(store, 'byTag')).toEqual(['b', 'a'])
    for (const key of ['a', 'b', 'c']) await store.clear(key)
    expect(await backend.count()).toBe(before)
  })

  it('is read in pages by a cursor that another process can go on with, in both directions', async () => {
    const { backend } = backendOf()
    await using _ = backend
    const store = await opened(backend)
    for (let i = 0; i < 25; i++) await store.profile.put(`k${i}`, profile(`city ${i % 5}`, i))
    for (const reverse of [false, true]) {
      const whole = (await items(store.profile.query('byCity', { reverse }))).map(({ entry: [key] }) => key)
      expect(new Set(whole).size).toBe(25)
      const paged: string[] = []
      let after: string | undefined
      for (;;) {
        const reopened = await opened(backend)
        const page = await items(
          reopened.profile.query('byCity', { reverse, limit: 4, ...(after === undefined ? {} : { after }) }),
        )
        paged.push(...page.map(({ entry: [key] }) => key))
        after = page.at(-1)?.cursor
        if (page.length < 4) break
      }
      expect(paged).toEqual(whole)
    }
  })

  it('shows no entry that has expired, by the clock or by events', async () => {
    const { backend, clock } = backendOf()
    await using _ = backend
    const store = await opened(backend)
    await store.place.put('a', 1, { floor: 3 })
    clock.advance(500)
    await store.place.put('a', 2, { floor: 3 })
    store.at(1_000)
    await store.session.put('a', profile('Rome', 1))
    expect((await items(store.place.query('byFloor', { eq: 3 }))).map(({ entry }) => entry)).toEqual([
      ['a', 1, { floor: 3 }],
      ['a', 2, { floor: 3 }],
    ])
    clock.advance(500)
    expect((await items(store.place.query('byFloor', { eq: 3 }))).map(({ entry }) => entry[1])).toEqual([2])
    // Written again with the same derived value: the index entry lives on with it.
    await store.place.put('a', 2, { floor: 3 })
    clock.advance(999)
    expect(await items(store.place.query('byFloor'))).toHaveLength(1)
    clock.advance(1)
    expect(await items(store.place.query('byFloor'))).toHaveLength(0)
    expect(await items(store.session.query('byCity'))).toHaveLength(1)
    await store.advanceWatermark(1_100)
    expect(await items(store.session.query('byCity'))).toHaveLength(0)
    // A twelfth of a second later the entry, its look entry and its index entry are gone.
    await store.advanceWatermark(1_200)
    await store.place.clear('a')
    expect((await items(backend.scan() as unknown as Iterable<unknown>)).length).toBe(2)
  })

  it('is written in the same step: a batch that fails leaves none of it, and reads in a batch see it', async () => {
    const { backend } = backendOf()
    await using _ = backend
    const store = await opened(backend)
    await store.profile.put('a', profile('Rome', 1))
    const seen: number[] = []
    const body = async () => {
      await store.profile.put('b', profile('Rome', 2))
      seen.push((await items(store.profile.query('byCity', { eq: 'Rome' }))).length)
      throw new Error('not now')
    }
    const bodyNow = () => {
      store.profile.put('b', profile('Rome', 2))
      seen.push([...store.profile.query('byCity', { eq: 'Rome' })].length)
      throw new Error('not now')
    }
    const run = async () => store.batch((backend.supports.sync ? bodyNow : body) as () => void)
    await expect(run()).rejects.toThrow('not now')
    expect(seen).toEqual([2])
    expect(await keysBy(store, 'byCity')).toEqual(['a'])
  })

  it('fails where its function makes no derived value, and names state and key; the entry stays as it was', async () => {
    const { backend } = backendOf()
    await using _ = backend
    const store = await opened(backend)
    await store.profile.put('a', profile('Rome', 1))
    const put = async () => store.profile.put('a', { city: 7 as never, age: 1, tags: [] })
    await expect(put()).rejects.toSatisfy(
      (error) => isStateError(error, 'SERIALIZATION_FAILED') && /profile.*"a".*7/.test(error.message),
    )
    expect(await keysBy(store, 'byCity', { eq: 'Rome' })).toEqual(['a'])
    const prefix = (await store.key('a')).group
    for await (const [key] of backend.scan({ prefix: Uint8Array.of(prefix >> 8, prefix & 0xff) })) {
      await backend.put(key, Uint8Array.of(1))
    }
    const damaged = (error: unknown) =>
      isStateError(error, 'DESERIALIZATION_FAILED') && /profile.*"a"/.test(error.message)
    await expect((async () => store.profile.put('a', profile('Oslo', 1)))()).rejects.toSatisfy(damaged)
    await expect((async () => store.profile.delete('a'))()).rejects.toSatisfy(damaged)
    await expect(keysBy(store, 'byCity')).rejects.toSatisfy(damaged)
  })

  it('refuses calls of its state within its function, also where the function goes on', async () => {
    const { backend } = backendOf()
    await using _ = backend
    let within = (): unknown => undefined
    const nesting = defineState({
      key: utf8,
      states: {
        place: value(struct({ floor: uint32 }), {
          indexes: {
            byFloor: index(uint32, ({ floor }: { floor: number }) => {
              try {
                const nested = within()
                Promise.resolve(nested).catch(() => {})
              } catch {}
              return floor
            }),
          },
        }),
      },
    })
    const store = (await StateStore.open(backend, nesting)) as unknown as StateStore<typeof nesting, 'sync'>
    await store.place.put('a', { floor: 1 })
    if (backend.supports.sync !== true) return
    const calls = [() => store.place.get('b'), () => store.place.put('b', { floor: 9 })]
    for (const call of calls) {
      within = call
      expect(() => store.place.put('a', { floor: 2 })).toThrow('within the function of an index')
    }
    within = () => undefined
    expect(store.place.get('a')).toEqual({ floor: 1 })
    expect(store.place.has('b')).toBe(false)
    store.place.put('a', { floor: 3 })
    expect([...store.place.query('byFloor')].map(({ derived }) => derived)).toEqual([3])
  })

  it('shows its function a struct that was stored before fields were appended', async () => {
    const { backend } = backendOf()
    await using _ = backend
    const floors = { byFloor: index(uint32, ({ floor }: { floor: number }) => floor) }
    const first = defineState({
      key: utf8,
      states: { place: value(struct({ floor: uint32 }), { indexes: floors }) },
    })
    const before = (await StateStore.open(backend, first)) as unknown as StateStore<typeof first, 'sync'>
    await before.place.put('a', { floor: 1 })
    await before.place.put('b', { floor: 1 })
    const seen: object[] = []
    const second = defineState({
      key: utf8,
      states: {
        place: value(struct({ floor: uint32, room: uint32 }), {
          indexes: {
            byFloor: index(uint32, (place: { floor: number; room: number }) => {
              seen.push({ ...place })
              return place.floor
            }),
          },
        }),
      },
    })
    const store = (await StateStore.open(backend, second)) as unknown as StateStore<typeof second, 'sync'>
    await store.place.put('a', { floor: 2, room: 5 })
    expect(seen).toContainEqual({ floor: 1, room: 0 })
    expect(seen).toContainEqual({ floor: 2, room: 5 })
    await store.place.delete('b')
    const found = await items(store.place.query('byFloor'))
    expect(found.map(({ derived, entry }) => [derived, entry])).toEqual([[2, ['a', { floor: 2, room: 5 }]]])
  })

  it('that is added later is built by migrate(), and dropped with its definition', async () => {
    const { backend } = backendOf()
    await using _ = backend
    const plain = defineState({ key: utf8, keyGroups: 8, states: { profile: value(json<Profile>()) } })
    const before = (await StateStore.open(backend, plain)) as unknown as StateStore<typeof plain, 'sync'>
    for (let i = 0; i < 600; i++) await before.profile.put(`k${i}`, profile(`city ${i % 3}`, i))
    const count = await backend.count()
    const store = await opened(backend)
    await store.profile.put('k0', profile('elsewhere', 0))
    const query = async () => items(store.profile.query('byCity'))
    await expect(query()).rejects.toSatisfy((error) => isStateError(error, 'NOT_INITIALIZED'))
    expect((await store.plan()).states[0]?.indexesToBuild).toEqual(['byCity', 'byCityAndAge', 'byTag'])
    await store.migrate()
    expect(await keysBy(store, 'byCity', { eq: 'city 0' })).toHaveLength(199)
    expect(await keysBy(store, 'byCity', { eq: 'elsewhere' })).toEqual(['k0'])
    const again = await opened(backend)
    expect(await keysBy(again, 'byCity', { eq: 'city 1' })).toHaveLength(200)
    const other = defineState({
      key: utf8,
      keyGroups: 8,
      drop: ['place', 'session'],
      states: {
        profile: value(json<Profile>(), {
          indexes: { byCity: index(utf8, ({ tags }: Profile) => tags[0], { version: 2 }) },
        }),
      },
    })
    const changed = (await StateStore.open(backend, other)) as unknown as StateStore<typeof other, 'sync'>
    await changed.migrate()
    expect(await items(changed.profile.query('byCity'))).toEqual([])
    await StateStore.open(backend, plain)
    expect(await backend.count()).toBe(count)
  })

  it('is built anew where a state gets another version', async () => {
    const { backend } = backendOf()
    await using _ = backend
    const store = await opened(backend)
    for (const key of ['a', 'b']) await store.profile.put(key, profile('Rome', 1))
    const second = defineState({
      key: utf8,
      keyGroups: 8,
      states: {
        ...schema.states,
        profile: value(json<Profile>(), {
          indexes,
          migrations: [
            from(json<Profile>(), ({ city, ...rest }): Profile => ({ ...rest, city: `${city}!` })),
          ],
        }),
      },
    })
    const next = (await StateStore.open(backend, second)) as unknown as Store
    await next.profile.put('b', profile('Oslo', 1))
    await next.migrate()
    expect(await keysBy(next, 'byCity')).toEqual(['b', 'a'])
    expect(await keysBy(next, 'byCity', { eq: 'Rome!' })).toEqual(['a'])
  })
})

describe('the types of queries', () => {
  it('know the indices of a state, and what they derive', async () => {
    const store = await StateStore.open(new MemoryStateBackend(), schema)
    type Arguments = Parameters<typeof store.profile.query<'byCityAndAge'>>
    expectTypeOf(store.profile.query).parameter(0).toEqualTypeOf<'byCity' | 'byCityAndAge' | 'byTag'>()
    expectTypeOf<NonNullable<Arguments[1]>['eq']>().toEqualTypeOf<[string, number] | undefined>()
    expectTypeOf(store.place.query).parameter(0).toEqualTypeOf<'byFloor'>()
    expectTypeOf(store.place.query('byFloor').next().value).exclude<undefined>().toHaveProperty('cursor')
    const loose = store.profile.query as (name: string, options?: object) => Iterable<unknown>
    const ofProfiles = store.profile
    expect(() => [...loose.call(ofProfiles, 'byName')]).toThrow('index')
    expect(() => [...loose.call(ofProfiles, 'byCity', { eq: 1 })]).toThrow('the number 1 is not a string')
    expect(() => [...loose.call(ofProfiles, 'byCity', { from: 'a' })]).toThrow('from')
  })
})
