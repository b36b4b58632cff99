import type { Clock } from '../../base/clock.js'
import type { JsonValue } from '../../base/json.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import type { Compression, Logger } from '../types.js'
import type { CheckpointWorker } from '../worker/checkpoint-worker.js'

/** A second storage that gets a copy of each checkpoint. */
export interface MirrorOptions {
  /** Another storage than the coordinator's own, and for this coordinator's checkpoints alone: ids are those of the original. */
  readonly storage: CheckpointStorage
  /** How many good checkpoints are kept there. Default: the coordinator's `maxCheckpoints`. */
  readonly maxCheckpoints?: number
  /** How long `shutdown` waits at most for what is not copied yet, in milliseconds. The next owner copies the rest. Default 10,000. */
  readonly drainMs?: number
  /**
   * How long a segment there is believed to be as it was last read, in milliseconds. With each checkpoint that is copied, and when the
   * storage is first owned, one segment is read again whose time has come, that of longest ago, and compared with its SHA-256; one that
   * is damaged is copied anew where this storage still has it, and told as `mirrorFailed` where not. That costs the reading of all
   * that is there once in that time at most. Default: never again.
   */
  readonly verifyEveryMs?: number
}

/** Where checkpoints go, how often they are made, how many are kept, and what they may cost. */
export interface CheckpointCoordinatorOptions {
  /** Where the checkpoints go. */
  readonly storage: CheckpointStorage
  /** Time from the start of one periodic checkpoint to the start of the next. Default 300,000 (5 minutes). */
  readonly intervalMs?: number
  /** At least this long between the end of one checkpoint and the start of the next periodic one. Default 0. */
  readonly minPauseMs?: number
  /** How many good checkpoints retention keeps: the newest ones, and with them whatever is newer. Default 10. */
  readonly maxCheckpoints?: number
  /** Default `'lz4'`. */
  readonly compression?: Compression
  /**
   * The source's position (offsets, file positions): captured at the same instant as the state. Where the state has to be taken
   * once more, it is asked again, and its last answer counts.
   */
  readonly source?: () => JsonValue
  /**
   * Awaited each time before the state is taken: for whoever must first come to a point at which state, position and outputs belong
   * together. What it resolves with is called once the state was taken, or could not be. Where it rejects, there is no checkpoint.
   */
  readonly hold?: () => Promise<() => void>
  /**
   * Awaited by `shutdown` behind the final checkpoint, before the next owner is let in: for whoever must first put out what that
   * checkpoint names.
   */
  readonly beforeRelease?: () => Promise<void>
  /**
   * How long files of failed checkpoints, and of processes that died, are left alone before retention removes them, counted from when this
   * coordinator first saw them: a process that never lives as long leaves its own beside those of the ones before. Default 3,600,000 (1 hour).
   */
  readonly graceMs?: number
  /**
   * Checkpoints hold what changed since the last one, where the backend can tell. Default true; `false` makes each one
   * full: it costs as much as there is state, and stands alone.
   */
  readonly incremental?: boolean
  /**
   * Base and deltas are merged when there are more deltas than this, from 1 to 255. More make restores slower and merges
   * rarer. Default 16.
   */
  readonly maxDeltas?: number
  /**
   * They are also merged when the deltas have more than this share of the base's bytes (and at least 1 MiB). More take more
   * space and make merges rarer. Default 0.5.
   */
  readonly maxDeltaRatio?: number
  /**
   * Share of one core that writing and merging may take, over 0 and up to 1: after each block the worker rests as long as
   * that calls for. Restores are not held back. With 1, the worker does not rest, and compression goes on beside it in Node's thread
   * pool; with less, one thread does all. Default 1.
   */
  readonly workerShare?: number
  /** Most bytes per second that writing and merging move to and from the storage. Default `Infinity`. */
  readonly maxBytesPerSecond?: number
  /**
   * How long the storage and the worker may give no sign of life at all before `shutdown`, and a call whose signal has fired, no
   * longer wait for them, in milliseconds. A call of the storage that makes much durable may take longer, as long as it does
   * 10 MB/s. Slowness never counts: every answer begins the time anew. Default 5,000.
   */
  readonly maxSilenceMs?: number
  /**
   * Each checkpoint is copied to a second storage, in the background: what is missing there, verified, the newest first. No call waits for it
   * but `shutdown`, for `drainMs`; failures are in `stats().mirror` and `mirrorFailed`, and tried again. Default: none.
   */
  readonly mirror?: MirrorOptions
  /** A worker that several coordinators share. Who made it closes it. Default: one of this coordinator's own. */
  readonly worker?: CheckpointWorker
  /** What times and intervals go by. Default: the machine's clock. */
  readonly clock?: Clock
  /** Default: nothing is logged. */
  readonly logger?: Logger
}
