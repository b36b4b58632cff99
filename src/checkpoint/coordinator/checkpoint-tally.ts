import type { CheckpointMetadata, CheckpointStats } from '../types.js'

export interface MadeNote {
  readonly durationMs: number
  readonly atMs: number
  readonly writtenBytes: number
  readonly cutMs: number
}

/** Counts what a coordinator did. */
export class CheckpointTally {
  #created = 0
  #failed = 0
  #lastDurationMs: number | undefined
  #totalDurationMs = 0
  #lastSizeBytes: number | undefined
  #totalBytes = 0
  #restores = 0
  #restoreFailures = 0
  #lastError: Error | undefined
  #lastSuccessAt: Date | undefined
  #lastKind: CheckpointMetadata['kind'] | undefined
  #lastWrittenBytes: number | undefined
  #writtenBytes = 0
  #lastCutMs: number | undefined
  #merges = 0
  #mergeFailures = 0
  running = false

  get created(): number {
    return this.#created
  }

  get restores(): number {
    return this.#restores
  }

  noteCreated(checkpoint: CheckpointMetadata, made: MadeNote): void {
    const { durationMs, atMs, writtenBytes, cutMs } = made
    this.#lastKind = checkpoint.kind
    this.#lastWrittenBytes = writtenBytes
    this.#writtenBytes += writtenBytes
    this.#lastCutMs = cutMs
    this.#created++
    this.#lastDurationMs = durationMs
    this.#totalDurationMs += durationMs
    this.#lastSizeBytes = checkpoint.sizeBytes
    this.#totalBytes += checkpoint.sizeBytes
    this.#lastSuccessAt = new Date(atMs)
  }

  noteMerged(writtenBytes: number): void {
    this.#merges++
    this.#writtenBytes += writtenBytes
  }

  noteMergeFailed(error: Error): void {
    this.#mergeFailures++
    this.#lastError = error
  }

  noteFailed(error: Error): void {
    this.#failed++
    this.#lastError = error
  }

  noteRestored(): void {
    this.#restores++
  }

  noteRestoreFailed(error: Error): void {
    this.#restoreFailures++
    this.#lastError = error
  }

  snapshot(chain: Pick<CheckpointStats, 'chainDeltas' | 'merging' | 'mirror'>): CheckpointStats {
    return {
      created: this.#created,
      failed: this.#failed,
      lastDurationMs: this.#lastDurationMs,
      totalDurationMs: this.#totalDurationMs,
      lastSizeBytes: this.#lastSizeBytes,
      totalBytes: this.#totalBytes,
      restores: this.#restores,
      restoreFailures: this.#restoreFailures,
      lastError: this.#lastError,
      lastSuccessAt: this.#lastSuccessAt,
      running: this.running,
      lastKind: this.#lastKind,
      lastWrittenBytes: this.#lastWrittenBytes,
      writtenBytes: this.#writtenBytes,
      lastCutMs: this.#lastCutMs,
      merges: this.#merges,
      mergeFailures: this.#mergeFailures,
      ...chain,
    }
  }
}
