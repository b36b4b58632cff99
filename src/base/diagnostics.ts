// What is told to whoever listens by `node:diagnostics_channel`: operations that take long, with how long they took, and what went wrong.
//
// (1) Nothing is computed while nobody listens: whoever tells asks `hasSubscribers` first.
// (2) No events of single keys, so that listening costs little; no keys and no values, but for the key that an error names.
// (3) A listener that throws does not disturb what it listens to: Node makes an uncaught exception of it.

import { channel } from 'node:diagnostics_channel'

/** What each channel tells. Times are of the monotonic clock, in milliseconds, but where a component has a clock of its own. */
export interface DiagnosticEvents {
  /** A checkpoint was published. */
  readonly 'holdfast:checkpoint.completed': {
    readonly storage: string
    readonly checkpoint: string
    readonly kind: 'full' | 'incremental'
    readonly entryCount: number
    readonly sizeBytes: number
    readonly writtenBytes: number
    readonly durationMs: number
    /** How long the cut held the main thread. */
    readonly cutMs: number
  }
  readonly 'holdfast:checkpoint.failed': {
    readonly storage: string
    readonly checkpoint: string | undefined
    readonly durationMs: number
    readonly error: Error
  }
  /** A base and its deltas were merged. */
  readonly 'holdfast:checkpoint.merged': {
    readonly storage: string
    readonly through: string
    readonly sizeBytes: number
    readonly durationMs: number
  }
  readonly 'holdfast:checkpoint.mergeFailed': { readonly storage: string; readonly error: Error }
  readonly 'holdfast:restore.completed': {
    readonly storage: string
    readonly checkpoint: string
    readonly entryCount: number
    readonly durationMs: number
  }
  readonly 'holdfast:restore.failed': {
    readonly storage: string
    readonly durationMs: number
    readonly error: unknown
  }
  /** The LMDB engine has made what was written durable. */
  readonly 'holdfast:engine.commit': {
    readonly backend: string
    readonly path: string
    readonly records: number
    readonly recordBytes: number
    readonly durationMs: number
  }
  /** The LMDB engine has failed to, and writes no more. */
  readonly 'holdfast:engine.failed': {
    readonly backend: string
    readonly path: string
    readonly error: Error
  }
  /** The LMDB engine was to have a log before its tree, and has none: what is waited for takes longer. */
  readonly 'holdfast:engine.logUnavailable': {
    readonly backend: string
    readonly path: string
    readonly error: Error
  }
  /** A write has stopped the main thread until the disk had caught up. */
  readonly 'holdfast:engine.held': {
    readonly backend: string
    readonly path: string
    readonly durationMs: number
  }
  /** A call of an engine on a server: of a read, of a batch, of a range. `error` where it failed. */
  readonly 'holdfast:engine.call': {
    readonly backend: string
    readonly call: string
    readonly durationMs: number
    readonly error?: unknown
  }
  /** A job reads events from now on. How long that took since its state was restored, and its source and sink opened. */
  readonly 'holdfast:job.ready': { readonly job: string; readonly durationMs: number }
  /** A cut is safe: a checkpoint, or a flush of an engine that keeps its state itself. */
  readonly 'holdfast:job.cut': { readonly job: string; readonly cuts: number; readonly sinceCutMs: number }
  readonly 'holdfast:job.cutFailed': { readonly job: string; readonly error: Error }
  /** A call of the source, the sink or an engine has ended. `error` where it failed. */
  readonly 'holdfast:job.call': {
    readonly job: string
    readonly call: string
    readonly durationMs: number
    readonly error?: unknown
  }
  /** A job has ended; `error` where it failed. */
  readonly 'holdfast:job.ended': { readonly job: string; readonly error: Error | undefined }
}

/** A channel as those use it who tell. */
export interface DiagnosticChannel<Event> {
  readonly hasSubscribers: boolean
  publish(event: Event): void
}

type DiagnosticChannels = {
  readonly [Name in keyof DiagnosticEvents]: DiagnosticChannel<DiagnosticEvents[Name]>
}

/** The channels, held for good: looking one up by its name costs more than asking whether somebody listens. */
export const diagnostics: DiagnosticChannels = {
  'holdfast:checkpoint.completed': channel('holdfast:checkpoint.completed'),
  'holdfast:checkpoint.failed': channel('holdfast:checkpoint.failed'),
  'holdfast:checkpoint.merged': channel('holdfast:checkpoint.merged'),
  'holdfast:checkpoint.mergeFailed': channel('holdfast:checkpoint.mergeFailed'),
  'holdfast:restore.completed': channel('holdfast:restore.completed'),
  'holdfast:restore.failed': channel('holdfast:restore.failed'),
  'holdfast:engine.commit': channel('holdfast:engine.commit'),
  'holdfast:engine.failed': channel('holdfast:engine.failed'),
  'holdfast:engine.logUnavailable': channel('holdfast:engine.logUnavailable'),
  'holdfast:engine.held': channel('holdfast:engine.held'),
  'holdfast:engine.call': channel('holdfast:engine.call'),
  'holdfast:job.ready': channel('holdfast:job.ready'),
  'holdfast:job.cut': channel('holdfast:job.cut'),
  'holdfast:job.cutFailed': channel('holdfast:job.cutFailed'),
  'holdfast:job.call': channel('holdfast:job.call'),
  'holdfast:job.ended': channel('holdfast:job.ended'),
}

/** Does the work, and tells on the channel how long it took and whether it failed. */
export async function timedOn<
  Event extends { readonly durationMs: number; readonly error?: unknown },
  Result,
>(
  heard: DiagnosticChannel<Event>,
  event: Omit<Event, 'durationMs' | 'error'>,
  work: () => Promise<Result>,
): Promise<Result> {
  const startedAtMs = performance.now()
  const tell = (outcome: { readonly error?: unknown }) =>
    heard.publish({ ...event, durationMs: performance.now() - startedAtMs, ...outcome } as unknown as Event)
  try {
    const result = await work()
    tell({})
    return result
  } catch (error) {
    tell({ error })
    throw error
  }
}
