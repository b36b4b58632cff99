// The reference model with one promise broken each about ranges of keys, changes, values in place, and what it says it supports.

import type { EntryBlock } from '../../src/backend/entry-block.js'
import { EntryBlockBuilder, EntryBlockCursor } from '../../src/backend/entry-block.js'
import type { LocalSnapshot } from '../../src/backend/facade/local-snapshot.js'
import type { KeyBytes } from '../../src/backend/state-backend.js'
import type { SnapshotOptions } from '../../src/backend/state-snapshot.js'
import type { BackendStats, KeyRange, PutOptions, ReplaceOptions } from '../../src/backend/types.js'
import { isWriteBatch, OperationKind, WriteBatch } from '../../src/backend/write-batch.js'
import { isStateError } from '../../src/base/errors.js'
import type { Slot } from '../../src/base/slot.js'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import { type BrokenBackend, rangeOf } from './broken-backends.js'

async function* withoutAny(): AsyncIterableIterator<EntryBlock> {}

/** The blocks without their tombstones. */
async function* withoutTombstones(blocks: AsyncIterable<EntryBlock>): AsyncIterableIterator<EntryBlock> {
  for await (const { bytes } of blocks) {
    const builder = new EntryBlockBuilder(bytes.length)
    const cursor = new EntryBlockCursor(bytes)
    while (cursor.next()) {
      if (cursor.tombstone) continue
      builder.addPlaced(cursor)
    }
    if (builder.entryCount > 0) yield builder.take()
  }
}

/** The batch with its deletions of ranges behind the rest, or, with `order` turned round, before it. */
function rangesLast(batch: WriteBatch, order: (isRange: number) => number): WriteBatch {
  const operations: { isRange: number; addTo: (reordered: WriteBatch) => void }[] = []
  const cursor = batch.cursor()
  while (cursor.next()) {
    const { kind, ttlMs } = cursor
    const [key, value] = [cursor.key().slice(), cursor.value().slice()]
    const range = kind === OperationKind.DELETE_RANGE ? rangeOf(cursor.interval()) : undefined
    const addTo = (into: WriteBatch) => {
      if (range !== undefined) into.deleteRange(range)
      else if (kind === OperationKind.PUT) into.put(key, value, ttlMs === undefined ? {} : { ttlMs })
      else if (kind === OperationKind.DELETE) into.delete(key)
      else into.expect(key, kind === OperationKind.EXPECT_VALUE ? value : undefined)
    }
    operations.push({ isRange: range === undefined ? 0 : 1, addTo })
  }
  const reordered = new WriteBatch()
  operations.sort((left, right) => order(left.isRange - right.isRange))
  for (const { addTo } of operations) addTo(reordered)
  return reordered
}

/** A backend whose snapshots are altered. */
function snapshots(
  does: string,
  caughtBy: string,
  alter: (snapshot: LocalSnapshot, backend: ModelStateBackend) => void,
): BrokenBackend {
  const Backend = class extends ModelStateBackend {
    override snapshotSync(options?: SnapshotOptions): LocalSnapshot {
      const snapshot = super.snapshotSync(options)
      alter(snapshot, this)
      return snapshot
    }
  }
  return { does, caughtBy, Backend }
}

/** Its asynchronous call is the synchronous one, so that a mutant has to break only that. */
class OneDeleteRange extends ModelStateBackend {
  override async deleteRange(range: KeyRange): Promise<void> {
    this.deleteRangeSync(range)
  }
}

export const brokenSeams: readonly BrokenBackend[] = [
  {
    does: 'takes the upper bound of a deleted range with it',
    caughtBy: 'deleting ranges',
    Backend: class extends OneDeleteRange {
      override deleteRangeSync(range: KeyRange): void {
        const { lt, ...others } = range ?? {}
        super.deleteRangeSync(lt === undefined ? range : { ...others, lte: lt })
      }
    },
  },
  {
    does: 'deletes a range key by key while others read',
    caughtBy: 'deleting ranges',
    Backend: class extends ModelStateBackend {
      override async deleteRange(range: KeyRange): Promise<void> {
        const keys = [...super.scanSync(range)].map(([key]) => key)
        for (const key of keys) {
          await Promise.resolve()
          super.deleteSync(key)
        }
        super.deleteRangeSync(range)
      }
    },
  },
  {
    does: 'counts every key of a deleted range',
    caughtBy: 'deleting ranges',
    Backend: class extends OneDeleteRange {
      #more = 0
      override deleteRangeSync(range: KeyRange): void {
        const before = super.stats().entries
        super.deleteRangeSync(range)
        this.#more += before - super.stats().entries
      }
      override stats(): BackendStats {
        const stats = super.stats()
        return { ...stats, deletes: stats.deletes + this.#more }
      }
    },
  },
  {
    does: 'deletes the ranges of a batch at its end',
    caughtBy: 'batches',
    Backend: class extends ModelStateBackend {
      override writeSync(batch: WriteBatch): void {
        super.writeSync(isWriteBatch(batch) ? rangesLast(batch, (at) => at) : batch)
      }
    },
  },
  {
    does: 'deletes the ranges of a batch before its puts',
    caughtBy: 'batches',
    Backend: class extends ModelStateBackend {
      override writeSync(batch: WriteBatch): void {
        super.writeSync(isWriteBatch(batch) ? rangesLast(batch, (at) => -at) : batch)
      }
    },
  },
  {
    does: 'deletes the ranges of a batch that is refused',
    caughtBy: 'batches',
    Backend: class extends ModelStateBackend {
      override writeSync(batch: WriteBatch): void {
        const cursor = isWriteBatch(batch) ? batch.cursor() : undefined
        try {
          super.writeSync(batch)
        } catch (error) {
          while (cursor?.next() === true) {
            if (cursor.kind === OperationKind.DELETE_RANGE) super.deleteRangeSync(rangeOf(cursor.interval()))
          }
          throw error
        }
      }
    },
  },
  {
    does: 'takes no range for every key',
    caughtBy: 'deleting ranges',
    Backend: class extends OneDeleteRange {
      override deleteRangeSync(range: KeyRange): void {
        super.deleteRangeSync(range ?? {})
      }
    },
  },
  {
    does: 'takes a bound that is named but undefined for none',
    caughtBy: 'deleting ranges',
    Backend: class extends OneDeleteRange {
      override deleteRangeSync(range: KeyRange): void {
        const isSet = ([, bound]: readonly [string, unknown]) => bound !== undefined
        const isPlain = range !== undefined && range !== null && typeof range === 'object'
        super.deleteRangeSync(isPlain ? Object.fromEntries(Object.entries(range).filter(isSet)) : range)
      }
    },
  },
  {
    does: 'replaces everything where a range was to be replaced',
    caughtBy: 'replacing everything',
    Backend: class extends ModelStateBackend {
      override replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
        const { range: _, ...others } = options ?? {}
        return super.replaceAll(blocks, options === undefined ? undefined : others)
      }
    },
  },
  {
    does: 'says nothing where blocks for a range do not fit',
    caughtBy: 'limits and arguments',
    Backend: class extends ModelStateBackend {
      override async replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
        try {
          await super.replaceAll(blocks, options)
        } catch (error) {
          if (options?.range === undefined || !isStateError(error, 'BACKEND_FULL')) throw error
        }
      }
    },
  },
  snapshots('forgets what was deleted among changes', 'changes between snapshots', (snapshot) => {
    const changes = snapshot.changes.bind(snapshot)
    snapshot.changes = (options) => withoutTombstones(changes(options))
  }),
  snapshots('tells changes once', 'changes between snapshots', (snapshot) => {
    const changes = snapshot.changes.bind(snapshot)
    let isTold = false
    snapshot.changes = (options) => {
      const none = isTold
      isTold = true
      return none ? withoutAny() : changes(options)
    }
  }),
  snapshots(
    'tells what was written after the snapshot as a change',
    'changes between snapshots',
    (snapshot, backend) => {
      if (!snapshot.tellsChanges) return
      snapshot.changes = async function* (options) {
        yield* await backend.snapshot().then((later) => later.blocks(options))
      }
    },
  ),
  snapshots('says that it can tell changes without a base', 'changes between snapshots', (snapshot) => {
    Object.defineProperty(snapshot, 'tellsChanges', { value: true })
  }),
  {
    does: 'says that it can what it cannot',
    caughtBy: 'life cycle',
    Backend: class extends ModelStateBackend {
      override readonly supports = Object.freeze({ ...new ModelStateBackend().supports, changes: false })
    },
  },
  {
    does: 'shows a copy of the value that it updates',
    caughtBy: 'values in place',
    Backend: class extends ModelStateBackend {
      override updateSync(key: KeyBytes, length: number, slot: Slot, options?: PutOptions): boolean {
        const found = super.updateSync(key, length, slot, options)
        slot.bytes = slot.bytes.slice()
        slot.view = new DataView(slot.bytes.buffer)
        return found
      }
    },
  },
  {
    does: 'updates what a snapshot still sees',
    caughtBy: 'values in place',
    Backend: class extends ModelStateBackend {
      override updateSync(key: KeyBytes, length: number, slot: Slot, options?: PutOptions): boolean {
        if (super.stats().openSnapshots > 0 && super.peekSync(key, slot)) return true
        return super.updateSync(key, length, slot, options)
      }
    },
  },
]
