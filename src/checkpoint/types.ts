import type { KeyRange } from '../backend/types.js'
import type { SkippedCheckpoint, StateError } from '../base/errors.js'
import type { JsonValue } from '../base/json.js'

declare const checkpointIdBrand: unique symbol

/** `chk-` and at least ten digits: the checkpoint's number in its storage's sequence. Never used twice. */
export type CheckpointId = string & { readonly [checkpointIdBrand]: true }

/** How segments are compressed. `zstd` needs Node 22.15 or later. */
export type Compression = 'lz4' | 'gzip' | 'zstd' | 'none'

/** What is known of a checkpoint without reading its content. */
export interface CheckpointMetadata {
  readonly id: CheckpointId
  /** The number in `id`: larger is newer, whatever the clock says. */
  readonly sequence: number
  readonly createdAt: Date
  readonly kind: 'full' | 'incremental'
  /** A savepoint: made by `createSavepoint`, owned by the user, left alone by retention. */
  readonly savepoint: boolean
  readonly entryCount: number
  /** Bytes of all its files. */
  readonly sizeBytes: number
  /** SHA-256 over the manifest's content, which names the SHA-256 of every segment; hexadecimal. */
  readonly checksum: string
  /** Its segments were read back and verified before it was published. */
  readonly validated: boolean
  /** Format version of the manifest. */
  readonly version: number
  /** What the coordinator's `source` returned at the instant of the snapshot. */
  readonly source?: JsonValue
  /** How typed state described itself at that instant (docs/format/state.md); left out where the state is plain bytes. */
  readonly schema?: { readonly [name: string]: JsonValue }
}

/** The part of pino's interface that holdfast uses: any logger of that shape will do. What it throws ends nothing: it surfaces as an uncaught exception. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Says nothing. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
}

/** A logger whose own failures are not those of what it logs: they surface as uncaught exceptions, later. `undefined` says nothing. */
export function isolatedLogger(logger: Logger | undefined): Logger {
  if (logger === undefined) return silentLogger
  const call = (level: keyof Logger) => (fields: object, message: string) => {
    try {
      logger[level](fields, message)
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }
  return { debug: call('debug'), info: call('info'), warn: call('warn'), error: call('error') }
}

/** Counters since the coordinator was made, and how things stand now. Those that are `undefined` have nothing to tell yet. */
export interface CheckpointStats {
  /** Checkpoints published, and attempts that failed. */
  readonly created: number
  readonly failed: number
  /** From the beginning of its turn until it was published: of the last one, and of all together. */
  readonly lastDurationMs: number | undefined
  readonly totalDurationMs: number
  /** `sizeBytes` of those that were published: of the last one, and the sum. Segments that they share count in each. */
  readonly lastSizeBytes: number | undefined
  readonly totalBytes: number
  /** Restores that succeeded, and those that did not. */
  readonly restores: number
  readonly restoreFailures: number
  /** The newest failure of a checkpoint, restore or merge. */
  readonly lastError: Error | undefined
  /** When a checkpoint was last published. */
  readonly lastSuccessAt: Date | undefined
  /** A checkpoint is being made right now. */
  readonly running: boolean
  /** Whether the last one was full or incremental. */
  readonly lastKind: CheckpointMetadata['kind'] | undefined
  /** Bytes of the files that were written: of the last checkpoint, and of all with the merges. */
  readonly lastWrittenBytes: number | undefined
  readonly writtenBytes: number
  /** How long the last cut held the main thread: snapshot and source position. */
  readonly lastCutMs: number | undefined
  /** Deltas that the next checkpoint comes after; 0 where it will be a full one or the first delta. */
  readonly chainDeltas: number
  /** Merges that succeeded, and those that did not. */
  readonly merges: number
  readonly mergeFailures: number
  /** A merge is under way. */
  readonly merging: boolean
  /** How the copies in the second storage stand; `undefined` where there is none (`mirror` of the options). */
  readonly mirror: MirrorStats | undefined
}

/** How a mirror stands. */
export interface MirrorStats {
  /** Checkpoints copied whole and verified. */
  readonly copied: number
  /** Attempts that failed, those to own the second storage included. */
  readonly failed: number
  /** Checkpoints that were not copied, since newer ones had overtaken them or retention had removed them. */
  readonly passedOver: number
  /** Bytes written to the second storage. */
  readonly copiedBytes: number
  /** Checkpoints that are to be copied. */
  readonly waiting: number
  /** A checkpoint is being copied right now. */
  readonly copying: boolean
  /**
   * For how long there has been a checkpoint that is newer than all in the mirror, in milliseconds; 0 where the newest is there. It is
   * how much would be lost with the coordinator's own storage, beyond what was not saved at all.
   */
  readonly lagMs: number
  /** The newest failure. */
  readonly lastError: Error | undefined
  /** When a checkpoint was last copied. */
  readonly lastSuccessAt: Date | undefined
}

/** What `on` of a coordinator tells, by the name of the event. */
export interface CheckpointEvents {
  started: { readonly id: CheckpointId }
  completed: {
    readonly checkpoint: CheckpointMetadata
    readonly durationMs: number
    /** Bytes of the files that were written for it. */
    readonly writtenBytes: number
  }
  /** `id` is undefined where the attempt failed before it had one. */
  failed: { readonly id: CheckpointId | undefined; readonly error: StateError }
  restored: { readonly checkpoint: CheckpointMetadata; readonly durationMs: number }
  /** `restoreLatest` passed over a checkpoint that did not verify. */
  skipped: SkippedCheckpoint
  /** Base and deltas up to that checkpoint were merged; the next checkpoint begins with the new base. */
  merged: { readonly through: CheckpointId; readonly sizeBytes: number; readonly durationMs: number }
  /** They were not. Nothing has changed; a later checkpoint tries again. */
  mergeFailed: { readonly error: StateError }
  /** Retention or `deleteCheckpoint` removed a checkpoint. */
  deleted: { readonly id: CheckpointId }
  /** A checkpoint is in the mirror, whole and verified. */
  mirrored: {
    readonly checkpoint: CheckpointMetadata
    readonly durationMs: number
    /** Bytes written there: of what was missing. */
    readonly writtenBytes: number
  }
  /** It is not. `id` is undefined where the mirror could not be owned or listed. A later attempt follows, where one may help. */
  mirrorFailed: { readonly id: CheckpointId | undefined; readonly error: StateError }
}

/** How far a restore has come. */
export interface RestoreProgress {
  /**
   * The checkpoint that is being read. When it does not verify, the next one begins at 0 again; and so does the same one where an engine with a
   * limit had no room for it beside what it holds, and then makes some.
   */
  readonly id: CheckpointId
  readonly entries: number
  /** Of the whole checkpoint, also where only a range of it is restored. */
  readonly totalEntries: number
}

/** What of a checkpoint is restored, and who is told of it meanwhile. */
export interface RestoreOptions {
  /**
   * Restore only this stretch of keys: what the backend has in it is replaced by what the checkpoint has, in one step, and every
   * other key is kept. Only the blocks that overlap it are read, and only they are verified: each by its checksums and against the
   * index of its file. The next checkpoint is a full one. Default: everything.
   */
  readonly range?: KeyRange
  /**
   * What the time between the checkpoint and the restore means for entries with a time to live: it `'counts'`, so that what would
   * have expired has; or it `'pauses'` all of them, and each has as long left as it had. The next checkpoint is then a full one.
   * Default `'counts'`.
   */
  readonly downtime?: 'counts' | 'pauses'
  /** Gives up with `ABORTED`; the backend then holds what it held before. */
  readonly signal?: AbortSignal
  /**
   * Called with the checkpoint that is read next, whose manifest was verified and whose content was not: for whoever has something to do meanwhile.
   * Called again with an older one where it cannot be read. What it throws surfaces as an uncaught exception.
   */
  readonly onBegin?: (checkpoint: CheckpointMetadata) => void
  /** Called after every block, a few thousand entries each. What it throws surfaces as an uncaught exception. */
  readonly onProgress?: (progress: RestoreProgress) => void
}

/** How the making of one checkpoint is ended early. */
export interface CheckpointOptions {
  /** Gives up with `ABORTED`, while waiting or between two blocks; no checkpoint is then made. */
  readonly signal?: AbortSignal
}

/** How to become the owner of a storage. */
export interface OwnershipOptions {
  /** How long to wait for another owner to let go, in milliseconds. Default 0: `FENCED` at once, as far as that can be told. */
  readonly waitForOwnerMs?: number
  /** Take over from an owner that may still live: it is fenced off, and what it did not publish is lost. Default false. */
  readonly takeOver?: boolean
}

/** What `verify` found. */
export interface VerificationReport {
  readonly checkpoint: CheckpointMetadata
  readonly segments: number
  readonly entryCount: number
  readonly bytesRead: number
}
