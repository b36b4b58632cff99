import type { SharedSnapshot } from '../../backend/shared-snapshot.js'
import type {
  InPlaceBackend,
  Replaceable,
  SnapshotSource,
  StateBackend,
  SyncStateBackend,
} from '../../backend/state-backend.js'
import type { SnapshotOptions, StateSnapshot, SyncStateSnapshot } from '../../backend/state-snapshot.js'
import type { Clock } from '../../base/clock.js'
import type { ManualClock } from '../manual-clock.js'
import type { ReadElsewhere } from './reading-threads.js'

/**
 * What a case needs beyond the bare contract, and an engine may declare that it cannot do:
 *
 * - `sync`: the faces without promises (`SyncStateBackend`);
 * - `clock`: taking its time from an injected clock. Without it, nothing that waits is tested;
 * - `ttl`: times to live, the default and that of a put;
 * - `sweep`: removing expired entries although nobody reads, driven by the injected clock's timers;
 * - `maxBytes`: a limit to what it holds;
 * - `snapshots`: `SnapshotSource`;
 * - `instantScans`: scans that see one instant, not one for each page;
 * - `replaceAll`: `Replaceable`;
 * - `largeValues`: values beyond 16 MiB;
 * - `changes`: telling what has changed since a snapshot;
 * - `share`: snapshots that another thread can read;
 * - `inPlace`: `InPlaceBackend`.
 */
export const CAPABILITIES = [
  'sync',
  'clock',
  'ttl',
  'sweep',
  'maxBytes',
  'snapshots',
  'instantScans',
  'replaceAll',
  'largeValues',
  'changes',
  'share',
  'inPlace',
] as const

/** What an engine may do beyond `StateBackend`: cases that need what it was not declared to have are skipped, and say so. */
export type ConformanceCapability = (typeof CAPABILITIES)[number]

/** What the suite asks of the backend it opens. */
export interface ConformanceOpenOptions {
  /** Where the backend takes its time from. */
  readonly clock?: Clock
  /** How long entries live that are put without a `ttlMs` of their own, in milliseconds. */
  readonly ttlMs?: number
  /** What the backend may hold, in bytes: beyond, `BACKEND_FULL`. */
  readonly maxBytes?: number
}

/**
 * The backend that a case works on. Its type has everything: a case says in `needs` what it uses beyond `StateBackend`, and is
 * skipped where that is missing.
 */
export type TestedBackend = StateBackend & SnapshotSource & Replaceable

/** What a case has at hand. Backends and snapshots taken from here are closed when the case is over. */
export interface CaseContext {
  /** Moved by the case alone; every backend it opens takes its time from it. */
  readonly clock: ManualClock
  /** A `maxBytes` that the engine can be opened with. */
  readonly maxBytes: number
  /** Opens an empty backend; without options it may be one that another case has used, so that its counters go on. */
  open(options?: { readonly ttlMs?: number; readonly maxBytes?: number }): Promise<TestedBackend>
  /** Opens one that nobody has used. */
  openNew(): Promise<TestedBackend>
  /** Takes a snapshot. */
  snapshotOf(backend: SnapshotSource, options?: SnapshotOptions): Promise<StateSnapshot>
  /** A snapshot, or, of an engine without them, the backend itself: for cases that are about reads. */
  readerOf(backend: TestedBackend): Promise<StateBackend | StateSnapshot>
  /** Whether the engine was declared to have a capability. */
  can(capability: ConformanceCapability): boolean
  /** Its synchronous calls, of an engine that has them (`sync`). */
  syncOf(backend: TestedBackend): SyncStateBackend
  /** Its calls in place, of an engine that has them (`inPlace`). */
  inPlaceOf(backend: TestedBackend): InPlaceBackend
  /** Takes one in this very step, of an engine that can (`sync`). */
  snapshotNow(backend: TestedBackend, options?: SnapshotOptions): SyncStateSnapshot
  /** Has another thread read what a snapshot lends it, block by block (`share`). */
  readElsewhere(shared: SharedSnapshot): Promise<ReadElsewhere>
}

export interface ConformanceCase {
  /** A promise, as a sentence about the backend: 'keeps …', 'rejects …'. */
  readonly title: string
  readonly needs: readonly ConformanceCapability[]
  readonly run: (context: CaseContext) => Promise<void>
}

export interface ConformanceTopic {
  readonly title: string
  readonly cases: readonly ConformanceCase[]
}

/** Makes a case of a title and a body. */
export function promise(
  title: string,
  run: (context: CaseContext) => Promise<void>,
  needs: readonly ConformanceCapability[] = [],
): ConformanceCase {
  return { title, needs, run }
}
