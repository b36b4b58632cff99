import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import {
  backendInstruments,
  coordinatorInstruments,
  EVENT_LOOP_DELAY,
  EVENT_LOOP_HELP,
  type Instrument,
  jobInstruments,
  jobPartInstruments,
  type PartInstrument,
} from './instruments.js'
import { coordinatorsOf, type MeasuredJob, type MetricSources } from './sources.js'

/** One series at one instant. */
export interface Reading {
  readonly labels: { readonly [label: string]: string }
  readonly value: number
}

/** A metric with what it reads at one instant: of every source, or none. */
export interface MetricReadings {
  readonly instrument: Pick<Instrument<never>, 'name' | 'kind' | 'unit' | 'help' | 'ofSeveral'>
  read(nowMs: number): Reading[]
}

/** All metrics of the sources. A source that cannot tell (it is closed) has no readings. */
export function metricReadings(sources: MetricSources): MetricReadings[] {
  const { backends = {}, jobs = {} } = sources
  return [
    ...readingsOf(
      'backend',
      backendInstruments,
      askedSources(backends, (backend) => backend.stats()),
    ),
    ...readingsOf(
      'coordinator',
      coordinatorInstruments,
      askedSources(coordinatorsOf(sources), (coordinator) => coordinator.stats()),
    ),
    ...jobReadings(jobs),
  ]
}

function jobReadings(jobs: { readonly [name: string]: MeasuredJob }): MetricReadings[] {
  const asked = askedSources(jobs, (job) => ({ stats: job.stats(), health: job.health() }))
  return [...readingsOf('job', jobInstruments, asked), ...partReadingsOf('job', jobPartInstruments, asked)]
}

/** A source by its name, and what asks it. */
interface AskedSource<Figures> {
  readonly name: string
  readonly figures: () => Figures
}

function askedSources<Source, Figures>(
  sources: { readonly [name: string]: Source },
  figuresOf: (source: Source) => Figures,
): AskedSource<Figures>[] {
  return Object.entries(sources).map(([name, source]) => ({
    name,
    figures: askedOnce(() => figuresOf(source)),
  }))
}

function readingsOf<Figures>(
  label: string,
  instruments: readonly Instrument<Figures>[],
  asked: readonly AskedSource<Figures>[],
): MetricReadings[] {
  if (asked.length === 0) return []
  return instruments.map((instrument) => ({
    instrument,
    read: (nowMs) =>
      asked.flatMap(({ name, figures }) => {
        const value = valueOf(() => instrument.read(figures(), nowMs))
        return value === undefined ? [] : [{ labels: { [label]: name }, value }]
      }),
  }))
}

function partReadingsOf<Figures>(
  label: string,
  instruments: readonly PartInstrument<Figures>[],
  asked: readonly AskedSource<Figures>[],
): MetricReadings[] {
  if (asked.length === 0) return []
  return instruments.map((instrument) => ({
    instrument,
    read: () =>
      asked.flatMap(({ name, figures }) => {
        const parts = valueOf(() => Array.from(instrument.read(figures()))) ?? []
        return parts.map(([part, value]) => ({
          labels: { [label]: name, ...(part === undefined ? {} : { [instrument.part]: part }) },
          value,
        }))
      }),
  }))
}

/** Asked once for all that is read in one synchronous step: what is scraped together is of one instant. */
function askedOnce<Figures>(ask: () => Figures): () => Figures {
  let kept: { readonly figures: Figures } | undefined
  return () => {
    if (kept === undefined) {
      kept = { figures: ask() }
      queueMicrotask(() => {
        kept = undefined
      })
    }
    return kept.figures
  }
}

/** What a source says; `undefined` where it says nothing any more. A metric never ends the process that it watches. */
function valueOf<Value>(read: () => Value | undefined): Value | undefined {
  try {
    const value = read()
    return Number.isNaN(value) ? undefined : value
  } catch {
    return undefined
  }
}

const PERCENTILES: readonly (readonly [name: string, percentile: number])[] = [
  ['50', 50],
  ['99', 99],
  ['100', 100],
]

/** The delay of this thread's event loop, measured every 10 ms until `stop`. */
export class EventLoopDelay {
  readonly #histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: 10 })

  constructor() {
    this.#histogram.enable()
  }

  readonly readings: MetricReadings = {
    instrument: { name: EVENT_LOOP_DELAY, kind: 'gauge', unit: 's', help: EVENT_LOOP_HELP, ofSeveral: 'max' },
    read: () => {
      const readings = PERCENTILES.map(([name, percentile]) => ({
        labels: { percentile: name },
        value: this.#histogram.percentile(percentile) / 1e9,
      }))
      this.#histogram.reset()
      return readings
    },
  }

  stop(): void {
    this.#histogram.disable()
  }
}
