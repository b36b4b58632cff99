import { requireSettings } from '../engine.js'
import { systemClock } from '../index.js'
import type { TimedInstrument, Unit } from './instruments.js'
import { EventLoopDelay, type MetricReadings, metricReadings } from './readings.js'
import type { MetricSources } from './sources.js'
import { type Observe, observeTimings } from './timings.js'

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

/** Metrics that were registered. */
export interface RunningMetrics {
  /** Takes the metrics out again, and listens no more. Idempotent. */
  stop(): void
}

/**
 * Registers metrics of backends, coordinators and jobs with `prom-client`, which the caller passes in. They are read when they are
 * scraped: between two scrapes nothing is done but to time checkpoints, restores, and what engines on disks and servers do. Each series has the name of its source as label; the names
 * of the metrics are in docs/metrics.md. Once for a registry: what it throws for a name that it has already is passed on, and nothing is left.
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
  requireSettings(client, ['register', 'Histogram'], 'client')
  requireSettings(sources, [], 'sources')
  requireSettings(options)
  const registry = options.registry ?? client.register
  const delay = new EventLoopDelay()
  const stops: (() => void)[] = [() => delay.stop()]
  const stop = () => {
    for (const each of stops.splice(0)) each()
  }
  const added = (name: string) => stops.push(() => registry.removeSingleMetric(name))
  const histogramFor = ({ name: plain, help, labels, bounds }: TimedInstrument): Observe => {
    const name = prometheusName(plain, 's', 'gauge')
    const histogram = new client.Histogram({
      name,
      help,
      labelNames: [...labels],
      buckets: [...bounds],
      registers: [registry as never],
    })
    added(name)
    return (seconds, labelled) => histogram.observe(labelled, seconds)
  }
  try {
    for (const readings of [...metricReadings(sources), delay.readings]) {
      const metric = scrapedMetric(readings)
      registry.registerMetric(metric as never)
      added(metric.name)
    }
    stops.push(observeTimings(sources, histogramFor))
  } catch (error) {
    // The registry has some of them already: all or none.
    stop()
    throw error
  }
  return { stop }
}

/** A metric in the form of prom-client's own: it is asked for its values at each scrape. */
function scrapedMetric({ instrument, read }: MetricReadings) {
  const { name, kind, unit, help, ofSeveral = 'sum' } = instrument
  const metric = { name: prometheusName(name, unit, kind), help, type: kind, aggregator: ofSeveral }
  const scraped = {
    ...metric,
    // In the form of OpenMetrics, the registry renames a counter before it asks, and puts `_total` behind each of its series by itself.
    get: async () => ({ ...metric, name: scraped.name, values: read(systemClock.now()) }),
    reset: () => {},
  }
  return scraped
}

const UNIT_NAMES: { readonly [unit in Unit]?: string } = { s: '_seconds', By: '_bytes' }

/** `holdfast.backend.written` in bytes, a counter: `holdfast_backend_written_bytes_total`. */
export function prometheusName(name: string, unit: Unit, kind: 'counter' | 'gauge'): string {
  return `${name.replaceAll('.', '_')}${UNIT_NAMES[unit] ?? ''}${kind === 'counter' ? '_total' : ''}`
}
