import { type EventLoopUtilization, performance } from 'node:perf_hooks'
import { type CancelTimer, systemClock } from '../../base/clock.js'
import { inNextTurn } from '../../base/slices.js'
import type { JobPulse } from './job-pulse.js'

/** After how long it is told for the first time; each stretch after it is twice as long as the one before, … */
const FIRST_TOLD_MS = 2
/** … up to that. */
const TOLD_EVERY_MS = 50

/**
 * Tells a job, for as long as it runs, what share of its time the event loop of this thread is busy. Returns what ends it. Until the
 * first stretch of time is over, nobody knows: it counts as busy. That stretch begins behind the step that started the job, which says
 * nothing of what this thread will be doing beside it.
 */
export function tellHostLoad(pulse: JobPulse): () => void {
  let before: EventLoopUtilization
  let cancel: CancelTimer = () => {}
  const tellAfter = (delayMs: number) => {
    cancel = systemClock.setTimer(() => {
      const now = performance.eventLoopUtilization()
      pulse.hostLoad = performance.eventLoopUtilization(now, before).utilization
      before = now
      tellAfter(Math.min(TOLD_EVERY_MS, delayMs * 2))
    }, delayMs)
  }
  pulse.hostLoad = 1
  // A realm of its own, as that of some test runners, has no `clearImmediate`.
  let isOver = false
  inNextTurn(() => {
    if (isOver) return
    before = performance.eventLoopUtilization()
    tellAfter(FIRST_TOLD_MS)
  })
  return () => {
    isOver = true
    cancel()
  }
}
