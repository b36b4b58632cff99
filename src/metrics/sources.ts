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
  /** Those that it makes are told of under the name of the job. */
  readonly checkpoints?: MeasuredCoordinator | undefined
  stats(): JobStats
  health(): JobHealth
}

/** What is measured, by names that become a label: of each kind as many as there are, none by default. */
export interface MetricSources {
  readonly backends?: { readonly [name: string]: MeasuredBackend }
  readonly coordinators?: { readonly [name: string]: MeasuredCoordinator }
  readonly jobs?: { readonly [name: string]: MeasuredJob }
}

/** The coordinators by their names, and those of jobs by the names of these; one that was given by such a name comes before that of the job. */
export function coordinatorsOf({ coordinators = {}, jobs = {} }: MetricSources): {
  readonly [name: string]: MeasuredCoordinator
} {
  const ofJobs = Object.entries(jobs).flatMap(([name, { checkpoints }]) =>
    checkpoints === undefined ? [] : [[name, checkpoints] as const],
  )
  return { ...Object.fromEntries(ofJobs), ...coordinators }
}
