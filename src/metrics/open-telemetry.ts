import { hasMethods, invalidArgument, requireSettings } from '../engine.js'
import { systemClock } from '../index.js'
import type { TimedInstrument } from './instruments.js'
import type { RunningMetrics } from './prometheus.js'
import { EventLoopDelay, metricReadings } from './readings.js'
import type { MetricSources } from './sources.js'
import { type Observe, observeTimings } from './timings.js'

interface InstrumentOptions {
  readonly description: string
  readonly unit: string
}

interface ObservableInstrument {
  addCallback(callback: (result: ObservedResult) => void): void
  removeCallback(callback: (result: ObservedResult) => void): void
}

interface ObservedResult {
  observe(value: number, attributes: { [name: string]: string }): void
}

/** As much of a `Meter` of `@opentelemetry/api` as is used. */
export interface OpenTelemetryMeter {
  createObservableCounter(name: string, options: InstrumentOptions): ObservableInstrument
  createObservableGauge(name: string, options: InstrumentOptions): ObservableInstrument
  createHistogram(
    name: string,
    options: InstrumentOptions & { readonly advice: { readonly explicitBucketBoundaries: number[] } },
  ): { record(value: number, attributes: { [name: string]: string }): void }
}

/**
 * Registers the metrics of `prometheusMetrics` with a meter of OpenTelemetry, which the caller passes in. They are read when a
 * reader collects.
 *
 * @example
 * import { metrics } from '@opentelemetry/api'
 * openTelemetryMetrics(metrics.getMeter('holdfast'), { jobs: { usage: job } })
 */
export function openTelemetryMetrics(meter: OpenTelemetryMeter, sources: MetricSources): RunningMetrics {
  const wrong = hasMethods('createObservableGauge', 'createObservableCounter', 'createHistogram')(meter)
  if (wrong !== undefined) throw invalidArgument('meter', wrong)
  requireSettings(sources, [], 'sources')
  const delay = new EventLoopDelay()
  const stops: (() => void)[] = [() => delay.stop()]
  for (const { instrument, read } of [...metricReadings(sources), delay.readings]) {
    const { name, kind, unit, help } = instrument
    const options = { description: help, unit }
    const observed =
      kind === 'counter'
        ? meter.createObservableCounter(name, options)
        : meter.createObservableGauge(name, options)
    const observe = (result: ObservedResult) => {
      for (const { value, labels } of read(systemClock.now())) result.observe(value, { ...labels })
    }
    observed.addCallback(observe)
    stops.push(() => observed.removeCallback(observe))
  }
  const histogramFor = ({ name, help, bounds }: TimedInstrument): Observe => {
    const histogram = meter.createHistogram(name, {
      description: help,
      unit: 's',
      advice: { explicitBucketBoundaries: [...bounds] },
    })
    return (seconds, labels) => histogram.record(seconds, labels)
  }
  stops.push(observeTimings(sources, histogramFor))
  return {
    stop: () => {
      for (const stop of stops.splice(0)) stop()
    },
  }
}
