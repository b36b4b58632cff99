import { expect, it, describe as suite } from 'vitest'
import { SCHEMA_KEY } from '../../backend/schema-entry.js'
import { CheckpointArchive } from '../../checkpoint/archive/checkpoint-archive.js'
import { CheckpointCoordinator } from '../../checkpoint/coordinator/checkpoint-coordinator.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import {
  bool,
  checkSchema,
  type DecodedEntry,
  date,
  decodeSchema,
  defineState,
  describe,
  EntryDecoder,
  enumeration,
  from,
  index,
  int32,
  int64,
  json,
  list,
  map,
  messagePack,
  none,
  optional,
  readCheckpoint,
  StateStore,
  schemaFile,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from '../../state.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'

const states = {
  total: value(struct({ count: uint32, sum: int64, last: date, open: bool })),
  level: value(enumeration('low', 'high')),
  pair: map(tuple(utf8, uint32), optional(utf8), { ttl: { afterMs: 60_000, refresh: 'readWrite' } }),
  steps: list(messagePack<{ at: Date }>()),
  seen: map(utf8, none, { ttl: { afterMs: 100, time: 'event' } }),
  profile: value(json<{ city: string }>(), {
    indexes: { byCity: index(utf8, ({ city }: { city: string }) => city) },
  }),
}
const schema = defineState({ key: utf8, states, keyGroups: 8 })

suite('a checkpoint of typed state', () => {
  it('has the schema in its metadata, and is shown as values without its program', async () => {
    const storage = new MemoryCheckpointStorage()
    await using backend = new MemoryStateBackend()
    await using coordinator = new CheckpointCoordinator(backend, { storage })
    const store = await StateStore.open(backend, schema)
    const last = new Date(1_000)
    store.at(500)
    store.total.put('a', { count: 1, sum: 2 ** 40, last, open: true })
    store.level.put('a', 'high')
    store.pair.put('a', ['x', 1], undefined)
    store.steps.append('a', { at: last }, { at: last })
    store.seen.put('b', 'x')
    store.profile.put('b', { city: 'Rome' })
    const { id, schema: recorded } = await coordinator.createCheckpoint()
    expect(recorded).toEqual(store.schema)
    const archive = new CheckpointArchive(storage)
    expect((await archive.list())[0]?.schema).toEqual(store.schema)
    const shown: DecodedEntry[] = []
    for await (const entry of readCheckpoint(archive, id)) shown.push(entry)
    const byName = shown.sort((left, right) =>
      `${left.state}${left.place}`.localeCompare(`${right.state}${right.place}`),
    )
    expect(byName).toEqual([
      { state: 'level', kind: 'value', version: 1, key: 'a', value: 'high' },
      { state: 'pair', kind: 'map', version: 1, key: 'a', mapKey: ['x', 1], value: undefined },
      { state: 'profile', kind: 'value', version: 1, key: 'b', value: { city: 'Rome' } },
      { state: 'seen', kind: 'map', version: 1, key: 'b', mapKey: 'x', value: undefined, expiresAtMs: 600 },
      { state: 'steps', kind: 'list', version: 1, key: 'a', place: 0, value: { at: last } },
      { state: 'steps', kind: 'list', version: 1, key: 'a', place: 1, value: { at: last } },
      {
        state: 'total',
        kind: 'value',
        version: 1,
        key: 'a',
        value: { count: 1, sum: 2 ** 40, last, open: true },
      },
    ])
    await coordinator.shutdown()
  })

  it('is refused where it has no record, or one that is damaged', async () => {
    const entries = (record: Uint8Array | undefined) => ({
      get: async () => record,
      scan: async function* () {
        yield [Uint8Array.of(0, 0, 0, 1, 97, 0), Uint8Array.of(1)] as [Uint8Array, Uint8Array]
      },
    })
    const read = async (record: Uint8Array | undefined) => {
      for await (const _ of readCheckpoint(entries(record), 'chk')) continue
    }
    await expect(read(undefined)).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
    await expect(read(Buffer.from('{"format":1}'))).rejects.toMatchObject({ code: 'CORRUPTION' })
    await using backend = new MemoryStateBackend()
    await StateStore.open(backend, schema)
    const record = backend.getSync(SCHEMA_KEY) as Uint8Array
    await expect(read(record)).rejects.toMatchObject({ code: 'DESERIALIZATION_FAILED', message: /'total'/ })
    const unknownKey = Buffer.from(Buffer.from(record).toString().replace('"key":"utf8"', '"key":"utf7"'))
    await expect(read(unknownKey)).rejects.toMatchObject({ code: 'INCOMPATIBLE', message: /utf7/ })
  })

  it('is shown as bytes where only a program knows the codec', async () => {
    await using backend = new MemoryStateBackend()
    await StateStore.open(backend, schema)
    const record = Buffer.from(backend.getSync(SCHEMA_KEY) as Uint8Array).toString()
    const unknown = decodeSchema(Buffer.from(record.replace('"uint32"', '"uint31"')))
    const storedKey = Uint8Array.of(0, 0, 0, 1, 97, 0)
    expect(new EntryDecoder(unknown).decode(storedKey, Uint8Array.of(1, 2))).toEqual({
      state: 'total',
      kind: 'value',
      version: 1,
      key: 'a',
      value: Uint8Array.of(1, 2),
      isUndecoded: true,
    })
    const known = new EntryDecoder(unknown, () => int32 as never).decode(storedKey, Uint8Array.of(1, 0, 0, 0))
    expect(known).toMatchObject({ value: 1 })
  })

  it('is described in words', () => {
    expect(describe(schema)).toEqual({
      key: 'utf8',
      keyGroups: 8,
      states: [
        {
          name: 'total',
          kind: 'value',
          version: 1,
          codec: 'struct({ count: uint32, sum: int64, last: date, open: bool })',
          indexes: [],
        },
        { name: 'level', kind: 'value', version: 1, codec: "enumeration('low', 'high')", indexes: [] },
        {
          name: 'pair',
          kind: 'map',
          version: 1,
          codec: 'optional(utf8)',
          mapKey: 'tuple(utf8, uint32)',
          ttl: '60000 ms by processing time, from readWrite',
          indexes: [],
        },
        { name: 'steps', kind: 'list', version: 1, codec: 'msgpack', indexes: [] },
        {
          name: 'seen',
          kind: 'map',
          version: 1,
          codec: 'none',
          mapKey: 'utf8',
          ttl: '100 ms by event time, from write',
          indexes: [],
        },
        { name: 'profile', kind: 'value', version: 1, codec: 'json', indexes: ['byCity'] },
      ],
    })
  })
})

suite('the schema file', () => {
  it('is the same text for the same schema, and passes', () => {
    const file = schemaFile(schema)
    expect(schemaFile(defineState({ key: utf8, states, keyGroups: 8 }))).toBe(file)
    expect(() => checkSchema(schema, file)).not.toThrow()
  })

  it('fails where a change is incompatible, says what to write, and passes when a migration was written', () => {
    const file = schemaFile(schema)
    const changed = defineState({ key: utf8, keyGroups: 8, states: { ...states, level: value(utf8) } })
    expect(() => checkSchema(changed, file)).toThrow(/state 'level'.*migrations: \[from/)
    const migrated = defineState({
      key: utf8,
      keyGroups: 8,
      states: { ...states, level: value(utf8, { migrations: [from(enumeration('low', 'high'), String)] }) },
    })
    expect(() => checkSchema(migrated, file)).toThrow(/schemaFile\(schema\)/)
    expect(() => checkSchema(migrated, schemaFile(migrated))).not.toThrow()
  })

  it('that is none is CORRUPTION', () => {
    for (const file of ['', '{}', 'null']) {
      expect(() => checkSchema(schema, file)).toThrow(expect.objectContaining({ code: 'CORRUPTION' }))
    }
  })
})
