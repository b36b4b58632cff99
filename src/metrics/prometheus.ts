import { systemClock } from '../index.js'
import { checkpointDuration, restoreDuration, type TimedInstrument, type Unit } from './instruments.js'
import { EventLoopDelay, type MetricReadings, metricReadings } from './readings.js'
import type { MetricSources } from './sources.js'

/** As much of a registry of `prom-client` as is used. */
export interface PrometheusRegistry {
  registerMetric(metric: never): void
  removeSingleMetric(name: string): void
}

/** As much of the module `prom-client` as is used. */
export interface PrometheusClient {
  readonly register: PrometheusRegistry
  readonly Histogram: new (options: {
    readonly name: string
    readonly help: string
    readonly labelNames: string[]
    readonly buckets: number[]
    readonly registers: never[]
  }) => { observe(labels: { readonly [label: string]: string }, value: number): void }
}

export interface PrometheusOptions {
  /** Default: the client's own. */
  readonly registry?: PrometheusRegistry
}

export interface RunningMetrics {
  /** Takes the metrics out again, and listens no more. Idempotent. */
  stop(): void
}

/**
 * Registers metrics of backends, coordinators and jobs with `prom-client`, which the caller passes in. They are read when they are
 * scraped: between two scrapes nothing is done but to time checkpoints and restores. Each series has the name of its source as label; the names
 * of the metrics are in docs/metrics.md.
 *
 * @example
 * import * as client from 'prom-client'
 * const metrics = prometheusMetrics(client, { jobs: { usage: job }, backends: { usage: backend } })
 * http.createServer(async (_request, response) => response.end(await client.register.metrics()))
 */
export function prometheusMetrics(
  client: PrometheusClient,
  sources: MetricSources,
  options: PrometheusOptions = {},
): RunningMetrics {
  const registry = options.registry ?? client.register
  const delay = new EventLoopDelay()
  const names: string[] = []
  const unsubscribes: (() => void)[] = []
  for (const readings of [...metricReadings(sources), delay.readings]) {
    const metric = scrapedMetric(readings)
    registry.registerMetric(metric as never)
    names.push(metric.name)
  }
  const timed = (instrument: TimedInstrument) => {
    const name = prometheusName(instrument.name, 's', 'gauge')
    names.push(name)
    return new client.Histogram({
      name,
      help: instrument.help,
      labelNames: ['coordinator'],
      buckets: [...instrument.bounds],
      registers: [registry as never],
    })
  }
  const coordinators = Object.entries(sources.coordinators ?? {})
  if (coordinators.length > 0) {
    const [checkpoints, restores] = [timed(checkpointDuration), timed(restoreDuration)]
    for (const [coordinator, source] of coordinators) {
      unsubscribes.push(
        source.on('completed', ({ durationMs }) => checkpoints.observe({ coordinator }, durationMs / 1_000)),
        source.on('restored', ({ durationMs }) => restores.observe({ coordinator }, durationMs / 1_000)),
      )
    }
  }
  return {
    stop: () => {
      delay.stop()
      for (const name of names.splice(0)) registry.removeSingleMetric(name)
      for (const unsubscribe of unsubscribes.splice(0)) unsubscribe()
    },
  }
}

/** A metric in the form of prom-client's own: it is asked for its values at each scrape. */
function scrapedMetric({ instrument, read }: MetricReadings) {
  const { name, kind, unit, help } = instrument
  const metric = { name: prometheusName(name, unit, kind), help, type: kind, aggregator: 'sum' }
  const get = async () => ({ ...metric, values: read(systemClock.now()) })
  return { ...metric, get, reset: () => {} }
}

const UNIT_NAMES: { readonly [unit in Unit]?: string } = { s: '_seconds', By: '_bytes' }

/** `holdfast.backend.written` in bytes, a counter: `holdfast_backend_written_bytes_total`. */
export function prometheusName(name: string, unit: Unit, kind: 'counter' | 'gauge'): string {
  return `${name.replaceAll('.', '_')}${UNIT_NAMES[unit] ?? ''}${kind === 'counter' ? '_total' : ''}`
}
