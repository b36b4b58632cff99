import type { CheckpointMetadata, CheckpointStats } from './types.js'

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
  running = false

  get created(): number {
    return this.#created
  }

  get restores(): number {
    return this.#restores
  }

  noteCreated(checkpoint: CheckpointMetadata, durationMs: number, atMs: number): void {
    this.#created++
    this.#lastDurationMs = durationMs
    this.#totalDurationMs += durationMs
    this.#lastSizeBytes = checkpoint.sizeBytes
    this.#totalBytes += checkpoint.sizeBytes
    this.#lastSuccessAt = new Date(atMs)
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

  snapshot(): CheckpointStats {
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
    }
  }
}
