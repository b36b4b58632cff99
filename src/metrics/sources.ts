// What metrics are taken from, by names that people choose: these become the label of each series, so there are as many as there are
// names, however many keys there are.

import type { BackendStats, CheckpointEvents, CheckpointStats, Unsubscribe } from '../index.js'
import type { JobHealth, JobStats } from '../job.js'

/** A backend, or anything with its figures. */
export interface MeasuredBackend {
  readonly name: string
  stats(): BackendStats
}

/** A checkpoint coordinator. */
export interface MeasuredCoordinator {
  stats(): CheckpointStats
  on<Name extends keyof CheckpointEvents>(
    event: Name,
    listener: (event: CheckpointEvents[Name]) => void,
  ): Unsubscribe
}

/** A job of `runJob`. */
export interface MeasuredJob {
  stats(): JobStats
  health(): JobHealth
}

export interface MetricSources {
  readonly backends?: { readonly [name: string]: MeasuredBackend }
  readonly coordinators?: { readonly [name: string]: MeasuredCoordinator }
  readonly jobs?: { readonly [name: string]: MeasuredJob }
}
