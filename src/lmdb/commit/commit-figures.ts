import type { LmdbStats } from '../types.js'
import type { CommitResult } from './store-writer.js'

/** Commits whose durations are kept. */
const KEPT = 1_024

/** What the commits of this process have come to. */
export class CommitFigures {
  #commits = 0
  #records = 0
  #bytes = 0
  readonly #latestMs = new Float64Array(KEPT)

  note({ records, recordBytes }: CommitResult, tookMs: number): void {
    this.#latestMs[this.#commits++ % KEPT] = tookMs
    this.#records += records
    this.#bytes += recordBytes
  }

  read(): Pick<LmdbStats, 'commits' | 'recordsCommitted' | 'bytesCommitted' | 'commitMs'> {
    return {
      commits: this.#commits,
      recordsCommitted: this.#records,
      bytesCommitted: this.#bytes,
      commitMs: this.#durations(),
    }
  }

  /** Nearest-rank percentiles in milliseconds; 0 where there is nothing yet. */
  #durations(): LmdbStats['commitMs'] {
    const sorted = this.#latestMs.slice(0, Math.min(this.#commits, KEPT)).sort()
    const rank = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
    return { p50: rank(0.5), p99: rank(0.99), max: rank(1) }
  }
}
