import type { BackendName } from './backend-names.js'
import type { SourceSpec } from './source.js'
import type { WindowTotals } from './windows.js'

/** What the parent tells a worker, once, as its only argument. */
export interface WorkerTask {
  readonly source: SourceSpec
  readonly backend: BackendName
  /** Where the checkpoints are. */
  readonly directory: string
  /** A checkpoint after every so many requests. */
  readonly checkpointEvery: number
  /** Requests taken in one go, without letting anything else run. */
  readonly batchSize: number
  /**
   * The worker is to be killed: from so many requests on, with a checkpoint published, it takes no more and waits for that. A
   * parent that is slow would come too late otherwise.
   */
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
    readonly windows: number
    readonly durationMs: number
  }
}

interface ProgressMessage {
  readonly type: 'progress'
  readonly events: number
  /** How much of the input that is, from 0 to 1. */
  readonly fraction: number
}

/** A checkpoint is on disk. */
interface CheckpointMessage {
  readonly type: 'checkpoint'
  readonly checkpointId: string
  readonly events: number
  readonly sizeBytes: number
}

interface FailedMessage {
  readonly type: 'failed'
  readonly message: string
  /** The user can mend it: the input or the settings are wrong. */
  readonly usage: boolean
}

/** Everything there is to compare and to show after the last request. */
export interface RunResult {
  readonly events: number
  readonly skippedLines: number
  readonly windows: number
  readonly digest: string
  readonly busiest: readonly WindowTotals[]
  /** From the first request of this process to the last. */
  readonly durationMs: number
  readonly checkpoints: {
    readonly created: number
    readonly failed: number
    readonly totalDurationMs: number
    readonly lastSizeBytes: number
  }
}
