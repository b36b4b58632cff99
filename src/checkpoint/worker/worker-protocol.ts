// What the main thread and the checkpoint worker say to each other.
//
//   to the thread: one {@link StartJob} for each job, with a port; everything else goes through that port. {@link LoadModule}.
//   job := (told | block | builtSoFar | credit | call)* (done | failed)          from the thread
//          (block* (blocksEnd | blocksFailed) | credit | answer | abort)*      to the thread
//
// (1) The thread says the last word, done or failed, exactly once, after everything it had open is closed.
//     A job whose thread died has no last word; the main thread then fails it.
// (2) Blocks change hands (their memory is transferred), and at most {@link MAX_BYTES_IN_FLIGHT} of them wait on the
//     other side: credit comes back as they are consumed.
// (3) After `abort`, and when its port is closed without it, the job ends as soon as it can, normally with ABORTED.
// (4) The thread says 'ready' once, when it has loaded what every job needs; and the name of a module that it was told to load
//     when it has, or cannot: the job that needs it finds out why.
// (5) A job that builds may come with a port to a thread that does that (builder-link.ts).

import type { MessagePort } from 'node:worker_threads'
import type { BuildOptions } from '../../backend/built-state.js'
import type { EntryBlock } from '../../backend/entry-block.js'
import type { PrepareOptions } from '../../backend/prepared-blocks.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import type { CodecName } from '../../codec/block-codec.js'
import type { OpenOptions } from '../../storage/checkpoint-storage.js'
import type { CheckpointContent, ManifestSegment } from '../format/manifest.js'
import type { SegmentRole } from '../format/segment-format.js'
import type { PackedError } from './packed-error.js'

/** Raw bytes of blocks on their way to the other thread; a larger block goes alone. */
export const MAX_BYTES_IN_FLIGHT: number = 8 * 1024 * 1024

/** A module to load in the thread, and what to hand it. */
export interface ModuleCall {
  readonly module: string
  readonly data: unknown
}

/** The builder of an engine, to be opened in the thread. */
export interface BuildCall extends ModuleCall, BuildOptions {}

/** What makes blocks ready for an engine, to be opened in the thread. */
export interface PrepareCall extends ModuleCall, PrepareOptions {}

/** What a job builds: in its own thread, or by the port to another one that does (builder-link.ts). */
export interface BuildJob extends BuildCall {
  readonly port?: MessagePort
}

/** How much the thread may take; what all jobs with equal limits take together counts. */
export interface WorkerLimits {
  /** Share of one core, over 0 and up to 1. */
  readonly workerShare: number
  /** Bytes written to and read from the storage. */
  readonly maxBytesPerSecond: number
}

interface JobBase {
  /** `undefined`: the storage stays on the main thread and is called there. */
  readonly storage: ModuleCall | undefined
  readonly limits: WorkerLimits
}

/** Writes a segment and reads it back. It is committed only once that is allowed. */
export interface WriteJob extends JobBase {
  readonly kind: 'write'
  readonly name: string
  readonly role: SegmentRole
  readonly codec: CodecName
  /** `undefined`: the blocks are sent. */
  readonly source: ModuleCall | undefined
  /** A segment that grows beyond it is given up. */
  readonly maxSizeBytes: number
}

/** Merges the segments of a checkpoint into a new base. */
export interface MergeJob extends JobBase {
  readonly kind: 'merge'
  readonly name: string
  readonly codec: CodecName
  readonly content: CheckpointContent
}

/** Reads and verifies a checkpoint, or the blocks of it that overlap a stretch of keys. */
export interface ReadJob extends JobBase {
  readonly kind: 'read'
  readonly content: CheckpointContent
  /** `undefined`: all of it. */
  readonly stretch: KeyStretch | undefined
  readonly sendBlocks: boolean
  /** The blocks are not sent: what they come to is put together in the thread, and goes back with the result. */
  readonly build?: BuildJob
  /** What is sent of each block is what this makes of it. */
  readonly prepare?: PrepareCall
  /** Where the blocks that overlap the stretch hold more raw bytes than that, it reads none of them (`isTooLarge`). */
  readonly maxRawBytes?: number
}

export type JobRequest = WriteJob | MergeJob | ReadJob

/** Load a module now that a job will need. */
export interface LoadModule {
  readonly load: string
}

export interface StartJob {
  readonly request: JobRequest
  readonly port: MessagePort
  /** The words of a `JobPulse`. */
  readonly pulse: Int32Array
}

export interface JobResult {
  /** What was written; `undefined` where it grew too large, and where nothing was to be written. */
  readonly segment: ManifestSegment | undefined
  /** Entries of the whole state. */
  readonly entryCount: number
  /** Nothing was written, because the engine did not wait until the snapshot was opened here (see `OpenSharedSnapshot`). */
  readonly isLate?: true
  /** `data` of the `BuiltState` of a {@link ReadJob} that builds. */
  readonly built?: unknown
  /** Nothing was read, because it would have been too much (see {@link ReadJob}). */
  readonly isTooLarge?: true
}

/** The part of an {@link ObjectStorage} and of what it hands out that a call is about. */
export type StorageCallMessage =
  | { readonly operation: 'create'; readonly name: string }
  | { readonly operation: 'open'; readonly name: string; readonly options: OpenOptions | undefined }
  | { readonly operation: 'readObject'; readonly name: string; readonly maxBytes: number }
  | { readonly operation: 'write'; readonly handle: number; readonly bytes: Uint8Array }
  | { readonly operation: 'read'; readonly handle: number; readonly offset: number; readonly length: number }
  | { readonly operation: 'commit' | 'abort' | 'close'; readonly handle: number }

export type FromThread =
  /** What a job that writes will have come to, once it is committed and was read back; the snapshot is no longer needed. */
  | { readonly kind: 'written'; readonly result: JobResult }
  /** `committed`: there is an object now; `opened`: see {@link ReadJob}. */
  | { readonly kind: 'told'; readonly step: 'committed' | 'opened' }
  | ({ readonly kind: 'block' } & EntryBlock)
  /** So many entries of what is built are there. */
  | { readonly kind: 'builtSoFar'; readonly entries: number }
  | { readonly kind: 'credit'; readonly bytes: number }
  | ({ readonly kind: 'call'; readonly call: number } & StorageCallMessage)
  | { readonly kind: 'done'; readonly result: JobResult; readonly leftovers: readonly Leftover[] }
  /** `ofBuilder`: what was read is in order, and could not be put together. */
  | {
      readonly kind: 'failed'
      readonly error: PackedError
      readonly ofBuilder: boolean
      readonly leftovers: readonly Leftover[]
    }

export type ToThread =
  | ({ readonly kind: 'block' } & EntryBlock)
  | { readonly kind: 'blocksEnd' }
  | { readonly kind: 'blocksFailed'; readonly error: PackedError }
  | { readonly kind: 'credit'; readonly bytes: number }
  | { readonly kind: 'answer'; readonly call: number; readonly value?: unknown; readonly error?: PackedError }
  /** What a {@link WriteJob} writes may be committed. */
  | { readonly kind: 'mayCommit' }
  | { readonly kind: 'abort' }

/** What could not be cleaned up after a failure; for the log. */
export interface Leftover {
  readonly what: string
  readonly failure: string
  readonly after: string
}
