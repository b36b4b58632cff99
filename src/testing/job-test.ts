// A job under test: its events are handed to it one by one, its clock is moved by hand, and its outputs lie in an array. No file, no
// thread and no real time have a part in it.

import { StateError } from '../base/errors.js'
import type { JsonValue } from '../base/json.js'
import { type Rule, rejectViolations, requireSettings, rules, violationsOf } from '../base/options.js'
import { cutFromJson, cutToJson } from '../job/cut.js'
import type { CutSubject, Cuts, RestoredCut } from '../job/cuts.js'
import type { JobDefinition, KeyOf } from '../job/job-options.js'
import { runJobWithCuts } from '../job/run-job.js'
import type { JobStats, RunningPipedJob } from '../job/running-job.js'
import type { Sink } from '../job/sink/sink.js'
import type { PipedJob, StageSchemas } from '../job/stage-definition.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import type { StateSchema } from '../state/schema/define-state.js'
import type { StateStore } from '../state/store.js'
import type { WindowResult } from '../window/windowed.js'
import { ManualClock } from './manual-clock.js'
import { ScriptedSource } from './scripted-source.js'

const PARTITION = '0'

export interface JobTestOptions {
  /**
   * The time at which the clock stands when the test begins; it then moves by `advance` alone. Default: it is at least as far as
   * the timestamps of the events, as if they were processed when they happened.
   */
  readonly startMs?: number
  /** Partitions that the source has from the beginning. Default: those that are sent to. */
  readonly partitions?: readonly string[]
}

/** A job of one stage, or of several. */
export type AnyJob<
  Event,
  Schema extends StateSchema,
  Output,
  Stages extends StageSchemas = Record<never, never>,
> = JobDefinition<Event, Schema, Output> | PipedJob<Event, Schema, Output, Stages>

/** What a job came to. */
export interface TestedJob<Schema, Output> {
  /** In the order in which they were emitted. */
  readonly outputs: readonly Output[]
  readonly stats: JobStats
  /** The states at the end. */
  readonly store: StateStore<Schema>
}

/**
 * Runs a job on events until their end (T8), and returns what it has put out. Rejects as the job does. Events of several
 * partitions are given by the names of these; each list is read as a whole, one after the other.
 *
 * @example
 * const { outputs } = await testJob(budgetGuard, [{ tenant: 'acme', at: 1_000, costUsd: 12 }])
 * expect(outputs).toEqual([{ tenant: 'acme', spent: 12 }])
 */
export async function testJob<
  Event,
  Schema extends StateSchema,
  Output,
  Stages extends StageSchemas = Record<never, never>,
>(
  job: AnyJob<Event, Schema, Output, Stages>,
  events: readonly Event[] | { readonly [partition: string]: readonly Event[] },
  options: JobTestOptions = {},
): Promise<TestedJob<Schema, Output>> {
  const isOne = Array.isArray(events)
  const byPartition = Object.entries(isOne ? { [PARTITION]: events as readonly Event[] } : events)
  const partitions = options.partitions ?? byPartition.map(([partition]) => partition)
  const test = await JobTest.start(job, { ...options, partitions })
  for (const [partition, all] of byPartition) await test.sendTo(partition, ...all)
  const stats = await test.end()
  return { outputs: test.outputs, stats, store: test.store }
}

/**
 * A job that is tested step by step.
 *
 * @example
 * await using test = await JobTest.start(sessions)
 * await test.send({ user: 'ann', at: 0 })
 * await test.advance(60_000)
 * expect(test.takeOutputs()).toEqual([])
 * await test.restart()
 * await test.end()
 */
export class JobTest<
  Event,
  Schema extends StateSchema,
  Output,
  Stages extends StageSchemas = Record<never, never>,
> implements AsyncDisposable
{
  /** The job's clock. Move it by `advance`, which waits for what that sets off. */
  readonly clock: ManualClock
  /** Everything that was put out, in order. */
  readonly outputs: Output[] = []
  readonly #definition: JobDefinition<Event, Schema, Output>
  readonly #backend: MemoryStateBackend
  readonly #source: ScriptedSource<Event>
  readonly #cuts = new KeptCuts()
  /** Whether the clock goes with the events. */
  readonly #follows: boolean
  #isFirst = true
  #taken = 0
  #job: RunningPipedJob<Schema, StageSchemas> | undefined

  private constructor(definition: JobDefinition<Event, Schema, Output>, options: JobTestOptions) {
    const { startMs, partitions = [] } = options
    this.#definition = definition
    this.#follows = startMs === undefined
    this.clock = new ManualClock(startMs ?? (definition.timestamp === undefined ? undefined : 0))
    this.#backend = new MemoryStateBackend({ clock: this.clock })
    this.#source = new ScriptedSource(partitions)
  }

  /** Starts a job that has seen nothing yet. Rejects as `runJob` does. */
  static async start<
    Event,
    Schema extends StateSchema,
    Output,
    Stages extends StageSchemas = Record<never, never>,
  >(
    definition: AnyJob<Event, Schema, Output, Stages>,
    options: JobTestOptions = {},
  ): Promise<JobTest<Event, Schema, Output, Stages>> {
    requireSettings(definition, [], 'definition')
    rejectViolations(violationsOf(options, { startMs: rules.timeMs, partitions: partitionsRule }))
    // One of several stages has the same parts, and these beside.
    const single = definition as JobDefinition<Event, Schema, Output>
    const test = new JobTest<Event, Schema, Output, Stages>(single, options)
    await test.#run()
    return test
  }

  /** The states as they are now: of the first stage, where there are several. */
  get store(): StateStore<Schema> {
    return this.#running.store
  }

  /** The states of the stages behind the first one, by the names of these. */
  get stages(): { readonly [Name in keyof Stages]: StateStore<Stages[Name]> } {
    return this.#running.stages as never
  }

  stats(): JobStats {
    return this.#running.stats()
  }

  /** What the open windows of a key have at the moment, as early results. */
  peek(windows: string, key: KeyOf<Schema>): readonly WindowResult<KeyOf<Schema>, unknown>[] {
    return this.#running.peek(windows, key)
  }

  /** What was put out since the last call. */
  takeOutputs(): Output[] {
    const taken = this.outputs.slice(this.#taken)
    this.#taken = this.outputs.length
    return taken
  }

  /** Hands events to the job; resolves when they were processed. Rejects as the job does. */
  send(...events: readonly Event[]): Promise<void> {
    return this.sendTo(PARTITION, ...events)
  }

  /** The same, in a partition of its own. */
  async sendTo(partition: string, ...events: readonly Event[]): Promise<void> {
    for (const event of events) {
      const aheadMs = this.#aheadMs(event)
      if (aheadMs > 0) {
        await this.#settled()
        if (this.#isFirst) this.clock.set(this.clock.now() + aheadMs)
        else await this.#pass(aheadMs)
      }
      this.#isFirst = false
      this.#source.push(partition, event)
    }
    await this.#settled()
  }

  /**
   * Lets processing time pass; resolves when what came due was done, each at its own time. Sources are asked where something is due and at the end:
   * partitions that become idle at different moments between two of these become so together, so tell their order by steps of less.
   */
  async advance(byMs: number): Promise<void> {
    await this.#settled()
    // From now on sources are asked in vain: partitions that have nothing for so long are idle at the end of it (T5).
    this.#source.nudge()
    await this.#pass(byMs)
  }

  async #pass(byMs: number): Promise<void> {
    await this.#settled()
    for (let leftMs = byMs; ; ) {
      const { nextTimerInMs = Infinity } = this.clock
      const stepMs = Math.min(nextTimerInMs, leftMs)
      this.clock.advance(stepMs)
      leftMs -= stepMs
      // A source that is asked in vain may become idle by that.
      this.#source.nudge()
      await this.#settled()
      if (leftMs === 0) return
    }
  }

  /**
   * As after the end of the process behind the last event: what the job has not kept as state is gone. It runs again `afterMs` later;
   * default 0.
   */
  async restart(afterMs = 0): Promise<void> {
    await this.#settled()
    await this.#running.stop()
    this.#source.reopen()
    this.clock.advance(afterMs)
    await this.#run()
  }

  /** The end of the source (T8): everything that waits for the watermark is done. Rejects as the job does. */
  async end(): Promise<JobStats> {
    this.#source.end()
    return await this.#running.finished
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#job?.stop().catch(() => {})
    await this.#backend.close()
  }

  get #running(): RunningPipedJob<Schema, StageSchemas> {
    if (this.#job === undefined) throw new StateError('CLOSED', { component: 'the job under test' })
    return this.#job
  }

  async #run(): Promise<void> {
    const sink: Sink<Output> = arraySink(this.outputs)
    const { clock } = this
    const where = { source: this.#source, sink, backend: this.#backend, clock, stallAfterMs: Infinity }
    this.#job = await runJobWithCuts<Event, Schema, Output>({ ...this.#definition, ...where }, this.#cuts)
    await this.#settled()
  }

  /** Resolves when the job has done everything that it can, and asks for more. */
  async #settled(): Promise<void> {
    await Promise.race([this.#source.isAskedInVain(), this.#running.finished])
  }

  /** How far an event is ahead of the clock, where that goes with the events. */
  #aheadMs(event: Event): number {
    if (!this.#follows) return 0
    try {
      const timestampMs = this.#definition.timestamp?.(event)
      return Number.isSafeInteger(timestampMs) ? (timestampMs as number) - this.clock.now() : 0
    } catch {
      // The job will say so.
      return 0
    }
  }
}

const partitionsRule: Rule = (given) =>
  Array.isArray(given) && given.every((name) => typeof name === 'string')
    ? undefined
    : 'must be an array of names'

/** Keeps the cut that a job makes when it stops. */
class KeptCuts implements Cuts {
  #kept: JsonValue | undefined
  #subject: CutSubject | undefined

  async restore(name: string): Promise<RestoredCut> {
    const cut = this.#kept === undefined ? undefined : cutFromJson(this.#kept, name)
    return { cut, isNewest: true }
  }

  async begin(subject: CutSubject): Promise<void> {
    this.#subject = subject
  }

  async finish(): Promise<void> {
    const subject = this.#subject as CutSubject
    const cut = await subject.mutex.run(async () => {
      await subject.prepare()
      return subject.capture()
    })
    this.#kept = JSON.parse(JSON.stringify(cutToJson(cut))) as JsonValue
    await subject.onSafe(cut)
  }

  async abandon(): Promise<void> {}
}

function arraySink<Output>(outputs: Output[]): Sink<Output> {
  return {
    name: 'array',
    guarantee: 'transactional',
    open: async () => ({
      write: async (some) => void outputs.push(...some),
      prepare: async () => null,
      commit: async () => {},
      close: async () => {},
    }),
  }
}
