// How jobs, coordinators and backends of this process are doing, for whoever looks.

import type { CheckpointEvents, Clock, JsonValue, Unsubscribe } from '../index.js'
import type { JobTimerStats, TimerStats } from '../job.js'
import { EventLoopDelay } from '../metrics/readings.js'
import {
  coordinatorsOf,
  type MeasuredBackend,
  type MeasuredCoordinator,
  type MeasuredJob,
  type MetricSources,
} from '../metrics/sources.js'

/** So many of the last checkpoints, merges, restores and failures are told of. */
const MAX_EVENTS = 200

/** Something that a coordinator did. */
interface CoordinatorEvent {
  readonly atMs: number
  readonly what: 'checkpoint' | 'failed' | 'restored' | 'merged' | 'mergeFailed'
  readonly id?: string
  readonly durationMs?: number
  readonly bytes?: number
  readonly error?: string
}

export class LiveFigures {
  readonly hasSources: boolean
  readonly #sources: MetricSources
  readonly #clock: Clock
  readonly #delay: EventLoopDelay | undefined
  readonly #events = new Map<string, CoordinatorEvent[]>()
  readonly #subscriptions: Unsubscribe[] = []

  constructor(sources: MetricSources, clock: Clock) {
    const { jobs = {}, backends = {} } = sources
    const coordinators = coordinatorsOf(sources)
    this.#sources = sources
    this.#clock = clock
    this.hasSources = [jobs, coordinators, backends].some((each) => Object.keys(each).length > 0)
    this.#delay = this.hasSources ? new EventLoopDelay() : undefined
    for (const [name, coordinator] of Object.entries(coordinators)) this.#listen(name, coordinator)
  }

  /** All figures of this instant. A source that cannot tell any more says why. */
  now(): JsonValue {
    const { jobs = {}, backends = {} } = this.#sources
    return {
      nowMs: this.#clock.now(),
      jobs: figuresOf(jobs, jobFigures),
      coordinators: figuresOf(coordinatorsOf(this.#sources), (coordinator, name) => ({
        ...coordinatorFigures(coordinator),
        events: (this.#events.get(name) ?? []).map((event) => ({ ...event })),
      })),
      backends: figuresOf(backends, backendFigures),
      eventLoopDelayMs: this.#eventLoopDelayMs(),
    }
  }

  close(): void {
    this.#delay?.stop()
    for (const unsubscribe of this.#subscriptions) unsubscribe()
  }

  #eventLoopDelayMs(): JsonValue {
    const [median, p99, max] = this.#delay?.readings.read(0).map(({ value }) => value * 1_000) ?? []
    return { median: finite(median), p99: finite(p99), max: finite(max) }
  }

  #listen(name: string, coordinator: MeasuredCoordinator): void {
    const events: CoordinatorEvent[] = []
    this.#events.set(name, events)
    const add = (event: Omit<CoordinatorEvent, 'atMs'>) => {
      events.push({ atMs: this.#clock.now(), ...event })
      if (events.length > MAX_EVENTS) events.shift()
    }
    const on = <Name extends keyof CheckpointEvents>(
      event: Name,
      told: (of: CheckpointEvents[Name]) => Omit<CoordinatorEvent, 'atMs'>,
    ) => this.#subscriptions.push(coordinator.on(event, (of) => add(told(of))))
    on('completed', ({ checkpoint, durationMs, writtenBytes }) => {
      return { what: 'checkpoint', id: checkpoint.id, durationMs, bytes: writtenBytes }
    })
    on('failed', ({ id, error }) => {
      return { what: 'failed', ...(id === undefined ? {} : { id }), error: error.message }
    })
    on('restored', ({ checkpoint, durationMs }) => ({ what: 'restored', id: checkpoint.id, durationMs }))
    on('merged', ({ through, sizeBytes, durationMs }) => {
      return { what: 'merged', id: through, durationMs, bytes: sizeBytes }
    })
    on('mergeFailed', ({ error }) => ({ what: 'mergeFailed', error: error.message }))
  }
}

type Figures = { readonly [name: string]: JsonValue }

function figuresOf<Source>(
  sources: { readonly [name: string]: Source },
  read: (source: Source, name: string) => Figures,
): Figures {
  return Object.fromEntries(
    Object.entries(sources).map(([name, source]) => {
      try {
        return [name, read(source, name)]
      } catch (error) {
        return [name, { gone: String((error as { message?: unknown }).message ?? error) }]
      }
    }),
  )
}

/** JSON has no infinity, which here means that there is nothing yet. */
const finite = (value: number | undefined): number | null =>
  value === undefined || !Number.isFinite(value) ? null : value

function jobFigures(job: MeasuredJob): Figures {
  const { partitions, positions, stages, windows, timers, watermarkMs, behindMs, ...counts } = job.stats()
  const { state, isReady, isHealthy, stalled, failedCuts, error } = job.health()
  return {
    ...counts,
    watermarkMs: finite(watermarkMs),
    behindMs: finite(behindMs),
    timers: timerFigures(timers),
    windows: Object.fromEntries(
      Object.entries(windows).map(([name, { open, nextMs }]) => [name, { open, nextMs: finite(nextMs) }]),
    ),
    stages: Object.fromEntries(
      Object.entries(stages).map(([name, stage]) => [name, { ...stage, timers: timerFigures(stage.timers) }]),
    ),
    partitions: Object.fromEntries(
      [...new Set([...Object.keys(positions), ...Object.keys(partitions)])].map((partition) => {
        const progress = partitions[partition]
        return [
          partition,
          {
            position: positions[partition] ?? null,
            highestMs: finite(progress?.highestMs),
            watermarkMs: finite(progress?.watermarkMs),
            isIdle: progress?.isIdle ?? false,
            hasEnded: progress?.hasEnded ?? false,
          },
        ]
      }),
    ),
    state,
    isReady,
    isHealthy,
    stalled: stalled === undefined ? null : { ...stalled },
    failedCuts:
      failedCuts === undefined ? null : { count: failedCuts.count, error: failedCuts.error.message },
    error: error?.message ?? null,
  }
}

function timerFigures({ event, processing }: JobTimerStats): Figures {
  const of = ({ waiting, due, nextMs }: TimerStats) => ({ waiting, due, nextMs: finite(nextMs) })
  return { event: of(event), processing: of(processing) }
}

function coordinatorFigures(coordinator: MeasuredCoordinator): Figures {
  const { lastError, lastSuccessAt, ...figures } = coordinator.stats()
  return {
    ...(JSON.parse(JSON.stringify(figures)) as Figures),
    lastError: lastError?.message ?? null,
    lastSuccessAtMs: lastSuccessAt?.getTime() ?? null,
  }
}

const backendFigures = (backend: MeasuredBackend): Figures => ({
  ...(JSON.parse(JSON.stringify(backend.stats())) as Figures),
})
