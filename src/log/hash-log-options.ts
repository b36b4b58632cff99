import type { ForwardClock } from '../base/clock.js'
import type { SnapshotEpochs } from './history/snapshot-epochs.js'
import type { HashKey } from './index/key-hash.js'
import type { SegmentSource } from './segment-pool.js'

export interface HashLogOptions {
  /** Bound on all memory of the log, indices included. Infinity: 32 GiB. */
  readonly maxBytes: number
  /** The secret that keys are hashed with. */
  readonly hashKey: HashKey
  /** Time that never goes back. Asked only where something expires. */
  readonly now: () => number
  /** The clock behind `now`, if whoever writes an entry that expires has just asked it. Default: `now` is asked again. */
  readonly clock?: ForwardClock
  /** Memory elsewhere that counts against `maxBytes`. */
  readonly besideBytes: () => number
  /** Told of each entry whose time has come, while its key can still be read: it is swept, overwritten or deleted. */
  readonly onExpired: (address: number) => void
  /** Something below this log may hold the same keys: what is removed leaves a tombstone that stays. Default false. */
  readonly covers?: boolean
  /** Where the log is in its epochs; given only by tests of what happens when they run out. */
  readonly epochs?: SnapshotEpochs
  /** Where segments come from, and go to with `dispose`. Default: they are allocated. */
  readonly pool?: SegmentSource
}
