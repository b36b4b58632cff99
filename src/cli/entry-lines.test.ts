import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runs } from '../../test/support/long.js'
import { MemoryCheckpointStorage, MemoryStateBackend, type SyncStateBackend } from '../index.js'
import { arraySource, ascending, iterableSource, runJob } from '../job.js'
import { recordOf } from '../state/schema/describe.js'
import {
  bytes,
  date,
  decodeSchema,
  defineState,
  EntryEncoder,
  float64,
  index,
  int64,
  json,
  list,
  map,
  messagePack,
  SCHEMA_KEY,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from '../state.js'
import type { StoredEntry } from '../view/entries.js'
import { EntryDisplay } from '../view/shown-entry.js'
import { count, session, tumbling, windowed } from '../window.js'
import { EntryLines, type LineLimits, rawLine } from './entry-lines.js'
import { linesOf } from './lines.js'

/** Every entry as a line, and from the lines again: byte for byte the same. The lines. */
function roundTrip(backend: SyncStateBackend, limits?: LineLimits): { readonly [name: string]: unknown }[] {
  const record = backend.getSync(SCHEMA_KEY)
  const display = new EntryDisplay(record === undefined ? undefined : decodeSchema(record), 'auto')
  const [there, back] = [new EntryLines(limits), new EntryLines()]
  const entries = [...backend.scanSync()].map(([key, stored]) => ({
    key,
    value: stored,
    expiresAtMs: Infinity,
  }))
  const isSchema = ({ key }: StoredEntry) => Buffer.compare(key, SCHEMA_KEY) === 0
  const schemaFirst = [...entries.filter(isSchema), ...entries.filter((entry) => !isSchema(entry))]
  return schemaFirst.map((entry) => {
    const line = there.lineOf(entry, display.isTyped ? display.shown(entry) : undefined)
    expect(back.entryOf(line, 'line')).toEqual(entry)
    return JSON.parse(line)
  })
}

const schema = defineState({
  key: tuple(utf8, int64),
  states: {
    number: value(float64),
    when: value(date),
    raw: value(bytes),
    shape: value(struct({ count: uint32, at: int64 })),
    document: value(json()),
    packed: value(messagePack()),
    tags: map(utf8, uint32, { ttl: { afterMs: 3_600_000 } }),
    log: list(utf8),
    event: map(utf8, uint32, { ttl: { afterMs: 1_000, time: 'event' } }),
    found: value(struct({ size: uint32 }), {
      indexes: { bySize: index(uint32, ({ size }: { size: number }) => size) },
    }),
  },
})

const change = fc.oneof(
  fc.record({ state: fc.constant('number' as const), value: fc.double({ noNaN: true }) }),
  fc.record({ state: fc.constant('when' as const), value: fc.date({ noInvalidDate: true }) }),
  fc.record({ state: fc.constant('raw' as const), value: fc.uint8Array({ maxLength: 9 }) }),
  fc.record({
    state: fc.constant('shape' as const),
    value: fc.record({ count: fc.nat(), at: fc.maxSafeInteger() }),
  }),
  fc.record({ state: fc.constant('document' as const), value: fc.record({ inner: fc.jsonValue() }) }),
  fc.record({ state: fc.constant('packed' as const), value: fc.record({ inner: fc.jsonValue() }) }),
  fc.record({ state: fc.constant('tags' as const), value: fc.string() }),
  fc.record({ state: fc.constant('log' as const), value: fc.string() }),
  fc.record({ state: fc.constant('event' as const), value: fc.string() }),
  fc.record({ state: fc.constant('found' as const), value: fc.record({ size: fc.nat() }) }),
)

/** The events, and then none for ever. */
async function* thenNothing<Event>(events: readonly Event[]) {
  for (const [i, event] of events.entries()) yield [event, i + 1] as const
  await new Promise(() => {})
}

describe('lines of entries', () => {
  it('give back every byte of states of all kinds', async () => {
    const steps = fc.array(fc.tuple(fc.tuple(fc.string(), fc.maxSafeInteger()), change), { maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(steps, async (changes) => {
        const backend = new MemoryStateBackend()
        const store = await StateStore.open(backend, schema)
        store.advanceWatermark(1_000)
        for (const [key, step] of changes) {
          if (step.state === 'tags') store.tags.put(key, step.value, 1)
          else if (step.state === 'event') store.event.put(key, step.value, 1)
          else if (step.state === 'log') store.log.append(key, step.value)
          else store[step.state].put(key, step.value as never)
        }
        roundTrip(backend)
        await backend.close()
      }),
      { numRuns: runs(1_000, 10) },
    )
  })

  it('are typed where that comes back as the same bytes, and carry what is stored otherwise', async () => {
    const backend = new MemoryStateBackend()
    const store = await StateStore.open(backend, schema)
    const key: [string, number] = ['a', 1]
    store.number.put(key, 1.5)
    store.when.put(key, new Date(5))
    store.tags.put(key, 'tag', 1)
    store.log.append(key, 'x')
    store.found.put(key, { size: 3 })
    backend.putSync(new EntryEncoder(recordOf(schema)).keyOf({ state: 'shape', key }), Uint8Array.of(1))
    const lines = roundTrip(backend)
    await backend.close()
    expect(lines).toContainEqual({ state: 'number', key, value: 1.5 })
    expect(lines).toContainEqual({ state: 'when', key, value: '1970-01-01T00:00:00.005Z' })
    const stored = { key: expect.any(String), value: expect.any(String) }
    expect(lines).toContainEqual({ state: 'log', key, place: 0, value: 'x', stored })
    expect(lines).toContainEqual({ state: 'found', key, value: { size: 3 }, stored })
    const problem = expect.stringContaining("an entry of state 'shape'")
    expect(lines).toContainEqual({ ...stored, state: 'shape', problem, stored })
  })

  it('show no large value beside what is stored of it, and no line is longer than import takes', async () => {
    const backend = new MemoryStateBackend()
    const large = defineState({ key: utf8, states: { log: list(bytes), text: value(utf8) } })
    const store = await StateStore.open(backend, large)
    store.log.append('a', new Uint8Array(2_000))
    store.text.put('a', '\u0001'.repeat(1_000))
    store.text.put('k'.repeat(1_500), 'x'.repeat(6_000))
    const lines = (limits: LineLimits) =>
      roundTrip(backend, limits)
        .filter(({ state }) => state !== undefined)
        .map((line) => `${String(line['key']).length} ${Object.keys(line).join()}`)
        .sort()
    expect(lines({ lineCharacters: 50_000, shownCharacters: 3_000 })).toEqual([
      '1 state,key,place,stored',
      '1 state,key,value',
      '1500 state,key,value',
    ])
    expect(lines({ lineCharacters: 5_000, shownCharacters: 3_000 })).toEqual([
      '1 state,key,place,stored',
      '1 state,key,stored',
      '1500 state,key,stored',
    ])
    // A key that is large as well is not shown either.
    expect(lines({ lineCharacters: 5_000, shownCharacters: 1_000 })).toEqual([
      '1 state,key,place,stored',
      '1 state,key,stored',
    ])
    await backend.close()
  })

  it('give back open windows, timers and the record of a job', async () => {
    const clicks = [1, 5, 12, 13].map((timestampMs) => ({ user: `u${timestampMs % 3}`, timestampMs }))
    const base = {
      name: 'clicks',
      source: arraySource(clicks),
      key: ({ user }: { user: string }) => user,
      timestamp: ({ timestampMs }: { timestampMs: number }) => timestampMs,
      time: { watermarks: ascending() },
      checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 60_000 },
    }
    const [windowing, timing] = [new MemoryStateBackend(), new MemoryStateBackend()]
    const tens = windowed({
      windows: tumbling({ sizeMs: 10 }),
      aggregate: count(),
      allowedLatenessMs: 1e6,
      output: () => undefined,
    })
    const visits = windowed({ windows: session({ gapMs: 1e9 }), aggregate: count(), output: () => undefined })
    const open = await runJob({
      ...base,
      source: iterableSource({ from: () => thenNothing(clicks) }),
      schema: defineState({ key: utf8, states: {} }),
      windows: { tens, visits },
      backend: windowing,
    })
    await expect.poll(() => open.stats().events).toBe(clicks.length)
    await open.stop()
    const states = new Set(roundTrip(windowing).map(({ state }) => state))
    expect(states).toEqual(new Set([undefined, 'tens', 'visits']))
    const timed = await runJob({
      ...base,
      checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 60_000 },
      schema: defineState({ key: utf8, states: { total: value(uint32, { default: () => 0 }) } }),
      process: ({ timestampMs }, { state, timers }) => {
        state.total.update((total) => total + 1)
        timers.processing.set(timestampMs + 1e13, 'later')
      },
      onTimer: () => {},
      backend: timing,
    })
    await timed.finished
    expect(roundTrip(timing).map(({ state }) => state)).toContain('onTimer.processing')
  })

  it('of a state need the schema before them', () => {
    const lines = new EntryLines()
    expect(() => lines.entryOf('{"state":"number","key":["a",1],"value":1}', 'file:1')).toThrow(
      'file:1: the line of the schema',
    )
  })

  it.each([
    // As `scan --show hex --json` has it: the entry would live for ever.
    [
      { key: '0x61', value: '0x62', expiresAt: '2030-01-01T00:00:00Z' },
      'has "expiresAt", which is not one of',
    ],
    [{ state: 'number', key: ['a', 1], value: 1, expiresAtMs: 5 }, 'has "expiresAtMs", which is not one of'],
    [{ state: 'number', key: ['a', 1], value: 1, mapKey: 'b' }, 'only a map has a mapKey'],
  ])('with what an entry of their kind does not have are refused: %j', (line, reason) => {
    const lines = new EntryLines()
    const record = new Uint8Array(Buffer.from(JSON.stringify(recordOf(schema))))
    lines.entryOf(
      JSON.stringify(rawLine({ key: SCHEMA_KEY, value: record, expiresAtMs: Infinity })),
      'file:1',
    )
    expect(() => lines.entryOf(JSON.stringify(line), 'file:2')).toThrow(reason)
  })

  it.each(['12', '2001', '2030-01-01T00:00:00', '2030-02-31T00:00:00Z', 'June 1, 2030', '', 5])(
    'with the end of life %j, which is no time in ISO 8601, are refused',
    (expiresAt) => {
      const lines = new EntryLines()
      const record = new Uint8Array(Buffer.from(JSON.stringify(recordOf(schema))))
      lines.entryOf(
        JSON.stringify(rawLine({ key: SCHEMA_KEY, value: record, expiresAtMs: Infinity })),
        'file:1',
      )
      const line = JSON.stringify({ state: 'number', key: ['a', 1], value: 1, expiresAt })
      expect(() => lines.entryOf(line, 'file:2')).toThrow('file:2: expiresAt is to be a time')
    },
  )

  it('of a state that expires by event time have no end of life of their own', async () => {
    const backend = new MemoryStateBackend()
    const store = await StateStore.open(backend, schema)
    store.advanceWatermark(1_000)
    store.event.put(['a', 1], 'e', 1)
    const [, line] = roundTrip(backend)
    await backend.close()
    expect(line).toEqual({
      state: 'event',
      key: ['a', 1],
      mapKey: 'e',
      value: 1,
      expiresAt: expect.stringMatching(/^1970-01-01T00:00:0/),
    })
  })

  it.each([
    ['damaged', '{"format":'],
    ['of a later version', '{"format":99,"key":"utf8","states":[]}'],
  ])(
    'as they are stored come back beside a schema that is %s, which only those of states need',
    (_, record) => {
      const lines = new EntryLines()
      const schemaEntry = {
        key: SCHEMA_KEY,
        value: new Uint8Array(Buffer.from(record)),
        expiresAtMs: Infinity,
      }
      const other = { key: Uint8Array.of(1), value: Uint8Array.of(2), expiresAtMs: 5 }
      for (const entry of [schemaEntry, other])
        expect(lines.entryOf(JSON.stringify(rawLine(entry)), 'file')).toEqual(entry)
      const stored = JSON.stringify({ state: 'number', key: 'a', value: 1, stored: rawLine(other) })
      expect(lines.entryOf(stored, 'file:3')).toEqual(other)
      expect(() => lines.entryOf('{"state":"number","key":"a","value":1}', 'file:4')).toThrow('schema')
    },
  )
})

describe('lines', () => {
  const collected = async (pieces: readonly (string | Uint8Array)[], max?: number) => {
    const lines: string[] = []
    async function* given() {
      yield* pieces
    }
    for await (const line of linesOf(given(), 'file', max)) lines.push(line)
    return lines
  }

  it('end with a line feed, with a carriage return before it or not, wherever pieces end', async () => {
    const text = Buffer.from('ä\r\n\nsecond\nlast €')
    const bytewise = [...text].map((byte) => Uint8Array.of(byte))
    for (const pieces of [[text], bytewise])
      expect(await collected(pieces)).toEqual(['ä', '', 'second', 'last €'])
  })

  it('that have no end are refused, and not gathered', async () => {
    const pieces = Array.from({ length: 100 }, () => 'x'.repeat(10))
    await expect(collected(['first\n', ...pieces], 50)).rejects.toThrow('file:2 is longer than any line')
  })
})
