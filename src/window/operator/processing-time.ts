// Windows of processing time: those of the moment at which an event is processed. The clock of the job is their watermark.
//
// (1) Up to `clockMs` windows have fired, and nothing older comes: the clock never goes back, behind a restart neither, since each cut
//     has how far they have fired (T13).
// (2) At the end of the source all of them fire (T8), whatever the clock says.

import type { SlicedWork } from '../../base/slices.js'
import type { KeyLike } from '../../state/key/stored-key.js'
import type { AnyResult, ErasedWindows, LateFigures, WindowOperator } from './window-operator.js'

export const areOfProcessingTime = ({ time }: Pick<ErasedWindows, 'time'>): boolean => time === 'processing'

/** The same windows under a description of their own: what is kept of events' times does not go on by the clock. */
export function describedByClock(definition: ErasedWindows): ErasedWindows {
  const { windows } = definition
  return { ...definition, windows: { ...windows, description: `${windows.description} of processing time` } }
}

export class ProcessingTimeWindows implements WindowOperator {
  readonly #windows: WindowOperator
  readonly #nowMs: () => number
  #clockMs: number

  constructor(windows: WindowOperator, nowMs: () => number) {
    this.#windows = windows
    this.#nowMs = nowMs
    this.#clockMs = wholeOf(nowMs())
  }

  get late(): LateFigures {
    return this.#windows.late
  }

  get open(): number {
    return this.#windows.open
  }

  get nextDueMs(): number {
    return Infinity
  }

  get nextProcessingMs(): number {
    return Math.min(this.#windows.nextProcessingMs, this.#windows.nextDueMs + 1)
  }

  add(key: KeyLike<unknown>, event: unknown): void {
    this.#windows.add(key, event, wholeOf(this.#nowMs()), this.#clockMs - 1)
  }

  revert(): void {
    this.#windows.revert()
  }

  *advance(watermarkMs: number): SlicedWork<void> {
    if (watermarkMs === Infinity) yield* this.#windows.advance(Infinity)
  }

  *onProcessingTime(nowMs: number): SlicedWork<void> {
    this.#clockMs = wholeOf(nowMs)
    // Events of this millisecond may still come.
    yield* this.#windows.advance(this.#clockMs - 1)
    yield* this.#windows.onProcessingTime(nowMs)
  }

  peek(key: KeyLike<unknown>): AnyResult[] {
    return this.#windows.peek(key)
  }

  flush(): SlicedWork<void> {
    return this.#windows.flush()
  }

  restore(_watermarkMs: number, clockMs: number = this.#clockMs): SlicedWork<void> {
    this.#clockMs = clockMs
    return this.#windows.restore(clockMs - 1)
  }
}

/** A clock may tell parts of a millisecond. */
const wholeOf = (timeMs: number): number => Math.floor(timeMs)
