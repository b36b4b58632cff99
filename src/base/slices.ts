// Node's own, as it is when this is loaded: a test runner that makes time stand still replaces the global one later, and a turn of the event
// loop is no time.
import { setImmediate } from 'node:timers'

/**
 * Work that can be interrupted: a generator that yields wherever it may stop for a while. Whoever drives it decides
 * whether it runs through or lets the event loop breathe.
 */
export type SlicedWork<Result> = Generator<undefined, Result, undefined>

/** Runs through at once. */
export function runThrough<Result>(work: SlicedWork<Result>): Result {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
  }
}

/** How long a slice may hold the event loop, in milliseconds. */
export const SLICE_MS = 2

/** Runs with a turn of the event loop after every `sliceMs`; `between` is called there and may throw to give up. */
export async function runSliced<Result>(
  work: SlicedWork<Result>,
  between?: () => void,
  sliceMs: () => number = () => SLICE_MS,
): Promise<Result> {
  let sliceEnd = performance.now() + sliceMs()
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
    if (performance.now() >= sliceEnd) {
      await nextTurn()
      try {
        between?.()
      } catch (error) {
        work.return(undefined as Result)
        throw error
      }
      sliceEnd = performance.now() + sliceMs()
    }
  }
}

/** Resolves after waiting input and output had their turn. */
export function nextTurn(): Promise<void> {
  return new Promise(inNextTurn)
}

/** Calls back after waiting input and output had their turn. */
export function inNextTurn(callback: () => void): void {
  setImmediate(callback)
}
