import { describe, expect, expectTypeOf, it } from 'vitest'
import { z } from 'zod'
import { asynchronousBackend } from '../../../test/support/asynchronous-backend.js'
import type { StateBackend } from '../../backend/state-backend.js'
import type { Entry } from '../../backend/types.js'
import { isStateError } from '../../base/errors.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import {
  type AnyCodec,
  aggregating,
  defineState,
  from,
  fromKey,
  int64,
  json,
  list,
  type MigrationStep,
  map,
  none,
  reducing,
  type StateForm,
  type StateSchema,
  StateStore,
  type StateTypeError,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from '../../state.js'
import { ManualClock } from '../../testing/manual-clock.js'
import type { CheckedChain } from '../kinds/migration.js'

interface ProfileV1 {
  name: string
}
interface ProfileV2 {
  first: string
  last: string
}
const profileV3 = z.object({ first: z.string(), last: z.string(), city: z.string().default('nowhere') })

const toV2 = ({ name }: ProfileV1): ProfileV2 => {
  const [first = '', last = ''] = name.split(' ')
  return { first, last }
}

const add = (total: { cents: number }, by: number) => {
  total.cents += by
}

/** Longer than any of these tests takes: most of them run by the machine's clock. */
const SEEN_MS = 3_600_000

const v1 = defineState({
  key: utf8,
  keyGroups: 4,
  states: {
    profile: value(json<ProfileV1>()),
    total: aggregating(struct({ euros: uint32 }), (total, by: number) => {
      total.euros += by
    }),
    steps: list(uint32),
    hours: map(uint32, json<number>()),
    seen: map(utf8, none, { ttl: { afterMs: SEEN_MS } }),
    gone: value(uint32),
  },
})
const v2 = defineState({
  key: utf8,
  keyGroups: 4,
  drop: ['gone'],
  states: {
    profile: value(json<ProfileV2>(), { migrations: [toV2] }),
    total: aggregating(struct({ cents: int64 }), add, {
      migrations: [from(struct({ euros: uint32 }), ({ euros }) => ({ cents: euros * 100 }))],
    }),
    steps: list(utf8, { migrations: [from(uint32, String)] }),
    hours: map(uint32, json<{ n: number }>(), { migrations: [(n: number) => ({ n })] }),
    seen: map(utf8, none, {
      ttl: { afterMs: SEEN_MS },
      version: 2,
      migrations: [from(none, () => undefined)],
    }),
  },
})
const v3 = defineState({
  key: utf8,
  keyGroups: 4,
  drop: ['gone'],
  states: {
    user: value(json(profileV3), { renamedFrom: 'profile', migrations: [toV2, (old: ProfileV2) => old] }),
    total: v2.states.total,
    steps: list(utf8, { migrations: [from(uint32, String), from(utf8, (step) => `step ${step}`)] }),
    hours: v2.states.hours,
    seen: v2.states.seen,
  },
})

type Sync<Schema> = StateStore<Schema, 'sync'>
const opened = async <Schema extends StateSchema>(
  backend: StateBackend,
  schema: Schema,
  options?: Parameters<typeof StateStore.open>[2],
) => (await StateStore.open(backend, schema, options)) as unknown as Sync<Schema>

async function items<Item>(stream: Iterable<Item>): Promise<Item[]> {
  const all: Item[] = []
  for await (const item of stream) all.push(item)
  return all
}

const content = async (backend: StateBackend) => {
  const all: Entry[] = []
  for await (const entry of backend.scan()) all.push(entry)
  return all
}

async function filled(backend: StateBackend): Promise<void> {
  const store = await opened(backend, v1)
  for (const [i, key] of ['a', 'b', 'c', 'd'].entries()) {
    await store.profile.put(key, { name: `${key} X` })
    await store.total.add(key, i + 1)
    await store.steps.append(key, 1, 2, 3)
    await store.hours.put(key, 7, i)
    await store.hours.put(key, 3, i)
    await store.seen.put(key, 'x')
    await store.gone.put(key, 1)
  }
}

const whatV3Shows = {
  user: { first: 'b', last: 'X', city: 'nowhere' },
  total: { cents: 200 },
  steps: ['step 1', 'step 2', 'step 3'],
  hours: [
    [3, { n: 1 }],
    [7, { n: 1 }],
  ],
  seen: ['x'],
  length: 3,
  at: 'step 2',
}
const shownBy = async (store: Sync<typeof v3>, key: string) => ({
  user: await store.user.get(key),
  total: await store.total.get(key),
  steps: await store.steps.get(key),
  hours: await items(store.hours.entries(key)),
  seen: await items(store.seen.keys(key)),
  length: await store.steps.length(key),
  at: await store.steps.at(key, 1),
})

const backends: [string, () => StateBackend][] = [
  ['the memory engine', () => new MemoryStateBackend()],
  ['an engine that answers later', () => asynchronousBackend().backend],
]

describe.each(backends)('what earlier versions have written, on %s', (_name, make) => {
  it('is read as the present version, and written as it', async () => {
    await using backend = make()
    await filled(backend)
    const store = await opened(backend, v3)
    expect(await shownBy(store, 'b')).toEqual(whatV3Shows)
    expect((await items(store.user.entries())).length).toBe(4)
    expect((await items(store.steps.entries())).length).toBe(12)
    expect((await items(store.hours.all())).length).toBe(8)
    await store.total.add('b', 5)
    await store.steps.append('b', 'new')
    await store.steps.trim('b', 2)
    await store.hours.update('b', 3, (hour) => ({ n: (hour?.n ?? 0) + 1 }))
    await store.user.delete('b')
    await store.seen.clear('b')
    expect(await shownBy(store, 'b')).toEqual({
      user: undefined,
      total: { cents: 205 },
      steps: ['step 3', 'new'],
      hours: [
        [3, { n: 2 }],
        [7, { n: 1 }],
      ],
      seen: [],
      length: 2,
      at: 'new',
    })
    expect(await items(store.hours.entries('b', { reverse: true, gt: 2 }))).toEqual([
      [7, { n: 1 }],
      [3, { n: 2 }],
    ])
    await store.clear('c')
    expect(await store.user.get('c')).toBeUndefined()
    expect((await items(store.user.entries())).map(([key]) => key).sort()).toEqual(['a', 'd'])
  })

  it('is migrated on demand, with the same result, and the plan says how much', async () => {
    await using backend = make()
    await filled(backend)
    const planned = await StateStore.plan(backend, v3)
    expect(planned.isCompatible).toBe(true)
    expect(planned.migratesAtOpening).toBe(false)
    const counts = Object.fromEntries(
      planned.states.map(({ name, action, entries }) => [name, [action, entries]]),
    )
    // A list has a head beside its elements.
    expect(counts).toEqual({
      user: ['migrate', 4],
      total: ['migrate', 4],
      steps: ['migrate', 16],
      hours: ['migrate', 8],
      seen: ['migrate', 4],
      gone: ['drop', 4],
    })
    const before = await content(backend)
    const store = await opened(backend, v3)
    const progress: string[] = []
    await store.migrate({ onProgress: ({ state, entries }) => progress.push(`${state} ${entries}`) })
    expect(progress).toEqual(['user 4', 'total 4', 'steps 16', 'hours 8', 'seen 4'])
    expect(await shownBy(store, 'b')).toEqual(whatV3Shows)
    expect((await store.plan()).states.every(({ entries }) => entries === 0)).toBe(true)
    expect(await backend.count()).toBe(before.length - 4)
    const again = await opened(backend, v3)
    expect(await shownBy(again, 'b')).toEqual(whatV3Shows)
    expect(again.schema.states.every(({ former }) => former === undefined)).toBe(true)
  })

  it('may be of several versions at once', async () => {
    await using backend = make()
    await filled(backend)
    const second = await opened(backend, v2)
    await second.profile.put('a', { first: 'A', last: 'Y' })
    await second.steps.append('b', '4')
    const store = await opened(backend, v3)
    expect(await store.user.get('a')).toEqual({ first: 'A', last: 'Y', city: 'nowhere' })
    expect(await store.user.get('b')).toEqual(whatV3Shows.user)
    expect(await store.steps.get('b')).toEqual([...whatV3Shows.steps, 'step 4'])
    await store.user.put('c', { first: 'C', last: 'Z', city: 'Rome' })
    const shown = await items(store.user.entries())
    await store.migrate()
    expect(await items(store.user.entries())).toEqual(shown)
    expect(shown.length).toBe(4)
    expect(await store.steps.get('b')).toEqual([...whatV3Shows.steps, 'step 4'])
  })

  it('is not opened by an older program, lazily migrated or not', async () => {
    await using backend = make()
    await filled(backend)
    const store = await opened(backend, v3)
    const message = /newer program|renamedFrom/
    for (const older of [v1, v2]) await expect(opened(backend, older)).rejects.toThrow(message)
    await store.migrate()
    for (const older of [v1, v2]) await expect(opened(backend, older)).rejects.toThrow(message)
  })

  it('is migrated by a migration that goes on where another one was ended', async () => {
    await using backend = make()
    const before = await opened(backend, v1)
    for (let i = 0; i < 1_200; i++) await before.total.add(`k${i}`, i)
    const store = await opened(backend, v3)
    const ending = new AbortController()
    const migration = store.migrate({ signal: ending.signal, onProgress: () => ending.abort() })
    await expect(migration).rejects.toSatisfy((error) => isStateError(error, 'ABORTED'))
    const left = (await store.plan()).states.find(({ name }) => name === 'total')?.entries ?? 0
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThan(1_200)
    const again = await opened(backend, v3)
    expect(await again.total.get('k0')).toEqual({ cents: 0 })
    expect(await again.total.get('k1199')).toEqual({ cents: 119_900 })
    await again.migrate()
    expect((await items(again.total.entries())).length).toBe(1_200)
    expect(await again.total.get('k1199')).toEqual({ cents: 119_900 })
  })

  it('a value that cannot be migrated is DESERIALIZATION_FAILED, names state and key, and stays', async () => {
    await using backend = make()
    await filled(backend)
    const failing = defineState({
      key: utf8,
      keyGroups: 4,
      drop: ['gone'],
      states: {
        ...v2.states,
        profile: value(json<ProfileV2>(), { migrations: [(): ProfileV2 => undefined as never] }),
      },
    })
    const store = await opened(backend, failing)
    const read = async () => store.profile.get('b')
    await expect(read()).rejects.toThrow(/profile.*"b".*not a value/)
    await expect(store.migrate()).rejects.toThrow(/profile/)
    const better = await opened(backend, v2)
    expect(await better.profile.get('b')).toEqual({ first: 'b', last: 'X' })
  })

  it('can become another kind, with another map key, when opening may migrate', async () => {
    await using backend = make()
    await filled(backend)
    const kinds = defineState({
      key: utf8,
      keyGroups: 4,
      drop: ['gone', 'profile', 'seen'],
      states: {
        total: value(utf8, { migrations: [from(v1.states.total, ({ euros }) => `${euros} EUR`)] }),
        steps: value(json<number[]>(), { migrations: [from(v1.states.steps, (steps) => steps)] }),
        hours: map(utf8, uint32, {
          migrations: [
            from(v1.states.hours, (hours) => hours.map(([hour, n]): [string, number] => [`h${hour}`, n])),
          ],
        }),
      },
    })
    const before = await content(backend)
    const refused = opened(backend, kinds)
    await expect(refused).rejects.toThrow(/state 'steps'.*migrate: true/)
    expect(await content(backend)).toEqual(before)
    const store = await opened(backend, kinds, { migrate: true })
    expect(await store.steps.get('b')).toEqual([1, 2, 3])
    expect(await store.total.get('b')).toBe('2 EUR')
    expect(await items(store.hours.entries('b'))).toEqual([
      ['h3', 1],
      ['h7', 1],
    ])
    const lists = defineState({
      key: utf8,
      keyGroups: 4,
      states: {
        total: kinds.states.total,
        steps: list(uint32, {
          version: 3,
          migrations: [from(kinds.states.steps, (steps) => steps.map((step) => step * 2))],
        }),
        hours: kinds.states.hours,
      },
    })
    const third = await opened(backend, lists, { migrate: true })
    expect(await third.steps.get('b')).toEqual([2, 4, 6])
    expect((await items(third.steps.entries())).length).toBe(12)
  })

  it('can have other keys: what two keys had is merged', async () => {
    await using backend = make()
    const states = {
      sum: reducing(int64, (left, right) => left + right),
      best: value(uint32),
      steps: list(utf8),
      hours: map(uint32, uint32),
    }
    const before = await opened(backend, defineState({ key: utf8, keyGroups: 4, states }))
    for (const [i, key] of ['eu:a', 'EU:a', 'us:a'].entries()) {
      await before.sum.add(key, i + 1)
      await before.best.put(key, i)
      await before.steps.append(key, `of ${key}`)
      await before.hours.put(key, 1, i)
      await before.hours.put(key, 10 + i, i)
    }
    const rekeyed = (merge?: {
      best: (left: number, right: number) => number
      hours: (left: number, right: number) => number
    }) =>
      defineState({
        key: tuple(utf8, utf8),
        keyGroups: 4,
        states,
        migrateKey: fromKey(
          utf8,
          (old): [string, string] => {
            const [region = '', name = ''] = old.split(':')
            return [region.toLowerCase(), name]
          },
          merge === undefined ? {} : { merge },
        ),
      })
    await expect(opened(backend, rekeyed())).rejects.toThrow(/migrate: true/)
    await expect(opened(backend, rekeyed(), { migrate: true })).rejects.toThrow(/merge/)
    const merging = rekeyed({ best: Math.max, hours: (left, right) => left + right })
    const store = await opened(backend, merging, { migrate: true })
    expect(await store.sum.get(['eu', 'a'])).toBe(3)
    expect(await store.sum.get(['us', 'a'])).toBe(3)
    expect(await store.best.get(['eu', 'a'])).toBe(1)
    expect((await store.steps.get(['eu', 'a'])).sort()).toEqual(['of EU:a', 'of eu:a'])
    expect(await items(store.hours.entries(['eu', 'a']))).toEqual([
      [1, 1],
      [10, 0],
      [11, 1],
    ])
    const again = await opened(backend, merging)
    expect(await again.sum.get(['us', 'a'])).toBe(3)
    expect(await backend.count()).toBe(1 + 2 + 2 + 2 + 3 + 3 + 2)
  })

  it('a state is bootstrapped in bulk, once', async () => {
    await using backend = make()
    const store = await opened(backend, v1)
    const rows = async function* () {
      for (let i = 0; i < 1_500; i++) yield [`k${i}`, { name: `n${i}` }] as const
    }
    expect(await store.bootstrap('profile', rows())).toBe(1_500)
    expect(await store.profile.get('k1499')).toEqual({ name: 'n1499' })
    await expect(store.bootstrap('profile', rows())).rejects.toThrow('must be empty')
    expect(await store.bootstrap('hours', [['a', 1, 2]])).toBe(1)
    expect(
      await store.bootstrap('steps', [
        ['a', 1],
        ['a', 2],
      ]),
    ).toBe(2)
    expect(await store.steps.get('a')).toEqual([1, 2])
  })
})

describe('time to live by the clock', () => {
  const clocked = (clock: ManualClock) => new MemoryStateBackend({ clock })

  it('L2: of a list of an earlier version begins anew where reading does that, and it is of the present one then', async () => {
    for (const makeBackend of [
      (clock: ManualClock) => new MemoryStateBackend({ clock, sweepIntervalMs: Infinity }),
      (clock: ManualClock) => asynchronousBackend({ clock }).backend,
    ]) {
      const clock = new ManualClock(1_000_000)
      await using backend = makeBackend(clock)
      const ttl = { afterMs: 1_000, refresh: 'readWrite' } as const
      const before = await opened(
        backend,
        defineState({ key: utf8, states: { steps: list(uint32, { ttl }) } }),
      )
      await before.steps.append('a', 1, 2)
      const steps = list(utf8, { ttl, migrations: [from(uint32, String)] })
      const store = await opened(backend, defineState({ key: utf8, states: { steps } }))
      clock.advance(600)
      expect(await store.steps.get('a')).toEqual(['1', '2'])
      clock.advance(600)
      expect(await store.steps.at('a', 1)).toBe('2')
      clock.advance(600)
      expect(await items(store.steps.values('a'))).toEqual(['2'])
    }
  })

  it('L2: is kept by a migration: what is left of it', async () => {
    const clock = new ManualClock(1_000_000)
    await using backend = clocked(clock)
    await filled(backend)
    clock.advance(SEEN_MS - 400)
    const store = await opened(backend, v3)
    await store.migrate()
    clock.advance(399)
    expect(store.seen.has('a', 'x')).toBe(true)
    clock.advance(1)
    expect(store.seen.has('a', 'x')).toBe(false)
  })

  it('L5: of another policy holds for new writes at once, and for what is stored when it is migrated', async () => {
    const clock = new ManualClock(1_000_000)
    await using backend = clocked(clock)
    await filled(backend)
    const changed = defineState({
      key: utf8,
      keyGroups: 4,
      states: {
        ...v1.states,
        seen: map(utf8, none, { ttl: { afterMs: 100 } }),
        gone: value(uint32, { ttl: { afterMs: 5_000 } }),
      },
    })
    const store = await opened(backend, changed)
    store.seen.put('a', 'y')
    clock.advance(100)
    expect([...store.seen.keys('a')]).toEqual(['x'])
    await store.migrate({ ttl: true })
    clock.advance(100)
    expect([...store.seen.keys('a')]).toEqual([])
    clock.advance(4_899)
    expect(store.gone.get('a')).toBe(1)
    clock.advance(1)
    expect(store.gone.get('a')).toBeUndefined()
    expect(store.schema.states.some(({ ttlChanged }) => ttlChanged === true)).toBe(false)
  })
})

describe('the types of migrations', () => {
  it('say which step does not fit', () => {
    const fits = value(json<ProfileV2>(), { migrations: [from(json<ProfileV1>(), toV2)] })
    expectTypeOf(fits).toHaveProperty('kind')
    type Step<Old, Next> = MigrationStep<Old, Next, AnyCodec>
    type Whole<Old, Next> = MigrationStep<Old, Next, StateForm>
    type Last = StateTypeError<'what migration 1 returns is not what the state stores'>
    expectTypeOf<CheckedChain<[Step<number, string>, Step<string, number>], string, string>>().toEqualTypeOf<
      readonly [Step<number, string>, Last]
    >()
    type First = StateTypeError<'what migration 0 returns is not what the next one is given'>
    expectTypeOf<CheckedChain<[Step<number, number>, Step<string, number>], number, number>>().toEqualTypeOf<
      readonly [First, Step<string, number>]
    >()
    type Bare = (old: number) => number
    type Only = StateTypeError<'what migration 0 returns is not what the state stores'>
    expectTypeOf<CheckedChain<[Bare], string, string>>().toEqualTypeOf<readonly [Only]>()
    // What makes a list of a value returns all elements; what follows it is given one at a time.
    type Chain = [Whole<string, number[]>, Step<number, string>]
    expectTypeOf<CheckedChain<[Chain[0]], number, number[]>>().toEqualTypeOf<readonly [Chain[0]]>()
    expectTypeOf<CheckedChain<[Chain[0]], number, string[]>>().toEqualTypeOf<readonly [Only]>()
  })

  it('a chain that its version does not fit is INVALID_ARGUMENT', () => {
    const migrations = [from(uint32, String)] as const
    expect(() => value(utf8, { version: 1, migrations })).toThrow('must be 2 or more')
    expect(() => value(uint32, { migrations: [(n: number) => n] })).toThrow('from(codec')
  })
})
