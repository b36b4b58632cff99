import { describe, expect, it } from 'vitest'
import { SCHEMA_KEY } from '../../backend/schema-entry.js'
import { isStateError } from '../../base/errors.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import {
  bigint64,
  defineState,
  enumeration,
  float64,
  int64,
  json,
  list,
  map,
  optional,
  reducing,
  type StateSchema,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from '../../state.js'
import { encodeSchema } from './recorded-schema.js'

const first = defineState({
  key: utf8,
  states: {
    total: value(struct({ count: uint32 })),
    level: value(enumeration('low', 'high')),
    hours: map(uint32, json<string>()),
    sum: reducing(int64, (left, right) => left + right),
  },
})

/** The stored entries as text, to see that nothing has changed. */
async function content(backend: MemoryStateBackend): Promise<string[]> {
  const entries: string[] = []
  for await (const [key, bytes] of backend.scan()) {
    entries.push(`${Buffer.from(key).toString('hex')}=${Buffer.from(bytes).toString('hex')}`)
  }
  return entries
}

async function filled(schema: StateSchema = first) {
  const backend = new MemoryStateBackend()
  await StateStore.open(backend, schema)
  return backend
}

/** Opening is refused, and nothing has changed: the error. */
async function refused(backend: MemoryStateBackend, schema: StateSchema) {
  const before = await content(backend)
  try {
    await StateStore.open(backend, schema)
  } catch (error) {
    expect(await content(backend)).toEqual(before)
    if (!isStateError(error)) throw error
    return { code: error.code, message: error.message }
  }
  throw new Error('it was opened')
}

describe('opening a store that was written before', () => {
  it('with the same schema gives the same content', async () => {
    const backend = await filled()
    const store = await StateStore.open(backend, first)
    store.total.put('a', { count: 1 })
    const before = await content(backend)
    const again = await StateStore.open(backend, first)
    expect(again.total.get('a')).toEqual({ count: 1 })
    expect(await content(backend)).toEqual(before)
  })

  it('takes new states, fields and names that were appended, and an equal encoding of another type', async () => {
    const backend = await filled()
    const store = await StateStore.open(backend, first)
    store.total.put('a', { count: 1 })
    store.level.put('a', 'high')
    store.sum.add('a', 5)
    const grown = await StateStore.open(
      backend,
      defineState({
        key: utf8,
        states: {
          more: value(uint32),
          sum: reducing(bigint64, (left, right) => left + right),
          level: value(enumeration('low', 'high', 'highest')),
          hours: map(uint32, json<string>(), { ttl: { afterMs: 1_000 } }),
          total: value(struct({ count: uint32, tokens: float64 })),
        },
      }),
    )
    expect(grown.total.get('a')).toEqual({ count: 1, tokens: 0 })
    expect(grown.level.get('a')).toBe('high')
    expect(grown.sum.get('a')).toBe(5n)
    grown.more.put('a', 1)
    grown.total.update('a', (total) => {
      total.count++
      total.tokens = 2
    })
    expect(grown.total.get('a')).toEqual({ count: 2, tokens: 2 })
  })

  it('by an older program is INCOMPATIBLE', async () => {
    const backend = await filled()
    await StateStore.open(
      backend,
      defineState({
        key: utf8,
        states: {
          ...first.states,
          total: value(struct({ count: uint32, tokens: float64 })),
          more: value(uint32),
        },
      }),
    )
    const { code, message } = await refused(backend, first)
    expect(code).toBe('INCOMPATIBLE')
    expect(message).toContain("state 'more'")
    expect(message).toContain('newer program')
  })

  it('drops what is named, for good: its name can be used for another kind', async () => {
    const backend = await filled()
    const store = await StateStore.open(backend, first)
    for (let i = 0; i < 100; i++) store.hours.put('a', i, 'x')
    store.total.put('a', { count: 1 })
    const { hours: _, ...rest } = first.states
    await StateStore.open(backend, defineState({ key: utf8, states: rest, drop: ['hours'] }))
    expect(await backend.count()).toBe(2)
    const again = await StateStore.open(
      backend,
      defineState({ key: utf8, states: { ...rest, hours: list(uint32) } }),
    )
    expect(again.hours.get('a')).toEqual([])
    expect(again.total.get('a')).toEqual({ count: 1 })
  })

  const states = first.states
  it.each<[string, StateSchema, string]>([
    [
      'a state that is gone',
      defineState({ key: utf8, states: { total: states.total, level: states.level, hours: states.hours } }),
      "drop: ['sum']",
    ],
    [
      'another kind',
      defineState({ key: utf8, states: { ...states, sum: value(int64) } }),
      'write reducing(…) again',
    ],
    ['another key codec', defineState({ key: tuple(utf8), states }), 'write key: utf8 again'],
    ['another number of key groups', defineState({ key: utf8, states, keyGroups: 64 }), 'keyGroups: 128'],
    [
      'another map key',
      defineState({ key: utf8, states: { ...states, hours: map(utf8, json<string>()) } }),
      'map key uint32',
    ],
    [
      'another serializer',
      defineState({ key: utf8, states: { ...states, hours: map(uint32, utf8) } }),
      'write json again',
    ],
    [
      'a field of another type',
      defineState({ key: utf8, states: { ...states, total: value(struct({ count: int64 })) } }),
      'struct({ count: uint32 })',
    ],
    [
      'a field that is gone',
      defineState({ key: utf8, states: { ...states, total: value(struct({ tokens: float64 })) } }),
      'may be appended',
    ],
    [
      'a field in front',
      defineState({
        key: utf8,
        states: { ...states, total: value(struct({ tokens: float64, count: uint32 })) },
      }),
      'may be appended',
    ],
    [
      'a name in front',
      defineState({ key: utf8, states: { ...states, level: value(enumeration('lowest', 'low', 'high')) } }),
      "enumeration('low', 'high')",
    ],
    [
      'a value that becomes optional',
      defineState({ key: utf8, states: { ...states, sum: reducing(optional(int64), (left) => left) } }),
      'write int64 again',
    ],
  ])(
    'K5: with %s is INCOMPATIBLE, says what to write, and changes nothing',
    async (_name, schema, remedy) => {
      const { code, message } = await refused(await filled(), schema)
      expect(code).toBe('INCOMPATIBLE')
      expect(message).toContain(remedy)
    },
  )

  it('a struct inside a tuple or a map value of a tuple does not grow', async () => {
    const before = defineState({ key: utf8, states: { t: value(tuple(struct({ a: uint32 }), utf8)) } })
    const after = defineState({
      key: utf8,
      states: { t: value(tuple(struct({ a: uint32, b: uint32 }), utf8)) },
    })
    expect((await refused(await filled(before), after)).code).toBe('INCOMPATIBLE')
  })

  it('with everything that is wrong says all of it', async () => {
    const wrong = defineState({ key: tuple(utf8), keyGroups: 1, states: { total: list(uint32) } })
    const { message } = await refused(await filled(), wrong)
    for (const part of ['the key', 'key groups', "state 'total'", "state 'level'", "state 'sum'"])
      expect(message).toContain(part)
  })

  it('that no typed store has written, of a newer format, or with a damaged record, is refused', async () => {
    const foreign = new MemoryStateBackend()
    foreign.putSync(Buffer.from('x'), Buffer.from('y'))
    expect((await refused(foreign, first)).code).toBe('INCOMPATIBLE')
    const newer = await filled()
    newer.putSync(
      SCHEMA_KEY,
      encodeSchema({ format: 2, keyGroups: 1, key: 'utf8', nextId: 1, states: [], dropping: [] }),
    )
    expect((await refused(newer, first)).message).toContain('newer version')
    const whole = (await filled()).getSync(SCHEMA_KEY) as Uint8Array
    for (const damaged of [
      whole.subarray(1),
      whole.subarray(0, -1),
      Buffer.from('{}'),
      Buffer.from('[]'),
      Uint8Array.of(0xff),
    ]) {
      const backend = await filled()
      backend.putSync(SCHEMA_KEY, damaged)
      expect((await refused(backend, first)).code).toBe('CORRUPTION')
    }
  })

  it('goes on removing what was dropped where it was interrupted', async () => {
    const backend = await filled()
    const store = await StateStore.open(backend, first)
    for (let i = 0; i < 10; i++) store.hours.put(`k${i}`, i, 'x')
    const { hours: _, ...rest } = first.states
    const dropping = defineState({ key: utf8, states: rest, drop: ['hours'] })
    // As a process that ended after the record was written and before anything was removed.
    await StateStore.open(Object.assign(new MemoryStateBackend(), {}), first)
    const record = JSON.parse(Buffer.from(backend.getSync(SCHEMA_KEY) as Uint8Array).toString()) as {
      states: { name: string; id: number }[]
    }
    const id = record.states.find(({ name }) => name === 'hours')?.id
    const interrupted = {
      ...record,
      states: record.states.filter(({ name }) => name !== 'hours'),
      dropping: [id],
    }
    backend.putSync(SCHEMA_KEY, Buffer.from(JSON.stringify(interrupted)))
    expect(await backend.count()).toBe(11)
    await StateStore.open(backend, defineState({ key: utf8, states: rest }))
    expect(await backend.count()).toBe(1)
    await StateStore.open(backend, dropping)
  })
})
