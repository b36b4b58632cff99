import { type CancelTimer, type Clock, setLongTimer } from '../../base/clock.js'

/** What a run of the schedule came to: done, or to be tried again after a while. */
export type ScheduledRun = { readonly waitMs: number } | undefined

export interface ScheduleSettings {
  readonly clock: Clock
  readonly intervalMs: number
  readonly minPauseMs: number
  readonly run: () => Promise<ScheduledRun>
}

/**
 * Calls `run` every `intervalMs`, counted from start to start, but never sooner than `minPauseMs` after the end of the
 * run before. Runs never overlap. `run` must not reject.
 *
 * It waits by timers alone, not by the time of day, so a clock that jumps neither delays nor multiplies the runs.
 */
export class CheckpointSchedule {
  readonly #settings: ScheduleSettings
  #cancel: CancelTimer | undefined
  #active = false

  constructor(settings: ScheduleSettings) {
    this.#settings = settings
  }

  /** The first run comes after one interval. Starting twice is starting once. */
  start(): void {
    if (this.#active) return
    this.#active = true
    this.#wait(this.#settings.intervalMs)
  }

  /** No run begins any more; one that has begun goes on. */
  stop(): void {
    this.#active = false
    this.#cancel?.()
    this.#cancel = undefined
  }

  #wait(delayMs: number): void {
    if (!this.#active) return
    this.#cancel = setLongTimer(this.#settings.clock, () => void this.#fire(), delayMs)
  }

  async #fire(): Promise<void> {
    const { clock, intervalMs, minPauseMs, run } = this.#settings
    const startedAtMs = clock.now()
    const outcome = await run()
    const tookMs = Math.max(0, clock.now() - startedAtMs)
    this.#wait(outcome === undefined ? Math.max(minPauseMs, intervalMs - tookMs) : outcome.waitMs)
  }
}
