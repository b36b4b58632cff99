import { isDeepStrictEqual } from 'node:util'
import { expect } from 'vitest'
import type { EntryBlock } from '../../src/backend/entry-block.js'
import {
  isSyncBackend,
  type Replaceable,
  type SnapshotSource,
  type StateBackend,
} from '../../src/backend/state-backend.js'
import type { StateSnapshot } from '../../src/backend/state-snapshot.js'
import type { BackendStats, Entry } from '../../src/backend/types.js'
import { isStateError, type StateErrorCode } from '../../src/base/errors.js'
import { SyncFaces } from '../../src/testing/conformance/sync-faces.js'
import type { ManualClock } from '../../src/testing/manual-clock.js'
import type { ModelStateBackend } from '../../src/testing/model-state-backend.js'

/** What the commands use. */
export type ModeledBackend = StateBackend & SnapshotSource & Replaceable

/** The same thing of both sides: an open snapshot, a running scan. */
export interface Pair<T> {
  readonly model: T
  readonly engine: T
}

/** The engine under test and the model beside it, on one clock, and what is open on both. */
export interface World {
  /** Both are others after a restart. */
  model: ModelStateBackend
  engine: ModeledBackend
  readonly clock: ManualClock
  /** The time to live of entries whose put names none. */
  readonly ttlMs: number | undefined
  /** Opens another, empty engine of the same kind. */
  readonly openFresh: () => Promise<ModeledBackend>
  /** Makes the engine remove everything that is due. */
  readonly sweep: (engine: ModeledBackend) => unknown
  readonly snapshots: Pair<StateSnapshot>[]
  readonly scans: Pair<AsyncIterator<Entry>>[]
  /** What the engine gave as blocks of a snapshot, and the time of that snapshot. */
  saved: { readonly blocks: readonly EntryBlock[]; readonly clockMs: number } | undefined
  /** How far the engine's `expired` is ahead of the model's because of what a restore brought along expired. */
  expiredAhead: number
}

/** What a call came to: its value in a form that compares, or the code of its error. */
type Outcome = { readonly value: unknown } | { readonly code: StateErrorCode }

/** Makes the same call on both sides and compares what comes of it. */
export async function onBoth(
  world: World,
  call: (backend: ModeledBackend) => unknown,
  normalise: (outcome: Outcome) => Outcome = (outcome) => outcome,
): Promise<void> {
  const actual = normalise(await outcomeOf(() => call(world.engine)))
  // An engine that is full has changed nothing, and the model, which is never full, is left alone.
  if ('code' in actual && actual.code === 'BACKEND_FULL') return
  const expected = normalise(await outcomeOf(() => call(world.model)))
  same(actual, expected)
}

/** Checks that two plain values are equal. The runner's own check is slow, and needed only for its message. */
export function same(actual: unknown, expected: unknown, what?: string): void {
  if (!isDeepStrictEqual(plain(actual), plain(expected))) expect(plain(actual), what).toEqual(plain(expected))
}

/** What a call comes to. Errors that are not of the contract pass through: they are failures of the test. */
export async function outcomeOf(call: () => unknown): Promise<Outcome> {
  try {
    return { value: plain(await call()) }
  } catch (error) {
    if (!isStateError(error)) throw error
    return { code: error.code }
  }
}

/** Bytes as hexadecimal texts, so that differences can be read; everything else as it is. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  return Array.isArray(value) ? value.map(plain) : value
}

/** The same calls without promises, where the engine has them. */
export function syncOf(backend: ModeledBackend): ModeledBackend {
  return isSyncBackend(backend) ? new SyncFaces(backend) : backend
}

/** Every entry of a backend or snapshot, one way and the other, and how many there are. */
export async function wholeContent(from: ModeledBackend | StateSnapshot): Promise<unknown> {
  const forth: Entry[] = []
  for await (const entry of from.scan()) forth.push(entry)
  const back: Entry[] = []
  for await (const entry of from.scan({ reverse: true })) back.push(entry)
  same(back.reverse(), forth, 'a scan in reverse')
  same(await from.count(), forth.length, 'count')
  return forth
}

const EXACT = [
  'gets',
  'hits',
  'misses',
  'puts',
  'deletes',
  'bytesWritten',
  'flushes',
  'openSnapshots',
] as const satisfies readonly (keyof BackendStats)[]

/** Compares what statistics must agree on at any time. */
export function compareStats({ model, engine }: World): void {
  const expected = model.stats()
  const actual = engine.stats()
  for (const name of EXACT) same(actual[name], expected[name], name)
}

/** Removes what is due on both sides, after which they hold and have counted the same. */
export async function sweepBoth(world: World): Promise<void> {
  const { model, engine, expiredAhead } = world
  model.sweep()
  await world.sweep(engine)
  expect(engine.stats().entries, 'entries').toBe(model.stats().entries)
  expect(engine.stats().expired - expiredAhead, 'expired').toBe(model.stats().expired)
}
