// An event whose key is too long for something that is stored under it is a bad event, of which nothing is left; any shorter one is not.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RemoteServer, ToyBackend } from '../../test/support/remote-engine.js'
import type { StateBackend } from '../backend/state-backend.js'
import { MAX_KEY_BYTES } from '../base/limits.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { json } from '../state/codec/json.js'
import { float64 } from '../state/codec/numbers.js'
import { encodeKey } from '../state/key/stored-key.js'
import { index, list, map, reducing, type StateDefinition, value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { count } from '../window/aggregate/ready-made.js'
import { hopping, tumbling } from '../window/assign/assigner.js'
import { countWindows, globalWindows, session, sliding } from '../window/assign/by-key.js'
import { deduplication } from '../window/join/deduplication.js'
import { intervalJoin } from '../window/join/interval-join.js'
import { versionedTable } from '../window/join/versioned-table.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { windowed } from '../window/windowed.js'
import type { BadEvent } from './job-options.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { iterableSource } from './source/iterable-source.js'

/** The prefix of a stored key is 4 bytes, and text as a key ends with 2. */
const TEXT_BYTES = MAX_KEY_BYTES - 4 - 2
/** The longest companion adds the time that an event expires at, a map key of as many bytes as the name of a timer, and so on. */
const lengths = Array.from({ length: 60 }, (_, i) => TEXT_BYTES - 50 + i)

interface Event {
  readonly key: string
  readonly at: number
}

const events: readonly Event[] = lengths.flatMap((length, i) => [
  { key: 'a', at: 10 * i },
  { key: 'k'.repeat(length), at: 10 * i + 1 },
  { key: 'b', at: 10 * i + 2 },
])

const joined = intervalJoin({ name: 'join', left: float64, right: float64, fromMs: 0, toMs: 1_000 })
const once = deduplication({ name: 'once', id: float64 as never, withinMs: 1_000, time: 'event' })
const table = versionedTable({ name: 'table', row: float64 })
const byNumber = { byNumber: index(utf8, (n: number) => `number ${n % 7}`) }
const expiring = { ttl: { afterMs: 50, time: 'event' } } as const

/** What the states below offer, whatever their kind. */
interface AnyState {
  put(...given: unknown[]): void
  add(more: number): void
  append(...elements: number[]): void
}
type Setter = { set(timestampMs: number, name?: string): void }
interface AnyContext {
  readonly state: { readonly first: AnyState; readonly s: AnyState }
  readonly timers: { readonly event: Setter; readonly processing: Setter }
}
type Use = (state: AnyContext['state'], event: Event, context: AnyContext) => void

/** Each with what an event does to it. */
const uses: { readonly [kind: string]: readonly [Record<string, StateDefinition>, Use] } = {
  value: [{ s: value(float64) }, ({ s }, { at }) => s.put(at)],
  'indexed value': [{ s: value(float64, { indexes: byNumber }) }, ({ s }, { at }) => s.put(at)],
  'value that expires': [{ s: value(float64, expiring) }, ({ s }, { at }) => s.put(at)],
  'indexed value that expires': [
    { s: value(float64, { ...expiring, indexes: byNumber }) },
    ({ s }, { at }) => s.put(at),
  ],
  reducing: [{ s: reducing(float64, (sum, more) => sum + more, expiring) }, ({ s }, { at }) => s.add(at)],
  list: [{ s: list(float64) }, ({ s }, { at }) => s.append(at, at + 1)],
  'list that expires': [{ s: list(float64, expiring) }, ({ s }, { at }) => s.append(at, at + 1)],
  map: [{ s: map(utf8, float64) }, ({ s }, { at }) => s.put(`part ${at % 3}`, at)],
  'map that expires': [{ s: map(utf8, float64, expiring) }, ({ s }, { at }) => s.put('part', at)],
  'indexed map': [{ s: map(utf8, float64, { indexes: byNumber }) }, ({ s }, { at }) => s.put('part', at)],
  'timer of event time': [{}, (_, { at }, { timers }) => timers.event.set(at + 1_000_000, 'name')],
  'timer of processing time': [{}, (_, { at }, { timers }) => timers.processing.set(1e14 + at)],
  join: [joined.states as never, (state, { at }) => joined.left(state, at, at, () => {})],
  deduplication: [once.states as never, (state, { at }) => void once.isFirst(state, at as never)],
  'versioned table': [
    table.states as never,
    (state, { at }) => table.put(state, at, { timestampMs: at, watermarkMs: at }),
  ],
}

const counted = { aggregate: count() }
const windows = {
  tumbling: windowed({ windows: tumbling({ sizeMs: 1e6 }), ...counted }),
  hopping: windowed({ windows: hopping({ sizeMs: 1e6, slideMs: 1e5 }), ...counted }),
  sessions: windowed({ windows: session({ gapMs: 1e6 }), ...counted }),
  'sessions that are late': windowed({ windows: session({ gapMs: 1e6 }), ...counted, allowedLatenessMs: 5 }),
  'kept events': windowed({ windows: tumbling({ sizeMs: 1e6 }), events: json<Event>(), ...counted }),
  sliding: windowed({ windows: sliding({ sizeMs: 1e6 }), events: json<Event>(), ...counted }),
  global: windowed({ windows: globalWindows(), ...counted, early: { everyEvents: 1_000 } }),
  counted: windowed({ windows: countWindows({ size: 1_000 }), ...counted }),
}

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-long-keys-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

let stores = 0
const engines: { readonly [name: string]: () => Promise<StateBackend> } = {
  memory: async () => new MemoryStateBackend(),
  LMDB: () => LmdbStateBackend.open({ path: join(folder, `${++stores}`) }),
  'an asynchronous engine': async () => new ToyBackend(new RemoteServer()),
}

interface Ran {
  /** The keys of bad events, and what each was told as. */
  readonly bad: readonly { readonly key: string; readonly code: string }[]
  /** What the store has at the end, but for the job's own. */
  readonly stored: readonly string[]
}

/** A job that has done with these events, and was stopped: its windows are open. */
async function run(
  engine: () => Promise<StateBackend>,
  given: readonly Event[],
  parts: object,
): Promise<Ran> {
  await using backend = await engine()
  const bad: { key: string; code: string }[] = []
  const none = new Promise<never>(() => {})
  const job = await runJob({
    name: 'long',
    source: iterableSource<Event>({
      from: async function* () {
        for (const [i, event] of given.entries()) yield [event, i + 1]
        await none
      },
    }),
    key: ({ key }: Event) => key,
    timestamp: ({ at }: Event) => at,
    time: { watermarks: ascending(), maxAheadMs: Infinity },
    onBadEvent: ({ event, error }: BadEvent<Event>) => {
      bad.push({ key: event.key, code: (error as { readonly code?: string }).code ?? `${error}` })
    },
    backend,
    sink: functionSink({ write: async () => {} } as never),
    ...(backend instanceof MemoryStateBackend
      ? { checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 } }
      : {}),
    ...parts,
  } as never)
  const isDone = () => job.stats().events + job.stats().badEvents === given.length
  while (!isDone() && job.health().state === 'running') await new Promise((done) => setTimeout(done, 1))
  await job.stop()
  const stored: string[] = []
  for await (const [key, held] of backend.scan()) {
    const isOwn = key[0] === 0xff && key[1] === 0xff
    if (!isOwn) stored.push(`${Buffer.from(key).toString('latin1')}=${Buffer.from(held).toString('latin1')}`)
  }
  return { bad, stored }
}

/** What is bad is told as such, is what is longest, and has left nothing. */
async function check(engine: () => Promise<StateBackend>, parts: object): Promise<void> {
  const { bad, stored } = await run(engine, events, parts)
  expect(bad.length).toBeGreaterThan(0)
  expect(bad.length).toBeLessThan(lengths.length)
  expect(bad.map(({ code }) => code)).toEqual(bad.map(() => 'SERIALIZATION_FAILED'))
  expect(bad.map(({ key }) => key.length)).toEqual(lengths.slice(-bad.length))
  const isBad = new Set(bad.map(({ key }) => key))
  const others = await run(
    engine,
    events.filter(({ key }) => !isBad.has(key)),
    parts,
  )
  expect(others.bad).toEqual([])
  expect(stored).toEqual(others.stored)
}

describe.each(Object.entries(engines))('J7: on %s a key is too long', (engineName, engine) => {
  // Jobs on asynchronous engines take no states that live by event time.
  const isFar = engineName.startsWith('an asynchronous')
  const some = Object.entries(uses).filter(([kind]) => !(isFar && /expires|reducing|join|dedup/.test(kind)))

  it.each(some)('for a %s', async (kind, [states, use]) => {
    const schema = defineState({ key: utf8, keyGroups: 4, states: { first: list(float64), ...states } })
    await check(engine, {
      schema,
      process: (event: Event, context: AnyContext) => {
        // A bad event is undone with what it has written before.
        if (event.key.length < TEXT_BYTES - 8) context.state.first.append(1)
        use(context.state, event, context)
      },
      ...(kind.startsWith('timer') ? { onTimer: () => {} } : {}),
    })
  })

  it.each(Object.entries(windows))('for windows: %s', async (_name, one) => {
    await check(engine, { schema: defineState({ key: utf8, keyGroups: 4, states: {} }), windows: { w: one } })
  })

  it('for windows, encoded before', async () => {
    await check(engine, {
      schema: defineState({ key: utf8, keyGroups: 4, states: {} }),
      key: ({ key }: Event) => encodeKey(utf8, key, 4),
      windows: { w: windows['kept events'] },
    })
  })

  it('for one of several windows', async () => {
    await check(engine, { schema: defineState({ key: utf8, keyGroups: 4, states: {} }), windows })
  })
})
