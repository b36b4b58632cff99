// A snapshot of a store, lent to another thread: it reads the write buffer's generations in shared memory, and the store in
// a read transaction of its own. That sees what this thread's view sees, or the commit that was under way at the time: what
// differs is in the generations, which lie above it. A gate keeps the next commit from beginning before the transaction.

import type { SharedSnapshot } from '../../backend/shared-snapshot.js'
import { compiledModule } from '../../base/compiled.js'
import type { SharedSegment } from '../../log/segment-table.js'
import { LogShare, type SharedLog } from '../../log/share/log-share.js'
import type { EntryLayers } from '../buffer/layered-entries.js'
import type { DeletedRanges } from '../store/deleted-ranges.js'
import type { ReaderGate } from './reader-gate.js'

/** What a snapshot sends to the thread that reads it. */
export interface LentSnapshotData {
  /** The generation that was written to. */
  readonly active: SharedLog
  /** Those below it, newest first. */
  readonly frozen: readonly (readonly SharedSegment[])[]
  /** `undefined`: nothing of it shows through. */
  readonly store: SharedStore | undefined
  /** What the store shows of these ranges does not count. */
  readonly deleted: DeletedRanges
  /** Only these keys, and those of the generations, are asked for; `undefined`: all. */
  readonly changedKeys: readonly SharedSegment[] | undefined
  readonly takenAtMs: number
}

export interface SharedStore {
  readonly dataPath: string
  readonly generation: number
  readonly gate: Int32Array
}

export interface ShareSource extends EntryLayers {
  readonly takenAtMs: number
}

/** The lending thread's end. */
export class LentSnapshot {
  readonly snapshot: SharedSnapshot
  readonly #share: LogShare

  /** `undefined` where something was written since the snapshot was taken. */
  static open(
    { layers, deleted, view, takenAtMs }: ShareSource,
    store: { readonly dataPath: string },
    changedKeys: readonly SharedSegment[] | undefined,
    openGate: () => ReaderGate,
  ): LentSnapshot | undefined {
    const [active, ...frozen] = layers.map((layer) => layer.retain())
    const release = () => {
      for (const layer of [active, ...frozen]) layer?.release()
    }
    const logView =
      active?.epoch === layers[0]?.epoch ? active?.log.history.openView(active.epoch) : undefined
    if (active === undefined || logView === undefined) {
      release()
      return undefined
    }
    const gate = view === undefined ? undefined : openGate()
    const share = new LogShare(active.log.history, logView, 0, {
      // The reader asks for the rest of the generation after its transaction has begun.
      settle: () => {
        gate?.noteOpened()
        return true
      },
      ended: () => {
        gate?.revoke()
        release()
      },
    })
    const data: LentSnapshotData = {
      active: share.data,
      frozen: frozen.map(({ log }) => log.share()),
      store:
        view === undefined || gate === undefined
          ? undefined
          : { ...store, generation: view.generation, gate: gate.signal },
      deleted,
      changedKeys,
      takenAtMs,
    }
    return new LentSnapshot(share, data)
  }

  private constructor(share: LogShare, data: LentSnapshotData) {
    this.#share = share
    this.snapshot = { module: readerModule(), data, transferList: [data.active.port] }
  }

  /** The snapshot is closed: whoever reads it is told to stop. */
  close(): void {
    this.#share.close()
  }
}

/** What opens a lent snapshot in the thread that reads it. Loads LMDB's package there, which takes long on a busy machine. */
export function readerModule(): string {
  return compiledModule('#lmdb/shared-lmdb-snapshot').href
}
