// Where the states of a store over a local engine read and write: the engine itself, or the batch that is open.

import {
  canStage,
  isInPlaceBackend,
  isUnsorted,
  type KeyFilter,
  type StagedWrite,
  type SyncStateBackend,
} from '../../backend/state-backend.js'
import type { SyncStateSnapshot } from '../../backend/state-snapshot.js'
import type { Entry, PutOptions, ScanRange } from '../../backend/types.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { StateError } from '../../base/errors.js'
import { isThenable } from '../../base/shapes.js'
import { nextTurn, runThrough, SLICE_MS, type SlicedWork } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import type { ByteWriter } from '../codec/bytes.js'
import { CopiedEntries, InPlaceEntries, type ReadWatch, WatchedEntries } from './backend-entries.js'
import type { AssembledKey, Entries, ScannableEntries } from './entries.js'
import { type Host, mergedAtOnce, type PartlyAtHand, rangeOfState, type ScannedEntry } from './host.js'
import { Overlay } from './overlay.js'

/** So many operations of a staged write are handed over at once at most: that takes about as long as to make them. */
const STAGED_AT_ONCE = 1_024

export class LocalHost implements Host {
  readonly later = undefined
  entries: Entries
  readonly #backend: SyncStateBackend
  readonly #base: ScannableEntries
  readonly #watch: ReadWatch | undefined
  readonly #collected: CollectedEntries
  #overlay: Overlay | undefined

  /** @param watch where another process writes, and this store is only read. */
  constructor(backend: SyncStateBackend, watch?: ReadWatch) {
    this.#backend = backend
    this.#watch = watch
    if (watch !== undefined) this.#base = new WatchedEntries(backend, watch)
    else if (isInPlaceBackend(backend)) this.#base = new InPlaceEntries(backend, new Slot())
    else this.#base = new CopiedEntries(backend)
    this.#collected = new CollectedEntries(this.#base)
    this.entries = this.#base
  }

  /**
   * Runs `body`; what it writes is applied as one step when it returns, and not at all when it throws. A batch in a batch is a
   * part of the outer one.
   */
  batch<Result>(body: () => Result | PromiseLike<Result>): Result {
    if (this.#overlay !== undefined) return body() as Result
    const overlay = new Overlay(this.#base)
    this.#overlay = overlay
    this.entries = overlay
    try {
      const result = body()
      if (isThenable(result)) {
        // Whatever it goes on to do is not a part of this batch, and its failure is reported here.
        ;(result as PromiseLike<unknown>).then(undefined, () => {})
        throw new StateError('TRANSACTION_FAILED', {
          operation: 'batch',
          reason:
            'its function returned a promise; over a synchronous backend it must be done when it returns',
        })
      }
      this.#apply(overlay)
      return result as Result
    } finally {
      this.#overlay = undefined
      this.entries = this.#base
    }
  }

  refresh(): void {
    this.#watch?.beforeRead()
    this.#watch?.afterRead()
  }

  isAtHand(from: Uint8Array, until: Uint8Array): boolean {
    const { isAtHand } = this.#backend as Partial<PartlyAtHand>
    return isAtHand === undefined || isAtHand.call(this.#backend, from, until)
  }

  unsorted(isWanted: KeyFilter): IterableIterator<Entry | undefined> | undefined {
    const backend: SyncStateBackend = this.#backend
    const isPlain = this.#overlay === undefined && this.#watch === undefined
    return isPlain && isUnsorted(backend) ? backend.unsortedSync(isWanted) : undefined
  }

  get isInBatch(): boolean {
    return this.#overlay !== undefined
  }

  together(writes: () => void): void {
    if (this.entries !== this.#base) {
      writes()
      return
    }
    this.entries = this.#collected
    try {
      writes()
      this.#collected.write(this.#backend)
    } finally {
      this.#collected.clear()
      this.entries = this.#base
    }
  }

  async inSlices(work: SlicedWork<void>): Promise<void> {
    const backend: SyncStateBackend = this.#backend
    if (!canStage(backend)) {
      this.together(() => runThrough(work))
      return
    }
    const stage = backend.stage()
    try {
      while (!this.#fill(stage, work)) await nextTurn()
      stage.apply()
    } finally {
      stage.drop()
    }
  }

  /** One slice of a write; whether it was the last one. */
  #fill(stage: StagedWrite, work: SlicedWork<void>): boolean {
    const collected = this.#collected
    const endMs = performance.now() + SLICE_MS
    let isDone = false
    this.entries = collected
    try {
      do isDone = work.next().done === true
      while (!isDone && collected.size < STAGED_AT_ONCE && performance.now() < endMs)
      collected.addTo(stage)
    } finally {
      collected.clear()
      this.entries = this.#base
    }
    return isDone
  }

  scan(ranges: readonly ScanRange[], formerIds: readonly number[] = []): IterableIterator<ScannedEntry> {
    return new ScanFromFirstStep(() => {
      const [range] = ranges
      const isSimple = ranges.length === 1 && formerIds.length === 0 && this.#overlay === undefined
      // The usual scan is the engine's own: each generator in between costs as much as the step of an entry.
      if (range !== undefined && isSimple && this.#watch === undefined) return this.#base.scan(range)
      return this.#scan(ranges, formerIds)
    })
  }

  *#scan(ranges: readonly ScanRange[], formerIds: readonly number[]): IterableIterator<ScannedEntry> {
    const overlay = this.#overlay
    this.#watch?.beforeRead()
    const snapshot = this.#backend.snapshotSync()
    try {
      // What was recorded until now was so at the snapshot's instant.
      this.#watch?.afterRead()
      for (const range of ranges) {
        const own = scanned(snapshot, overlay, range)
        if (formerIds.length === 0) {
          yield* own
          continue
        }
        const formers = formerIds.map((id) => scanned(snapshot, overlay, rangeOfState(range, id)))
        yield* mergedAtOnce([own, ...formers], range.reverse ?? false)
      }
    } finally {
      snapshot.closeSync()
    }
  }

  #apply(overlay: Overlay): void {
    if (overlay.isEmpty) return
    const batch = new WriteBatch()
    overlay.addTo(batch)
    this.#backend.writeSync(batch)
  }
}

/** A scan that is opened by its first step: what it shows is of that instant, and a scan that nobody steps holds nothing. */
class ScanFromFirstStep implements IterableIterator<ScannedEntry> {
  readonly #open: () => Iterator<ScannedEntry>
  #opened: Iterator<ScannedEntry> | undefined
  #isOver = false

  constructor(open: () => Iterator<ScannedEntry>) {
    this.#open = open
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<ScannedEntry, undefined> {
    if (this.#isOver) return { done: true, value: undefined }
    this.#opened ??= this.#open()
    return this.#opened.next() as IteratorResult<ScannedEntry, undefined>
  }

  return(): IteratorResult<ScannedEntry, undefined> {
    this.#isOver = true
    this.#opened?.return?.()
    return { done: true, value: undefined }
  }
}

/** Writes that are collected and applied as one step. What is read meanwhile is what was there before. */
class CollectedEntries implements Entries {
  readonly #base: ScannableEntries
  readonly #batch = new WriteBatch()
  /** The value that is being written. */
  readonly #value: { bytes: Uint8Array; offset: number; length: number } = {
    bytes: new Uint8Array(0),
    offset: 0,
    length: 0,
  }

  constructor(base: ScannableEntries) {
    this.#base = base
  }

  peek(key: AssembledKey, slot: Slot): boolean {
    return this.#base.peek(key, slot)
  }

  list(from: Uint8Array, until: Uint8Array): Iterable<Entry> {
    return this.#base.list(from, until)
  }

  put(key: AssembledKey, value: ByteWriter, options: PutOptions): void {
    const written = this.#value
    written.bytes = value.bytes
    written.length = value.length
    this.#batch.put(key.stretch, written, options)
  }

  remove(key: AssembledKey): void {
    this.#batch.delete(key.stretch)
  }

  removeRange(gte: Uint8Array, lt: Uint8Array): void {
    this.#batch.deleteRange({ gte, lt })
  }

  get size(): number {
    return this.#batch.size
  }

  addTo(stage: StagedWrite): void {
    if (this.#batch.size > 0) stage.add(this.#batch)
  }

  write(backend: SyncStateBackend): void {
    if (this.#batch.size > 0) backend.writeSync(this.#batch)
  }

  clear(): void {
    this.#batch.clear()
  }
}

/** What a range holds at an instant, with the writes of the open batch. */
function scanned(
  snapshot: SyncStateSnapshot,
  overlay: Overlay | undefined,
  range: ScanRange,
): IterableIterator<Entry> {
  return overlay === undefined ? snapshot.scanSync(range) : merged(snapshot, overlay, range)
}

function* merged(
  snapshot: SyncStateSnapshot,
  overlay: Overlay,
  range: ScanRange,
): Generator<Entry, void, undefined> {
  const written = overlay.in(range)
  for (const entry of snapshot.scanSync(range)) yield* written.upTo(entry)
  yield* written.rest()
}
