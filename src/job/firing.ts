// What of a job fires when a time has come: timers and windows, of all stages, in order.
//
// (1) A stage hears of a watermark once everything that this has fired before was processed there.
// (2) The clock calls when the next timer or window of processing time is due, also beside a poll that waits.
// (3) All of it goes on in slices while the mutex is held: no cut is made on the way.

import { type CancelTimer, type Clock, type ForwardClock, setLongTimer } from '../base/clock.js'
import type { Mutex } from '../base/mutex.js'
import { nextTurn, runSliced, SLICE_MS, type SlicedWork } from '../base/slices.js'
import type { SourceTime } from '../window/time/source-time.js'
import type { FetchedBackend } from './fetched-backend.js'
import type { FiringTimers, JobTimers } from './job-timers.js'
import type { JobWindows } from './job-windows.js'
import type { LaterStage } from './later-stage.js'

/** What of a stage fires; `stage` where it is not the first one. */
export interface FiringStage {
  readonly timers: JobTimers | undefined
  readonly windows: JobWindows | undefined
  readonly stage: LaterStage | undefined
}

/** Of the processor of events: what calls `onTimer`, and what takes results on. */
export interface FiringProcessor {
  timerSlice(firing: FiringTimers, stage?: LaterStage): boolean
  timerSliceLater(
    firing: FiringTimers,
    stage: LaterStage | undefined,
    fetched: FetchedBackend,
  ): Promise<boolean>
  /** Something is in memory that the store does not have. */
  noteNews(): void
  passOn(): void
}

export interface FiringParts {
  /** All of them, in order. */
  readonly stages: readonly FiringStage[]
  readonly processor: FiringProcessor
  readonly fetched: FetchedBackend | undefined
  readonly time: SourceTime | undefined
  readonly store: object
  readonly clock: Clock
  /** The same clock, which never goes back. */
  readonly forwardClock: ForwardClock
  readonly mutex: Mutex
  /** Windows of processing time have fired up to here. */
  readonly clockMs: number | undefined
  /** Gives the sink what was put out. */
  deliver(): Promise<void>
  /** The job has failed. */
  end(error: unknown): never
  /** Nothing more is to fire by the clock. */
  isOver(): boolean
}

export class Firing {
  readonly #parts: FiringParts
  readonly #areSomeByClock: boolean
  #clockMs: number | undefined
  #cancelWindowTimer: CancelTimer = () => {}

  constructor(parts: FiringParts) {
    this.#parts = parts
    this.#areSomeByClock = parts.stages.some(({ windows }) => windows?.areSomeByClock === true)
    this.#clockMs = parts.clockMs
  }

  /** Windows of processing time have fired up to here; `undefined` where there are none. */
  get clockMs(): number | undefined {
    return this.#areSomeByClock ? this.#clockMs : undefined
  }

  /** One stage after the other. Only while the mutex is held. */
  async passWatermark(watermarkMs: number): Promise<void> {
    const { stages, time, store } = this.#parts
    const highestMs = time?.highestMs ?? -Infinity
    const last = stages.at(-1)?.stage
    for (const { timers, windows, stage } of stages) {
      stage?.onWatermark(watermarkMs)
      // What lives by event time, in whatever stage, does so until all stages have come to its end.
      if (stage === last) advanceStore(store, watermarkMs)
      if (timers !== undefined)
        await this.#fire(await runSliced(timers.atWatermark(watermarkMs, highestMs)), stage)
      if (windows !== undefined) await this.#delivering(windows.advance(watermarkMs), stage)
    }
  }

  /** The source has ended, of a job without event time: all windows fire (T8). Only while the mutex is held. */
  async endWithoutTime(): Promise<void> {
    for (const { windows, stage } of this.#parts.stages) {
      if (windows !== undefined) await this.#delivering(windows.advance(Infinity), stage)
    }
  }

  /** What was due while the job did not run, in order (R5). */
  async fireOverdue(): Promise<void> {
    const { mutex, time, end } = this.#parts
    const fire = async () => {
      const watermarkMs = time?.watermarkMs ?? -Infinity
      if (watermarkMs > -Infinity) await this.passWatermark(watermarkMs)
      await this.fireDue()
    }
    await mutex.run(() => fire().catch(end))
  }

  /** What is due by the clock, once: what that sets fires in another turn, if there is one. Only while the mutex is held. */
  async fireDue(): Promise<void> {
    const { stages, fetched, forwardClock } = this.#parts
    const nowMs = forwardClock.now()
    for (const { timers, windows, stage } of stages) {
      if (timers !== undefined) await this.#fire(await runSliced(timers.atClock()), stage)
      if (windows !== undefined) await this.#delivering(windows.onProcessingTime(nowMs), stage)
    }
    this.#clockMs = Math.floor(nowMs)
    await fetched?.commit()
    for (const { timers } of stages) timers?.start()
    this.armWindows()
  }

  /** Something is due by the clock: between two polls, or beside one that waits. */
  onDue(): void {
    const { mutex, end, isOver } = this.#parts
    const fire = async () => {
      if (!isOver()) await this.fireDue()
    }
    mutex.run(() => fire().catch(end)).catch(() => {})
  }

  /** The clock calls when a window has a result that waits for it, from now on. */
  armWindows(): void {
    const { stages, clock, forwardClock, isOver } = this.#parts
    const nextMs = Math.min(Infinity, ...stages.map(({ windows }) => windows?.nextProcessingMs ?? Infinity))
    this.#cancelWindowTimer()
    if (nextMs === Infinity || isOver()) return
    this.#cancelWindowTimer = setLongTimer(
      clock,
      () => this.onDue(),
      Math.max(0, nextMs - forwardClock.now()),
    )
  }

  /** The clock calls no more. */
  stop(): void {
    this.#cancelWindowTimer()
    for (const { timers } of this.#parts.stages) timers?.stop()
  }

  /** Work whose outputs go to the sink while it goes on. */
  async #delivering(work: SlicedWork<void>, stage: LaterStage | undefined): Promise<void> {
    const { processor, deliver } = this.#parts
    let endMs = performance.now() + SLICE_MS
    const from = stage ?? processor
    processor.noteNews()
    for (;;) {
      const { done } = work.next()
      from.passOn()
      if (done !== true && performance.now() < endMs) continue
      await deliver()
      if (done === true) return
      await nextTurn()
      endMs = performance.now() + SLICE_MS
    }
  }

  async #fire(firing: FiringTimers, stage: LaterStage | undefined): Promise<void> {
    const { fetched, processor, deliver } = this.#parts
    for (;;) {
      const isMore =
        fetched === undefined
          ? processor.timerSlice(firing, stage)
          : await processor.timerSliceLater(firing, stage, fetched)
      await deliver()
      if (!isMore) return
      await nextTurn()
    }
  }
}

/** At the end of its source a job is at +Infinity; what lives by event time stays as it was before that. */
export function advanceStore(store: unknown, watermarkMs: number): void {
  const { advanceWatermark } = store as { advanceWatermark(timestampMs: number): void }
  // Behind the first events of all time there is none that a store could tell.
  if (Number.isSafeInteger(watermarkMs) && watermarkMs > -Number.MAX_SAFE_INTEGER)
    advanceWatermark.call(store, watermarkMs)
}
