// Every metric there is, once: both exporters read this table.

import type { BackendStats, CheckpointStats } from '../index.js'
import type { JobHealth, JobStats, JobTimerStats } from '../job.js'

/** What a number counts, by the names that OpenTelemetry takes: seconds, bytes, or things. */
export type Unit = 's' | 'By' | '1' | `{${string}}`

export interface Instrument<From> {
  /** As OpenTelemetry writes it; Prometheus has underscores, the unit and, of counters, `_total` behind it. */
  readonly name: string
  /** A counter only grows while the process lives; a gauge is how things stand. */
  readonly kind: 'counter' | 'gauge'
  readonly unit: Unit
  readonly help: string
  /**
   * What the figures of several processes, such as the workers of a cluster, come to together under the same labels. Default: their
   * sum, which is right for what is counted, and not for ages, delays and what is yes or no: of these the worst one is told.
   */
  readonly ofSeveral?: 'max' | 'min'
  /** `undefined`: there is nothing to tell yet. */
  readonly read: (from: From, nowMs: number) => number | undefined
}

const seconds = (ms: number | undefined): number | undefined =>
  ms === undefined || !Number.isFinite(ms) ? undefined : ms / 1_000

export const backendInstruments: readonly Instrument<BackendStats>[] = [
  {
    name: 'holdfast.backend.entries',
    kind: 'gauge',
    unit: '{entry}',
    help: 'Entries held now, expired ones that await their removal included.',
    read: (stats) => stats.entries,
  },
  {
    name: 'holdfast.backend.snapshots',
    kind: 'gauge',
    unit: '{snapshot}',
    help: 'Snapshots that are open, running scans included.',
    read: (stats) => stats.openSnapshots,
  },
  {
    name: 'holdfast.backend.gets',
    kind: 'counter',
    unit: '{operation}',
    help: 'Keys looked up.',
    read: (stats) => stats.gets,
  },
  {
    name: 'holdfast.backend.misses',
    kind: 'counter',
    unit: '{operation}',
    help: 'Keys looked up that had no entry.',
    read: (stats) => stats.misses,
  },
  {
    name: 'holdfast.backend.puts',
    kind: 'counter',
    unit: '{operation}',
    help: 'Puts applied, each put of a batch counted.',
    read: (stats) => stats.puts,
  },
  {
    name: 'holdfast.backend.deletes',
    kind: 'counter',
    unit: '{operation}',
    help: 'Deletes applied, a range counted as one.',
    read: (stats) => stats.deletes,
  },
  {
    name: 'holdfast.backend.expired',
    kind: 'counter',
    unit: '{entry}',
    help: 'Entries whose time to live ended.',
    read: (stats) => stats.expired,
  },
  {
    name: 'holdfast.backend.written',
    kind: 'counter',
    unit: 'By',
    help: 'Bytes of keys and values of the puts applied.',
    read: (stats) => stats.bytesWritten,
  },
]

export const coordinatorInstruments: readonly Instrument<CheckpointStats>[] = [
  {
    name: 'holdfast.checkpoint.published',
    kind: 'counter',
    unit: '{checkpoint}',
    help: 'Checkpoints published.',
    read: (stats) => stats.created,
  },
  {
    name: 'holdfast.checkpoint.failed',
    kind: 'counter',
    unit: '{checkpoint}',
    help: 'Checkpoints that failed.',
    read: (stats) => stats.failed,
  },
  {
    name: 'holdfast.checkpoint.written',
    kind: 'counter',
    unit: 'By',
    help: 'Bytes of files written, merges included.',
    read: (stats) => stats.writtenBytes,
  },
  {
    name: 'holdfast.checkpoint.age',
    kind: 'gauge',
    unit: 's',
    ofSeveral: 'max',
    help: 'How long ago a checkpoint was last published.',
    read: ({ lastSuccessAt }, nowMs) =>
      lastSuccessAt === undefined ? undefined : seconds(nowMs - lastSuccessAt.getTime()),
  },
  {
    name: 'holdfast.checkpoint.size',
    kind: 'gauge',
    unit: 'By',
    help: 'Bytes of the last checkpoint, its base included.',
    read: (stats) => stats.lastSizeBytes,
  },
  {
    name: 'holdfast.checkpoint.cut',
    kind: 'gauge',
    unit: 's',
    ofSeveral: 'max',
    help: 'How long the last cut held the main thread.',
    read: (stats) => seconds(stats.lastCutMs),
  },
  {
    name: 'holdfast.checkpoint.chain',
    kind: 'gauge',
    unit: '{checkpoint}',
    ofSeveral: 'max',
    help: 'Deltas that the next checkpoint comes after.',
    read: (stats) => stats.chainDeltas,
  },
  {
    name: 'holdfast.checkpoint.merges',
    kind: 'counter',
    unit: '{merge}',
    help: 'Merges of base and deltas.',
    read: (stats) => stats.merges,
  },
  {
    name: 'holdfast.checkpoint.merges.failed',
    kind: 'counter',
    unit: '{merge}',
    help: 'Merges that failed.',
    read: (stats) => stats.mergeFailures,
  },
  {
    name: 'holdfast.checkpoint.mirrored',
    kind: 'counter',
    unit: '{checkpoint}',
    help: 'Checkpoints copied to the mirror.',
    read: ({ mirror }) => mirror?.copied,
  },
  {
    name: 'holdfast.checkpoint.mirror.failed',
    kind: 'counter',
    unit: '{attempt}',
    help: 'Attempts at a copy to the mirror that failed.',
    read: ({ mirror }) => mirror?.failed,
  },
  {
    name: 'holdfast.checkpoint.mirror.lag',
    kind: 'gauge',
    unit: 's',
    ofSeveral: 'max',
    help: 'For how long there has been a checkpoint that is newer than all in the mirror.',
    read: ({ mirror }) => seconds(mirror?.lagMs),
  },
  {
    name: 'holdfast.restore.done',
    kind: 'counter',
    unit: '{restore}',
    help: 'Restores that succeeded.',
    read: (stats) => stats.restores,
  },
  {
    name: 'holdfast.restore.failed',
    kind: 'counter',
    unit: '{restore}',
    help: 'Restores that failed.',
    read: (stats) => stats.restoreFailures,
  },
]

export interface JobFigures {
  readonly stats: JobStats
  readonly health: JobHealth
}

export const jobInstruments: readonly Instrument<JobFigures>[] = [
  {
    name: 'holdfast.job.events',
    kind: 'counter',
    unit: '{event}',
    help: 'Events processed.',
    read: ({ stats }) => stats.events,
  },
  {
    name: 'holdfast.job.bad',
    kind: 'counter',
    unit: '{event}',
    help: 'Bad events, which were not processed.',
    read: ({ stats }) => stats.badEvents,
  },
  {
    name: 'holdfast.job.late',
    kind: 'counter',
    unit: '{event}',
    help: 'Events that came too late for every window.',
    read: ({ stats }) => stats.lateEvents,
  },
  {
    name: 'holdfast.job.outputs',
    kind: 'counter',
    unit: '{output}',
    help: 'Outputs given to the sink.',
    read: ({ stats }) => stats.outputs,
  },
  {
    name: 'holdfast.job.timers.fired',
    kind: 'counter',
    unit: '{timer}',
    help: 'Timers that have fired.',
    read: ({ stats }) => stats.firedTimers,
  },
  {
    name: 'holdfast.job.behind',
    kind: 'gauge',
    unit: 's',
    ofSeveral: 'max',
    help: 'How far the newest event, by its timestamp, is behind the clock.',
    read: ({ stats }) => seconds(stats.behindMs),
  },
  {
    name: 'holdfast.job.watermark.delay',
    kind: 'gauge',
    unit: 's',
    ofSeveral: 'max',
    help: 'How far the watermark is behind the clock.',
    read: ({ stats }, nowMs) => seconds(nowMs - stats.watermarkMs),
  },
  {
    name: 'holdfast.job.cuts',
    kind: 'counter',
    unit: '{cut}',
    help: 'Cuts that were safe.',
    read: ({ stats }) => stats.cuts,
  },
  {
    name: 'holdfast.job.cut.age',
    kind: 'gauge',
    unit: 's',
    ofSeveral: 'max',
    help: 'How long ago the last safe cut was, or the beginning.',
    read: ({ stats }) => seconds(stats.sinceCutMs),
  },
  {
    name: 'holdfast.job.cuts.failing',
    kind: 'gauge',
    unit: '{cut}',
    ofSeveral: 'max',
    help: 'Cuts that have failed since the last one that did not.',
    read: ({ health }) => health.failedCuts?.count ?? 0,
  },
  {
    name: 'holdfast.job.healthy',
    kind: 'gauge',
    unit: '1',
    ofSeveral: 'min',
    help: '1 where the job runs and waits for nobody too long, else 0.',
    read: ({ health }) => (health.isHealthy ? 1 : 0),
  },
  {
    name: 'holdfast.job.ready',
    kind: 'gauge',
    unit: '1',
    ofSeveral: 'min',
    help: '1 where the job reads events, else 0.',
    read: ({ health }) => (health.isReady ? 1 : 0),
  },
]

/** A figure of each of the parts of a source that the program names: there are as many series as names. */
export interface PartInstrument<From> extends Omit<Instrument<From>, 'read'> {
  /** The label that tells the parts from each other. */
  readonly part: string
  /** Of each part by its name. One without a name has the label of its source alone. */
  readonly read: (from: From) => Iterable<readonly [part: string | undefined, value: number]>
}

/** The timers of each stage; the first one has no name. */
function* timersOf({
  stats,
}: JobFigures): Iterable<readonly [stage: string | undefined, timers: JobTimerStats]> {
  yield [undefined, stats.timers]
  for (const [stage, { timers }] of Object.entries(stats.stages)) yield [stage, timers]
}

export const jobPartInstruments: readonly PartInstrument<JobFigures>[] = [
  {
    name: 'holdfast.job.windows.open',
    kind: 'gauge',
    unit: '{window}',
    help: "Windows that are open, each key's counted by themselves.",
    part: 'windows',
    read: ({ stats }) => Object.entries(stats.windows).map(([name, { open }]) => [name, open]),
  },
  {
    name: 'holdfast.job.timers.waiting',
    kind: 'gauge',
    unit: '{timer}',
    help: 'Timers that are set and have not fired.',
    part: 'stage',
    read: (figures) =>
      Array.from(timersOf(figures), ([stage, { event, processing }]) => [
        stage,
        event.waiting + processing.waiting,
      ]),
  },
  {
    name: 'holdfast.job.timers.due',
    kind: 'gauge',
    unit: '{timer}',
    help: 'Timers whose time has come and that have not fired yet.',
    part: 'stage',
    read: (figures) =>
      Array.from(timersOf(figures), ([stage, { event, processing }]) => [stage, event.due + processing.due]),
  },
]

/** What is measured as it happens. */
export interface TimedInstrument {
  readonly name: string
  readonly help: string
  readonly labels: readonly string[]
  /** Upper bounds of the buckets, in seconds. */
  readonly bounds: readonly number[]
}

export const checkpointDuration: TimedInstrument = {
  name: 'holdfast.checkpoint.duration',
  help: 'How long checkpoints took, from their beginning until they were published.',
  labels: ['coordinator'],
  bounds: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300],
}

export const restoreDuration: TimedInstrument = {
  name: 'holdfast.restore.duration',
  help: 'How long restores took.',
  labels: ['coordinator'],
  bounds: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300],
}

export const commitDuration: TimedInstrument = {
  name: 'holdfast.engine.commit.duration',
  help: 'How long commits of engines on this disk took, of all of them in the process.',
  labels: ['engine'],
  bounds: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30],
}

export const callDuration: TimedInstrument = {
  name: 'holdfast.engine.call.duration',
  help: 'How long calls of engines on servers took, also those that failed, of all of them in the process.',
  labels: ['engine', 'call'],
  bounds: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30],
}

/** Quantiles of the delay of the event loop, in seconds, since they were last read. */
export const EVENT_LOOP_DELAY = 'holdfast.eventloop.delay'
export const EVENT_LOOP_HELP = 'Delay of the event loop since it was last read, by percentile.'
