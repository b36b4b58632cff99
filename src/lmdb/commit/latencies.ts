const KEPT = 1_024

/** The latest durations, and where they lie. */
export class Latencies {
  readonly #latest = new Float64Array(KEPT)
  #count = 0

  add(tookMs: number): void {
    this.#latest[this.#count++ % KEPT] = tookMs
  }

  /** Nearest-rank percentiles in milliseconds; 0 where there is nothing yet. */
  summary(): { readonly p50: number; readonly p99: number; readonly max: number } {
    const sorted = this.#latest.slice(0, Math.min(this.#count, KEPT)).sort()
    const rank = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
    return { p50: rank(0.5), p99: rank(0.99), max: rank(1) }
  }
}
