import { performance } from 'node:perf_hooks'
import { type CancelTimer, systemClock } from '../../base/clock.js'
import type { JobPulse } from './job-pulse.js'

/** How often it is told anew. */
const TOLD_EVERY_MS = 50

/**
 * Tells a job, for as long as it runs, what share of its time the event loop of this thread is busy. Returns what ends it. Until the
 * first stretch of time is over, nobody knows: it counts as busy.
 */
export function tellHostLoad(pulse: JobPulse): () => void {
  let before = performance.eventLoopUtilization()
  let cancel: CancelTimer = () => {}
  const tellLater = () => {
    cancel = systemClock.setTimer(() => {
      const now = performance.eventLoopUtilization()
      pulse.hostLoad = performance.eventLoopUtilization(now, before).utilization
      before = now
      tellLater()
    }, TOLD_EVERY_MS)
  }
  pulse.hostLoad = 1
  tellLater()
  return () => cancel()
}
