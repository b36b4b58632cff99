import { channel } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import * as client from 'prom-client'
import { describe, expect, it } from 'vitest'
import { CheckpointCoordinator, MemoryCheckpointStorage, MemoryStateBackend } from '../index.js'
import { arraySource, ascending, defineJob, functionSink, runJob } from '../job.js'
import { LmdbStateBackend } from '../lmdb.js'
import { defineState, uint32, utf8, value } from '../state.js'
import { JobTest } from '../testing/job-test.js'
import { count, tumbling, type WindowResult, windowed } from '../window.js'
import { health } from './health.js'
import {
  backendInstruments,
  callDuration,
  checkpointDuration,
  commitDuration,
  coordinatorInstruments,
  EVENT_LOOP_DELAY,
  jobInstruments,
  jobPartInstruments,
} from './instruments.js'
import { openTelemetryMetrics } from './open-telemetry.js'
import { prometheusMetrics, prometheusName } from './prometheus.js'
import type { MeasuredJob } from './sources.js'

async function finishedJob() {
  const backend = new MemoryStateBackend()
  const job = await runJob({
    name: 'metered',
    source: arraySource([{ user: 'a' }, { user: 'b' }, { user: 'a' }]),
    key: (event: { readonly user: string }) => event.user,
    schema: defineState({ key: utf8, states: { count: value(uint32) } }),
    process: (event, { state, emit }) => {
      state.count.put((state.count.get() ?? 0) + 1)
      emit(event.user)
    },
    sink: functionSink({ write: async () => {} }),
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage() },
  })
  await job.finished
  return job
}

interface Visit {
  readonly user: string
  readonly at: number
}

const visits = windowed<Visit, string, number>({ windows: tumbling({ sizeMs: 10 }), aggregate: count() })
/** Windows in two stages. */
const windowedJob = defineJob<Visit, WindowResult<string, number>>()({
  name: 'visits',
  key: ({ user }) => user,
  timestamp: ({ at }) => at,
  time: { watermarks: ascending() },
  schema: defineState({ key: utf8, states: {} }),
  windows: { perTen: visits },
}).pipe<WindowResult<string, number>>()({
  name: 'users',
  key: ({ key }) => key,
  schema: defineState({ key: utf8, states: {} }),
  windows: { whole: windowed({ windows: tumbling({ sizeMs: 1_000 }), aggregate: count() }) },
})

const healthy: MeasuredJob['health'] = () => ({
  state: 'running',
  isReady: true,
  isHealthy: true,
  stalled: undefined,
  failedCuts: undefined,
  error: undefined,
})

describe('metrics for Prometheus', () => {
  it('are what the sources say, named by the conventions, one series for each source', async () => {
    const registry = new client.Registry()
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, {
      storage: new MemoryCheckpointStorage(),
      mirror: { storage: new MemoryCheckpointStorage() },
    })
    const job = await finishedJob()
    const metrics = prometheusMetrics(
      client,
      { backends: { usage: backend }, coordinators: { usage: coordinator }, jobs: { usage: job } },
      { registry },
    )
    backend.putSync(Buffer.from('key'), Buffer.from('value'))
    backend.getSync(Buffer.from('key'))
    const mirrored = new Promise((resolve) => coordinator.on('mirrored', resolve))
    await coordinator.createCheckpoint()
    await mirrored
    const text = await registry.metrics()
    expect(text).toContain('# TYPE holdfast_backend_puts_total counter')
    expect(text).toContain('holdfast_backend_puts_total{backend="usage"} 1')
    expect(text).toContain('holdfast_backend_written_bytes_total{backend="usage"} 8')
    expect(text).toContain('holdfast_checkpoint_published_total{coordinator="usage"} 1')
    expect(text).toMatch(/holdfast_checkpoint_age_seconds{coordinator="usage"} 0\.?\d*/)
    expect(text).toContain('holdfast_checkpoint_duration_seconds_count{coordinator="usage"} 1')
    expect(text).toContain('holdfast_checkpoint_mirrored_total{coordinator="usage"} 1')
    expect(text).toContain('holdfast_checkpoint_mirror_lag_seconds{coordinator="usage"} 0')
    expect(text).toContain('holdfast_job_events_total{job="usage"} 3')
    expect(text).toContain('holdfast_job_outputs_total{job="usage"} 3')
    expect(text).toMatch(/holdfast_eventloop_delay_seconds{percentile="99"} \d/)
    metrics.stop()
    expect(await registry.metrics()).toBe('\n')
    await coordinator.shutdown()
    await backend.close()
  })

  it('have the same names in the form of OpenMetrics, of which counters have families without an ending', async () => {
    const registry = new client.Registry()
    registry.setContentType(client.Registry.OPENMETRICS_CONTENT_TYPE as never)
    const backend = new MemoryStateBackend()
    const metrics = prometheusMetrics(client, { backends: { usage: backend } }, { registry })
    for (const scrape of [1, 2]) {
      const lines = (await registry.metrics()).split('\n')
      expect(lines, `scrape ${scrape}`).toContain('# TYPE holdfast_backend_puts counter')
      expect(lines, `scrape ${scrape}`).toContain('holdfast_backend_puts_total{backend="usage"} 0')
      expect(lines, `scrape ${scrape}`).toContain('holdfast_backend_entries{backend="usage"} 0')
    }
    metrics.stop()
    expect(await registry.metrics()).toBe('\n# EOF\n')
    await backend.close()
  })

  it('of the workers of a cluster come to sums of what is counted, and to the worst of ages, delays and health', async () => {
    const stats = (sinceCutMs: number) => () => ({ events: 3, sinceCutMs }) as never
    const workers = [
      { stats: stats(5_000), health: healthy },
      { stats: stats(9_000), health: () => ({ ...healthy(), isHealthy: false }) },
    ].map((job) => {
      const registry = new client.Registry()
      return { registry, metrics: prometheusMetrics(client, { jobs: { usage: job } }, { registry }) }
    })
    const scraped = await Promise.all(workers.map(({ registry }) => registry.getMetricsAsJSON()))
    const text = await client.AggregatorRegistry.aggregate(scraped).metrics()
    for (const { metrics } of workers) metrics.stop()
    expect(text).toContain('holdfast_job_events_total{job="usage"} 6')
    expect(text).toContain('holdfast_job_cut_age_seconds{job="usage"} 9')
    expect(text).toContain('holdfast_job_healthy{job="usage"} 0')
    expect(text).toContain('holdfast_job_ready{job="usage"} 1')
  })

  it('tell of the checkpoints of a job with the job', async () => {
    const registry = new client.Registry()
    const job = await finishedJob()
    const metrics = prometheusMetrics(client, { jobs: { usage: job } }, { registry })
    const text = await registry.metrics()
    expect(text).toContain('holdfast_checkpoint_published_total{coordinator="usage"} 1')
    expect(text).toMatch(/holdfast_checkpoint_age_seconds{coordinator="usage"} \d/)
    metrics.stop()
    expect(health({ jobs: { usage: job } }, { maxCheckpointAgeMs: -1 }).reasons).toContainEqual(
      expect.stringMatching(/^the last checkpoint of usage is \d+ s old$/),
    )
  })

  it('tell open windows by their names, and timers by stage', async () => {
    const registry = new client.Registry()
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 2 ** 30 })
    const provider = new MeterProvider({ readers: [reader] })
    await using test = await JobTest.start(windowedJob)
    await test.send({ user: 'a', at: 1 }, { user: 'b', at: 2 }, { user: 'a', at: 11 }, { user: 'b', at: 21 })
    const jobs = { usage: { stats: () => test.stats(), health: healthy } }
    const metrics = prometheusMetrics(client, { jobs }, { registry })
    const observed = openTelemetryMetrics(provider.getMeter('holdfast'), { jobs })
    const text = await registry.metrics()
    const series = (name: string) => text.split('\n').filter((line) => line.startsWith(`${name}{`))
    expect(series('holdfast_job_windows_open')).toEqual([
      'holdfast_job_windows_open{job="usage",windows="perTen"} 1',
      'holdfast_job_windows_open{job="usage",windows="users.whole"} 2',
    ])
    for (const name of ['holdfast_job_timers_waiting', 'holdfast_job_timers_due']) {
      expect(series(name)).toEqual([`${name}{job="usage"} 0`, `${name}{job="usage",stage="users"} 0`])
    }
    await reader.forceFlush()
    const collected = exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics: all }) => all))
    const windows = collected.find(({ descriptor }) => descriptor.name === 'holdfast.job.windows.open')
    expect(windows?.dataPoints).toMatchObject([
      { attributes: { job: 'usage', windows: 'perTen' }, value: 1 },
      { attributes: { job: 'usage', windows: 'users.whole' }, value: 2 },
    ])
    metrics.stop()
    observed.stop()
    await provider.shutdown()
  })

  it('leave out a source that says nothing any more, and what it cannot tell yet', async () => {
    const registry = new client.Registry()
    const coordinator = new CheckpointCoordinator(new MemoryStateBackend(), {
      storage: new MemoryCheckpointStorage(),
    })
    const broken = {
      name: 'broken',
      stats: () => {
        throw new Error('closed')
      },
    }
    const metrics = prometheusMetrics(
      client,
      { backends: { broken }, coordinators: { idle: coordinator } },
      { registry },
    )
    const text = await registry.metrics()
    expect(text).not.toContain('broken')
    expect(text).not.toContain('age_seconds{')
    expect(text).not.toContain('mirror_lag_seconds{')
    expect(text).toContain('holdfast_checkpoint_published_total{coordinator="idle"} 0')
    metrics.stop()
    await coordinator.shutdown()
  })

  it('ask each source once a scrape, and leave nothing where a registry has their names already', async () => {
    const registry = new client.Registry()
    let asked = 0
    const backend = new MemoryStateBackend()
    const counted = { name: 'counted', stats: () => (asked++, backend.stats()) }
    const metrics = prometheusMetrics(client, { backends: { counted } }, { registry })
    await registry.metrics()
    expect(asked).toBe(1)
    await registry.metrics()
    expect(asked).toBe(2)
    const before = registry.getMetricsAsArray().length
    expect(() => prometheusMetrics(client, { backends: { counted } }, { registry })).toThrow('already')
    expect(registry.getMetricsAsArray()).toHaveLength(before)
    metrics.stop()
    await backend.close()
  })

  it('tell how long commits and calls of engines take, by the engine, and nothing more once they are stopped', async () => {
    const registry = new client.Registry()
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 2 ** 30 })
    const provider = new MeterProvider({ readers: [reader] })
    await using backend = await LmdbStateBackend.temporary()
    const sources = { backends: { usage: backend } }
    const exported = [
      prometheusMetrics(client, sources, { registry }),
      openTelemetryMetrics(provider.getMeter('holdfast'), sources),
    ]
    const commit = async () => {
      backend.putSync(Buffer.from('key'), Buffer.from('value'))
      await backend.flush()
    }
    await commit()
    const call = () =>
      channel('holdfast:engine.call').publish({ backend: 'redis', call: 'write', durationMs: 20 })
    call()
    const text = await registry.metrics()
    expect(text).toMatch(/holdfast_engine_commit_duration_seconds_count{engine="lmdb"} [1-9]/)
    expect(text).toContain(
      'holdfast_engine_call_duration_seconds_bucket{le="0.05",engine="redis",call="write"} 1',
    )
    for (const each of exported) each.stop()
    call()
    await commit()
    await reader.forceFlush()
    const collected = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics)
    const all = collected.flatMap(({ metrics }) => metrics)
    const calls = all.find(({ descriptor }) => descriptor.name === 'holdfast.engine.call.duration')
    expect(calls?.dataPoints).toMatchObject([
      { attributes: { engine: 'redis', call: 'write' }, value: { count: 1, sum: 0.02 } },
    ])
    await provider.shutdown()
  })

  it('are as many as there are sources, however many keys there are', async () => {
    const registry = new client.Registry()
    const backend = new MemoryStateBackend()
    const metrics = prometheusMetrics(client, { backends: { usage: backend } }, { registry })
    const before = (await registry.metrics()).split('\n').length
    for (let i = 0; i < 10_000; i++) backend.putSync(Buffer.from(`key ${i}`), Buffer.from('value'))
    expect((await registry.metrics()).split('\n').length).toBe(before)
    metrics.stop()
    await backend.close()
  })

  it('have names of their own', () => {
    const all = [...backendInstruments, ...coordinatorInstruments, ...jobInstruments, ...jobPartInstruments]
    const names = all.map(({ name, unit, kind }) => prometheusName(name, unit, kind))
    expect(new Set(names).size).toBe(names.length)
    for (const name of names) expect(name).toMatch(/^holdfast_[a-z_]+$/)
  })
})

describe('metrics for OpenTelemetry', () => {
  it('are the same ones', async () => {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 2 ** 30 })
    const provider = new MeterProvider({ readers: [reader] })
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage() })
    const metrics = openTelemetryMetrics(provider.getMeter('holdfast'), {
      backends: { usage: backend },
      coordinators: { usage: coordinator },
    })
    backend.putSync(Buffer.from('key'), Buffer.from('value'))
    await coordinator.createCheckpoint()
    await reader.forceFlush()
    const collected = exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics: all }) => all))
    const point = (name: string) => collected.find(({ descriptor }) => descriptor.name === name)
    expect(point('holdfast.backend.puts')?.dataPoints).toMatchObject([
      { attributes: { backend: 'usage' }, value: 1 },
    ])
    expect(point('holdfast.backend.written')?.descriptor.unit).toBe('By')
    expect(point('holdfast.checkpoint.duration')?.dataPoints).toMatchObject([
      { attributes: { coordinator: 'usage' }, value: { count: 1 } },
    ])
    metrics.stop()
    backend.putSync(Buffer.from('key'), Buffer.from('value'))
    exporter.reset()
    await reader.forceFlush()
    const later = exporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((each) => each.metrics))
    const puts = later.find(({ descriptor }) => descriptor.name === 'holdfast.backend.puts')
    expect(puts?.dataPoints ?? [{ value: 1 }]).toMatchObject([{ value: 1 }])
    await provider.shutdown()
    await coordinator.shutdown()
    await backend.close()
  })
})

describe('health', () => {
  const jobWith = (changes: Partial<ReturnType<MeasuredJob['health']>>): MeasuredJob => ({
    stats: () => {
      throw new Error('not asked')
    },
    health: () => ({ ...healthy(), ...changes }),
  })

  it('says why a job is not ready, and why it is not healthy', () => {
    expect(health({ jobs: { a: jobWith({}) } })).toEqual({ isHealthy: true, isReady: true, reasons: [] })
    const restoring = health({ jobs: { a: jobWith({ isReady: false }) } })
    expect(restoring).toEqual({
      isHealthy: true,
      isReady: false,
      reasons: ['job a reads no events: it is being restored'],
    })
    const stalled = jobWith({ isHealthy: false, stalled: { call: 'sink.write', forMs: 61_000 } })
    expect(health({ jobs: { a: stalled } }).reasons).toEqual(['job a is running: sink.write has taken 61 s'])
    const failing = jobWith({ isHealthy: false, failedCuts: { count: 3, error: new Error('full') } })
    expect(health({ jobs: { a: failing } }).reasons).toEqual(['job a is running: 3 cuts have failed: full'])
    const once = jobWith({ isHealthy: false, failedCuts: { count: 1, error: new Error('full') } })
    expect(health({ jobs: { a: once } }).reasons).toEqual(['job a is running: 1 cut has failed: full'])
  })

  it('knows when the last checkpoint is too old', () => {
    const stats = () => ({ lastSuccessAt: new Date(0) })
    const coordinator = { stats, on: () => () => {} } as never
    expect(health({ coordinators: { c: coordinator } }).isHealthy).toBe(true)
    const { isHealthy, reasons } = health(
      { coordinators: { c: coordinator } },
      { maxCheckpointAgeMs: 60_000 },
    )
    expect([isHealthy, reasons[0]]).toEqual([
      false,
      expect.stringMatching(/^the last checkpoint of c is \d+ s old$/),
    ])
  })
})

describe('dashboard and alerts', () => {
  it.each(['docs/metrics/alerts.yml', 'docs/metrics/grafana-dashboard.json'])(
    '%s ask for metrics that there are',
    (file) => {
      const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
      const all = [...backendInstruments, ...coordinatorInstruments, ...jobInstruments, ...jobPartInstruments]
      const known = new Set([
        ...all.map(({ name, unit, kind }) => prometheusName(name, unit, kind)),
        prometheusName(EVENT_LOOP_DELAY, 's', 'gauge'),
        ...[checkpointDuration, commitDuration, callDuration].map(
          ({ name }) => `${prometheusName(name, 's', 'gauge')}_bucket`,
        ),
      ])
      const asked = text.match(/\bholdfast_\w+/g) ?? []
      expect(asked.length).toBeGreaterThan(8)
      expect(asked.filter((name) => !known.has(name))).toEqual([])
    },
  )
})
