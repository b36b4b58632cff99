// A snapshot of a store in the thread that it was shared with.

import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../../backend/block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../../backend/entry-block.js'
import { EVERYTHING } from '../../backend/scan-range.js'
import type { SharedSnapshotReader } from '../../backend/shared-snapshot.js'
import type { BlockOptions } from '../../backend/types.js'
import { throwIfAborted } from '../../base/abort.js'
import { compareBytes } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import { SharedLogReader } from '../../log/share/shared-log-reader.js'
import { MergedScan } from '../buffer/merged-scan.js'
import { type Cursor, RunCursor, runOver, type SortedRun, StoreCursor, sortedKeys } from '../store/cursors.js'
import type { DeletedRanges } from '../store/deleted-ranges.js'
import { OpenStore } from '../store/open-store.js'
import type { StoreView } from '../store/store-view.js'
import { ChangePacker } from './change-packer.js'
import type { LentSnapshotData, SharedStore } from './lent-snapshot.js'
import { passGate } from './reader-gate.js'

/** Entries between two looks at whether the snapshot is still open. */
const TURN_ENTRIES = 1_024

/** Takes what `share` gave, in another thread (or in the same one). Rejects as {@link OpenSharedSnapshot} says. */
export async function openSharedSnapshot(data: unknown): Promise<SharedSnapshotReader> {
  const { active, frozen, store, deleted, changedKeys, takenAtMs } = data as LentSnapshotData
  const reader = await SharedLogReader.open(active)
  const check = () => reader.assertOpen()
  let lent: LentStore | undefined
  try {
    lent = store === undefined ? undefined : await LentStore.open(store)
    const { visible } = await reader.addresses()
    await reader.run(reader.order.sort(visible))
    const runs = [runOver(reader.entries, visible)]
    for (const segments of frozen) runs.push(await sortedKeys(segments, check))
    const changed = changedKeys === undefined ? undefined : await sortedKeys(changedKeys, check)
    return new LentSnapshotReader(reader, lent, { runs, deleted, changed, takenAtMs })
  } catch (error) {
    const failure = failureOf(reader, error)
    reader.end()
    await lent?.close()
    throw failure
  }
}

/** Whose snapshot was closed may find its store closed or gone: `CLOSED` says why. */
function failureOf(reader: SharedLogReader, error: unknown): unknown {
  try {
    reader.assertOpen()
    return error
  } catch (closed) {
    return closed
  }
}

/** The store of another thread, in a read transaction of this one. */
class LentStore {
  readonly view: StoreView
  readonly #store: OpenStore

  /** Where it throws, nothing of it stays open. */
  static async open({ dataPath, generation, gate }: SharedStore): Promise<LentStore> {
    let store: OpenStore
    try {
      // Opened for reading only, nothing has to wait for the thread that writes.
      store = new OpenStore(dataPath, { readOnly: true })
    } catch (error) {
      // Who comes too late may find a file that another one has replaced since.
      throw passGate(gate) ? error : tooLate()
    }
    try {
      const lent = new LentStore(store, store.view(generation))
      if (passGate(gate)) return lent
      lent.view.release()
    } catch (error) {
      await store.close()
      throw error
    }
    await store.close()
    throw tooLate()
  }

  private constructor(store: OpenStore, view: StoreView) {
    this.#store = store
    this.view = view
  }

  async close(): Promise<void> {
    this.view.release()
    await this.#store.close()
  }
}

function tooLate(): StateError<'NOT_INITIALIZED'> {
  return new StateError('NOT_INITIALIZED', {
    component: 'a reader that did not begin in time',
    operation: 'read the snapshot',
  })
}

interface LentContent {
  /** Of the write buffer, newest first. */
  readonly runs: readonly SortedRun[]
  /** What the store shows of these ranges does not count. */
  readonly deleted: DeletedRanges
  /** Only these keys, and those of the write buffer; `undefined`: all. */
  readonly changed: SortedRun | undefined
  readonly takenAtMs: number
}

class LentSnapshotReader implements SharedSnapshotReader {
  readonly #reader: SharedLogReader
  readonly #lent: LentStore | undefined
  readonly #runs: readonly SortedRun[]
  readonly #deleted: DeletedRanges
  readonly #changed: SortedRun | undefined
  readonly #takenAtMs: number
  /** Known once the blocks were read to their end. */
  #count: number | undefined
  #builder: EntryBlockBuilder | undefined
  #closed = false

  constructor(
    reader: SharedLogReader,
    lent: LentStore | undefined,
    { runs, deleted, changed, takenAtMs }: LentContent,
  ) {
    this.#reader = reader
    this.#lent = lent
    this.#runs = runs
    this.#deleted = deleted
    this.#changed = changed
    this.#takenAtMs = takenAtMs
  }

  async count(): Promise<number> {
    this.#reader.assertOpen()
    if (this.#count !== undefined) return this.#count
    if (this.#deleted.length > 0) return await this.#countAll()
    const buffered = this.#merge(this.#bufferCursors(), true)
    let count = await this.#countInStore()
    while (buffered.next()) count += this.#addedBy(buffered)
    return count
  }

  async *blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    validateBlockOptions(options)
    const { targetBytes = DEFAULT_BLOCK_BYTES, signal } = options ?? {}
    const check = () => {
      this.#reader.assertOpen()
      throwIfAborted(signal, 'blocks')
    }
    check()
    const builder = new EntryBlockBuilder(targetBytes)
    this.#builder = builder
    const changed = this.#changed
    this.#count =
      changed === undefined
        ? yield* this.#packAll(builder, check)
        : yield* this.#packChanges(changed, builder, check)
    if (builder.entryCount > 0) yield builder.takeWithMemory()
  }

  /** Packs everything, but for what the builder still has at the end; returns how many entries there are. */
  async *#packAll(
    builder: EntryBlockBuilder,
    check: () => void,
  ): AsyncGenerator<EntryBlock, number, undefined> {
    const { store, buffered, scan } = this.#everything()
    let count = 0
    let sinceTurn = 0
    for (;;) {
      // What the store has alone, up to the first key that the buffer has a say in, goes in as it was read; then comes that key.
      const alone = store?.packBelow(smallestKey(buffered), builder, this.#takenAtMs, TURN_ENTRIES) ?? 0
      count += alone
      sinceTurn += alone + 1
      if (builder.full) {
        yield builder.takeWithMemory()
        check()
      } else if (sinceTurn >= TURN_ENTRIES) {
        await nextTurn()
        check()
        sinceTurn = 0
      } else if (scan.next()) {
        add(builder, scan)
        count++
      } else {
        if (this.#deleted.length === 0) store?.assertWhole()
        return count
      }
    }
  }

  /** The same of the keys that have changed, and those of the write buffer. */
  async *#packChanges(
    keys: SortedRun,
    builder: EntryBlockBuilder,
    check: () => void,
  ): AsyncGenerator<EntryBlock, number, undefined> {
    const stored = await this.#countInStore()
    const packer = new ChangePacker({
      runs: this.#runs,
      changed: keys,
      view: this.#lent?.view,
      takenAtMs: this.#takenAtMs,
    })
    while (packer.pack(builder, TURN_ENTRIES)) {
      if (builder.full) yield builder.takeWithMemory()
      else await nextTurn()
      check()
    }
    return stored + packer.added
  }

  giveBack(block: EntryBlock): void {
    this.#builder?.giveBack(block)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#reader.end()
    await this.#lent?.close()
  }

  #everything(): { store: StoreCursor | undefined; buffered: readonly Cursor[]; scan: MergedScan } {
    const buffered = this.#bufferCursors()
    const view = this.#lent?.view
    const store = view && new StoreCursor(view, EVERYTHING, this.#deleted, true)
    return {
      store,
      buffered,
      scan: this.#merge(store === undefined ? buffered : [...buffered, store], false),
    }
  }

  #bufferCursors(): Cursor[] {
    const filled = this.#runs.filter(({ keys }) => !keys.isEmpty)
    return filled.map((run) => new RunCursor(run, false))
  }

  #merge(cursors: readonly Cursor[], withDeleted: boolean): MergedScan {
    return new MergedScan(cursors, { nowMs: this.#takenAtMs, reverse: false, limit: Infinity, withDeleted })
  }

  /** By how much the write buffer's version of a key changes the number of entries in the store. */
  #addedBy({ key, value }: MergedScan): number {
    const view = this.#lent?.view
    const isInStore = view !== undefined && view.expiryOf(key, 0, key.length) > this.#takenAtMs
    return (value === undefined ? 0 : 1) - (isInStore ? 1 : 0)
  }

  /** By walking through all of it: of what was deleted, it is not known how much is there. */
  async #countAll(): Promise<number> {
    const { scan } = this.#everything()
    let count = 0
    while (scan.next()) {
      if (++count % TURN_ENTRIES !== 0) continue
      await nextTurn()
      this.#reader.assertOpen()
    }
    return count
  }

  /** Entries of the store that had not expired at the snapshot's instant. */
  async #countInStore(): Promise<number> {
    const view = this.#lent?.view
    if (view === undefined) return 0
    if (view.firstDeadlineMs > this.#takenAtMs) return view.entryCount
    let expired = 0
    for (const page of view.duePages(-1, this.#takenAtMs, TURN_ENTRIES)) {
      expired += page.length
      await nextTurn()
      this.#reader.assertOpen()
    }
    return view.entryCount - expired
  }
}

function add(builder: EntryBlockBuilder, { key, value, expiresAtMs }: MergedScan): void {
  if (value === undefined) builder.addTombstone(key)
  else builder.add(key, value, expiresAtMs)
}

/** The smallest key that one of the cursors is at; `undefined`: all have ended. */
function smallestKey(cursors: readonly Cursor[]): Uint8Array | undefined {
  let smallest: Uint8Array | undefined
  for (const { key } of cursors) {
    if (key !== undefined && (smallest === undefined || compareBytes(key, smallest) < 0)) smallest = key
  }
  return smallest
}
