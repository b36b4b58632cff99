import { requireSettings } from '../engine.js'
import { systemClock } from '../index.js'
import { coordinatorsOf, type MetricSources } from './sources.js'

/** When something counts as unhealthy. */
export interface HealthOptions {
  /** A coordinator that was published to longer ago than this is unhealthy, in milliseconds; one that has not published yet has no age. Default Infinity. */
  readonly maxCheckpointAgeMs?: number
}

/** What a probe answers with. */
export interface Health {
  /** For a liveness probe: nothing failed or hangs. */
  readonly isHealthy: boolean
  /** For a readiness probe: every job reads events. */
  readonly isReady: boolean
  /** Why not, in sentences for people. */
  readonly reasons: readonly string[]
}

/**
 * What an endpoint for probes answers, of jobs and coordinators together.
 *
 * @example
 * const { isHealthy, reasons } = health({ jobs: { usage: job } })
 * response.writeHead(isHealthy ? 200 : 503).end(reasons.join('\n'))
 */
export function health(sources: MetricSources, options: HealthOptions = {}): Health {
  requireSettings(sources, [], 'sources')
  requireSettings(options)
  const { maxCheckpointAgeMs = Infinity } = options
  const reasons: string[] = []
  let isHealthy = true
  let isReady = true
  const unhealthy = (reason: string) => {
    isHealthy = false
    reasons.push(reason)
  }
  for (const [name, job] of Object.entries(sources.jobs ?? {})) {
    const { state, isReady: ready, isHealthy: healthy, stalled, failedCuts, error } = job.health()
    if (!healthy) {
      const why =
        error?.message ??
        (stalled === undefined
          ? undefined
          : `${stalled.call} has taken ${Math.round(stalled.forMs / 1_000)} s`) ??
        (failedCuts === undefined
          ? undefined
          : `${failedCuts.count === 1 ? '1 cut has' : `${failedCuts.count} cuts have`} failed: ${failedCuts.error.message}`)
      unhealthy(`job ${name} is ${state}${why === undefined ? '' : `: ${why}`}`)
    }
    if (!ready) {
      isReady = false
      reasons.push(`job ${name} reads no events: it is ${state === 'running' ? 'being restored' : state}`)
    }
  }
  for (const [name, coordinator] of Object.entries(coordinatorsOf(sources))) {
    const { lastSuccessAt } = coordinator.stats()
    const ageMs = lastSuccessAt === undefined ? 0 : systemClock.now() - lastSuccessAt.getTime()
    if (ageMs > maxCheckpointAgeMs) {
      unhealthy(`the last checkpoint of ${name} is ${Math.round(ageMs / 1_000)} s old`)
    }
  }
  return { isHealthy, isReady, reasons }
}
