import type { BackendName } from './backend-names.js'
import type { BucketPlace } from './keepers.js'
import type { SourceSpec } from './source.js'
import type { Results } from './totals.js'

/** What the parent tells a worker, once, as its only argument. */
export interface WorkerTask {
  readonly source: SourceSpec
  readonly backend: BackendName
  /** Where its server is, if it has one. */
  readonly backendAddress?: string
  /** Absent: checkpoints are in the directory. */
  readonly storage?: BucketPlace
  /** Names the state, or the checkpoints, on a server. */
  readonly name: string
  /** Where results, and checkpoints or the store, are. */
  readonly directory: string
  readonly saveEveryMs: number
  /** Requests that are read at once. */
  readonly batchSize: number
  /** The worker is to be killed: from so many requests on it reads no more. A parent that is slow would come too late otherwise. */
  readonly waitForKillAt?: number
  /** Requests a second; Infinity would not survive JSON: `null` is as fast as it goes. */
  readonly eventsPerSecond: number | null
}

/** What a worker tells the parent. */
export type WorkerMessage =
  | StartedMessage
  | ProgressMessage
  | CheckpointMessage
  | FailedMessage
  | { readonly type: 'done'; readonly result: RunResult }

/** First of all: what it begins with. */
export interface StartedMessage {
  readonly type: 'started'
  /** The checkpoint it has restored; absent where there was none. */
  readonly restored?: {
    readonly checkpointId: string
    readonly events: number
    readonly durationMs: number
  }
}

interface ProgressMessage {
  readonly type: 'progress'
  readonly events: number
  /** How much of the input that is, from 0 to 1. */
  readonly fraction: number
}

/** A checkpoint is on disk, or a flush, with so many requests. */
interface CheckpointMessage {
  readonly type: 'checkpoint'
  readonly events: number
}

interface FailedMessage {
  readonly type: 'failed'
  readonly message: string
  /** The user can mend it: the input or the settings are wrong. */
  readonly usage: boolean
}

/** Everything there is to compare and to show after the last request. */
export interface RunResult extends Results {
  readonly events: number
  readonly skippedLines: number
  /** From the start of this process to its last save. */
  readonly durationMs: number
  /** Checkpoints, or flushes. */
  readonly saves: { readonly created: number; readonly failed: number; readonly lastSizeBytes: number }
}
