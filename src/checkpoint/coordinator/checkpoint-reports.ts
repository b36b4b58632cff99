// What a coordinator tells of its work: in figures, by events, in the log, and by diagnostics.

import { diagnostics } from '../../base/diagnostics.js'
import { reasonOf, type SkippedCheckpoint, type StateError } from '../../base/errors.js'
import { Listeners, type Unsubscribe } from '../../base/events.js'
import { isErrorLike } from '../../base/shapes.js'
import type { CheckpointEvents, CheckpointMetadata, CheckpointStats, Logger } from '../types.js'
import { CheckpointTally, type MadeNote } from './checkpoint-tally.js'

export class CheckpointReports {
  readonly #storage: string
  readonly #logger: Logger
  readonly #tally = new CheckpointTally()
  readonly #listeners = new Listeners<CheckpointEvents>([
    'started',
    'completed',
    'failed',
    'restored',
    'skipped',
    'merged',
    'mergeFailed',
    'deleted',
    'mirrored',
    'mirrorFailed',
  ])

  constructor(storage: string, logger: Logger) {
    this.#storage = storage
    this.#logger = logger
  }

  /** How many checkpoints were made. */
  get created(): number {
    return this.#tally.created
  }

  set running(isRunning: boolean) {
    this.#tally.running = isRunning
  }

  stats(chain: Pick<CheckpointStats, 'chainDeltas' | 'merging' | 'mirror'>): CheckpointStats {
    return this.#tally.snapshot(chain)
  }

  on<Name extends keyof CheckpointEvents>(
    event: Name,
    listener: (event: CheckpointEvents[Name]) => void,
  ): Unsubscribe {
    return this.#listeners.on(event, listener)
  }

  /** Of what is told by an event alone. */
  emit<Name extends 'started' | 'deleted' | 'mirrored' | 'mirrorFailed'>(
    event: Name,
    told: CheckpointEvents[Name],
  ): void {
    this.#listeners.emit(event, told)
  }

  completed(checkpoint: CheckpointMetadata, made: MadeNote): void {
    this.#tally.noteCreated(checkpoint, made)
    const { id, kind, entryCount, sizeBytes } = checkpoint
    const { durationMs, writtenBytes, cutMs } = made
    const fields = { checkpoint: id, kind, entryCount, sizeBytes, writtenBytes, durationMs }
    this.#logger.info(fields, 'checkpoint published')
    this.#listeners.emit('completed', { checkpoint, durationMs, writtenBytes })
    const heard = diagnostics['holdfast:checkpoint.completed']
    if (heard.hasSubscribers) heard.publish({ storage: this.#storage, ...fields, cutMs })
  }

  failed(id: CheckpointMetadata['id'] | undefined, error: StateError, durationMs: number): void {
    this.#tally.noteFailed(error)
    this.#logger.error({ checkpoint: id, code: error.code, reason: error.message }, 'checkpoint failed')
    this.#listeners.emit('failed', { id, error })
    const heard = diagnostics['holdfast:checkpoint.failed']
    if (heard.hasSubscribers) heard.publish({ storage: this.#storage, checkpoint: id, durationMs, error })
  }

  merged(merged: CheckpointEvents['merged']): void {
    const { through, sizeBytes, durationMs } = merged
    this.#tally.noteMerged(sizeBytes)
    this.#listeners.emit('merged', merged)
    const heard = diagnostics['holdfast:checkpoint.merged']
    if (heard.hasSubscribers) heard.publish({ storage: this.#storage, through, sizeBytes, durationMs })
  }

  mergeFailed(error: StateError): void {
    this.#tally.noteMergeFailed(error)
    this.#listeners.emit('mergeFailed', { error })
    const heard = diagnostics['holdfast:checkpoint.mergeFailed']
    if (heard.hasSubscribers) heard.publish({ storage: this.#storage, error })
  }

  restored(checkpoint: CheckpointMetadata, durationMs: number): void {
    const { id, entryCount } = checkpoint
    this.#tally.noteRestored()
    this.#logger.info({ checkpoint: id, entryCount, durationMs }, 'checkpoint restored')
    this.#listeners.emit('restored', { checkpoint, durationMs })
    const heard = diagnostics['holdfast:restore.completed']
    if (heard.hasSubscribers)
      heard.publish({ storage: this.#storage, checkpoint: id, entryCount, durationMs })
  }

  restoreFailed(error: unknown, durationMs: number): void {
    this.#tally.noteRestoreFailed(isErrorLike(error) ? error : new Error(reasonOf(error)))
    this.#logger.error({ reason: reasonOf(error) }, 'restore failed')
    const heard = diagnostics['holdfast:restore.failed']
    if (heard.hasSubscribers) heard.publish({ storage: this.#storage, durationMs, error })
  }

  /** Of a restore that takes an older one. */
  skipped(skipped: SkippedCheckpoint): void {
    const fields = { checkpoint: skipped.id, code: skipped.code, reason: skipped.reason }
    this.#logger.error(fields, 'checkpoint passed over by the restore')
    this.#listeners.emit('skipped', skipped)
  }

  /** Of a list that goes on without it. */
  notListed(id: CheckpointMetadata['id'], { code, message }: StateError): void {
    this.#logger.warn({ checkpoint: id, code, reason: message }, 'checkpoint not listed')
  }

  sequenceUnknown({ code, message }: StateError): void {
    const fields = { storage: this.#storage, code, reason: message }
    this.#logger.warn(fields, 'cannot tell whether a newer checkpoint was lost without a trace')
  }

  noFinalCheckpoint(reason: string): void {
    this.#logger.warn({ storage: this.#storage, reason }, 'no final checkpoint')
  }

  retentionFailed(error: unknown): void {
    this.#logger.warn({ reason: reasonOf(error) }, 'retention failed; the next checkpoint tries again')
  }

  waitBeforeReleaseFailed(error: unknown): void {
    const fields = { reason: reasonOf(error) }
    this.#logger.warn(fields, 'what was awaited before the release of the storage has failed')
  }
}
