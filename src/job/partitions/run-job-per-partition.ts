// A job whose partitions are given and taken away while it runs: each of them has a job, a state, a chain of checkpoints and a lease of its
// own, so that its state goes where the partition goes (J10).
//
// (1) Of one partition, what the group tells is carried out in order: it is restored, or let go of, and never both at a time.
// (2) Who owns a partition is decided by the lease of its checkpoints alone. A member that was taken for dead, and lives, is fenced there.
// (3) Once a partition is to be let go of, what hangs of it is not waited for without an end: neither what is the caller's, as its place, nor what is
//     opened or closed. What comes of that later is closed then.
// (4) What somebody else has is begun again after a while, as long as the group gives it to this member: the group may have told of it first.

import type { SyncStateBackend } from '../../backend/state-backend.js'
import { throwIfAborted } from '../../base/abort.js'
import { type CancelTimer, type Clock, systemClock } from '../../base/clock.js'
import { isStateError, reasonOf, type StateError } from '../../base/errors.js'
import { Mutex, Semaphore } from '../../base/mutex.js'
import { hasMethods, invalidArgument, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type { Logger } from '../../checkpoint/types.js'
import { isolatedLogger } from '../../checkpoint/types.js'
import type { StateSchema } from '../../state/schema/define-state.js'
import { failureOf } from '../job-failure.js'
import type { WaitFor } from '../job-opening.js'
import type { JobDefinition, JobOptions, WhereItRuns } from '../job-options.js'
import { runJobBesideOthers } from '../run-job.js'
import type { JobHealth, JobStats, RunningJob, StopOptions } from '../running-job.js'
import type { PipedJob, StageSchemas } from '../stage-definition.js'
import { DEFAULT_STOP_TIMEOUT_MS, Waiting } from '../waiting.js'
import type {
  AssignedPartition,
  GroupMember,
  PartitionGroup,
  PartitionOwner,
  RevokeOptions,
} from './partition-group.js'

/** So many partitions are restored at a time. What waits for an owner, or for its place, is none of them. */
const RESTORED_AT_ONCE = 4
const DEFAULT_WAIT_FOR_OWNER_MS = 60_000
/** Pauses before a partition is begun again that could not be begun, for a reason that may pass: after the last one it is given up. */
const BEGIN_AGAIN_AFTER_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 30_000]
/** What was read for so long begins to count its attempts anew; two jobs that fence each other at their sink, over and over, do not. */
const LASTING_MS = 600_000

/** What a partition runs on: a backend, a place for checkpoints and a sink that no other partition has. */
export type PartitionPlace<Output> = Omit<Pick<JobOptions<never, StateSchema, Output>, WhereItRuns>, 'source'>

interface PlacedPerPartition<Event, Output> {
  readonly group: PartitionGroup<Event>
  /**
   * Called each time a partition is given or begun again, for all of them at once. The backend belongs to the partition: it is closed when that is let go of. The checkpoints of a partition
   * are wherever each member that may be given it finds them.
   */
  readonly place: (partition: string) => PartitionPlace<Output> | Promise<PartitionPlace<Output>>
  readonly logger?: Logger
}

/** A job as `defineJob` takes it, the group whose partitions it is for, and what each of them runs on. */
export type JobPerPartitionOptions<Event, Schema extends StateSchema, Output> = JobDefinition<
  Event,
  Schema,
  Output
> &
  PlacedPerPartition<Event, Output>

/** The same of a job of several stages. */
export type PipedJobPerPartitionOptions<
  Event,
  Schema extends StateSchema,
  Output,
  Stages extends StageSchemas,
> = PipedJob<Event, Schema, Output, Stages> & PlacedPerPartition<Event, Output>

/** What has become of a partition that was given. */
export interface PartitionHealth {
  /**
   * `'fenced'`: another process has it, and the group has not said so yet. It is begun again after pauses of 1 to 30 seconds, for a minute and a half
   * and what each attempt waits for the owner; then not before the group gives it again.
   */
  readonly state: 'restoring' | JobHealth['state'] | 'fenced'
  /** `undefined` while it is restored. */
  readonly job: JobHealth | undefined
}

/** How the jobs of a process are: all of them together, and each. */
export interface PartitionedHealth {
  readonly state: JobHealth['state']
  /** All partitions that were given are read. A member without any is ready. */
  readonly isReady: boolean
  /** All jobs are, and no partition is fenced. */
  readonly isHealthy: boolean
  readonly partitions: { readonly [partition: string]: PartitionHealth }
  readonly error: StateError | undefined
}

/** A job that was started on the partitions of a group. */
export interface PartitionedJob<Schema> extends AsyncDisposable {
  /** The jobs of the partitions that are here at the moment, and read. */
  readonly jobs: ReadonlyMap<string, RunningJob<Schema>>
  /** Resolves once it was stopped; rejects with the first failure of a partition or of the group: then all others were stopped. */
  readonly finished: Promise<void>
  /** Of each partition that is here. */
  stats(): { readonly [partition: string]: JobStats }
  health(): PartitionedHealth
  /** Makes the last cut of each partition, lets go of them, and leaves the group. The same promise as `finished`. */
  stop(options?: StopOptions): Promise<void>
}

/**
 * Runs a job for each partition that a group gives to this process: its state is restored before its first event, and leaves with it, by a last
 * cut, when it is taken away. Each partition has the time of its own events. Rejects where the group cannot be joined.
 *
 * @example
 * const job = await runJobPerPartition({
 *   ...tokensPerModel,
 *   group: kafkaGroup({ … }),
 *   place: (partition) => ({
 *     backend: new MemoryStateBackend(),
 *     checkpoints: { storage: new FileCheckpointStorage(`/shared/tokens/${partition}`), intervalMs: 5_000 },
 *     sink: sinkOf(partition),
 *   }),
 * })
 */
export function runJobPerPartition<Event, Schema extends StateSchema, Output, Stages extends StageSchemas>(
  options: PipedJobPerPartitionOptions<Event, Schema, Output, Stages>,
): Promise<PartitionedJob<Schema>>
export function runJobPerPartition<Event, Schema extends StateSchema, Output = never>(
  options: JobPerPartitionOptions<Event, Schema, Output>,
): Promise<PartitionedJob<Schema>>
export async function runJobPerPartition(options: object): Promise<unknown> {
  const given = options as AnyOptions
  const { group, place, logger } = given ?? {}
  const violations = violationsOf(options === null ? null : { group, place, logger }, {
    group: hasMethods('join'),
    place: rules.function,
    logger: hasMethods('debug', 'info', 'warn', 'error'),
  })
  for (const name of ['group', 'place'] as const) {
    if (options?.[name as never] === undefined)
      violations.push({ argument: `options.${name}`, reason: 'is required' })
  }
  rejectViolations(violations)
  const run = new JobPerPartition(given)
  await run.join()
  return run
}

type AnyOptions = JobPerPartitionOptions<unknown, StateSchema, unknown>

/** A partition that is here. */
interface Held {
  readonly partition: string
  readonly source: AssignedPartition<unknown>['source']
  state: PartitionHealth['state']
  job: RunningJob<StateSchema> | undefined
  backend: SyncStateBackend | undefined
  /** Fires when it is to be let go of: what comes in its turn before that is not begun, and what was begun of it not kept. */
  readonly leaving: AbortController
  /** By it the pauses before it is begun again are measured. */
  clock: Clock
  /** How often it could not be begun, or was taken over, since it was given. */
  attempts: number
  begunAtMs: number
  cancelAgain: CancelTimer
  waiting: Waiting
}

class JobPerPartition implements PartitionedJob<StateSchema>, PartitionOwner<unknown> {
  readonly finished: Promise<void>
  readonly #options: AnyOptions
  readonly #logger: Logger
  readonly #held = new Map<string, Held>()
  /** Of each partition that was ever here, what is done of it is done in turn. */
  readonly #turns = new Map<string, Mutex>()
  readonly #restoring = new Semaphore(RESTORED_AT_ONCE)
  #joining: Promise<GroupMember> | undefined
  readonly #waiting: Waiting
  #state: JobHealth['state'] = 'running'
  #error: StateError | undefined
  #end: () => void = () => {}
  #fail: (error: StateError) => void = () => {}

  constructor(options: AnyOptions) {
    this.#options = options
    this.#logger = isolatedLogger(options.logger)
    this.#waiting = this.#waitingOf(options.group.name)
    this.finished = new Promise((resolve, reject) => {
      this.#end = resolve
      this.#fail = reject
    })
    // Whoever never asks for it hears of it by `health()` and the log.
    this.finished.catch(() => {})
  }

  async join(): Promise<void> {
    this.#joining = this.#options.group.join(this)
    await this.#joining
    // The group, or a partition that it has given, may have failed meanwhile: then it is left as well.
    if (this.#error !== undefined) throw await this.finished.catch((error) => error)
  }

  get jobs(): ReadonlyMap<string, RunningJob<StateSchema>> {
    const jobs = new Map<string, RunningJob<StateSchema>>()
    for (const { partition, job, leaving } of this.#held.values()) {
      if (job !== undefined && !leaving.signal.aborted) jobs.set(partition, job)
    }
    return jobs
  }

  stats(): { readonly [partition: string]: JobStats } {
    return Object.fromEntries(Array.from(this.jobs, ([partition, job]) => [partition, job.stats()]))
  }

  health(): PartitionedHealth {
    let isReady = this.#state === 'running'
    let isHealthy = this.#state !== 'failed'
    const partitions = Array.from(this.#held.values(), ({ partition, state, job }) => {
      const health = job?.health()
      isReady &&= health?.isReady === true
      isHealthy &&= state !== 'fenced' && health?.isHealthy !== false
      const current = state === 'running' ? (health?.state ?? 'restoring') : state
      return [partition, { state: current, job: health }] as const
    })
    return {
      state: this.#state,
      isReady,
      isHealthy,
      partitions: Object.fromEntries(partitions),
      error: this.#error,
    }
  }

  async assigned(partitions: readonly AssignedPartition<unknown>[]): Promise<void> {
    if (this.#state !== 'running') return
    const begun = partitions.map(async ({ partition, source }) => {
      const before = this.#held.get(partition)
      if (before !== undefined && !isLeaving(before) && before.state !== 'fenced') return
      if (before !== undefined) leave(before)
      // What is under way of it ends in its turn, before the new one begins: nobody else would.
      const gone = before === undefined ? undefined : this.#endInTurn(before, (job) => job.abandon())
      const held: Held = {
        partition,
        source,
        state: 'restoring',
        job: undefined,
        backend: undefined,
        leaving: new AbortController(),
        clock: systemClock,
        attempts: 0,
        begunAtMs: 0,
        cancelAgain: () => {},
        waiting: this.#waitingOf(partition),
      }
      this.#held.set(partition, held)
      await Promise.all([gone, this.#beginInTurn(held)])
    })
    await Promise.all(begun)
  }

  async revoked(partitions: readonly string[], { timeoutMs }: RevokeOptions = {}): Promise<void> {
    const stop = (job: RunningJob<StateSchema>) => job.stop(timeoutMs === undefined ? {} : { timeoutMs })
    await this.#letGo(partitions, stop, timeoutMs)
  }

  async lost(partitions: readonly string[]): Promise<void> {
    await this.#letGo(partitions, (job) => job.abandon())
  }

  failed(error: Error): void {
    this.#failWith(failureOf(this.#options.group.name, error))
  }

  stop(options: StopOptions = {}): Promise<void> {
    rejectViolations(violationsOf(options, { drain: rules.boolean, timeoutMs: rules.nonNegativeMs }, 'stop'))
    if (this.#state === 'running') {
      this.#state = 'stopping'
      this.#endWith((job) => job.stop(options), options.timeoutMs).catch((error) => this.#fail(error))
    } else if (this.#state === 'stopping') {
      this.#waiting.hurry(options.timeoutMs)
      for (const { job, waiting } of this.#held.values()) {
        waiting.hurry(options.timeoutMs)
        job?.stop(options).catch(() => {})
      }
    }
    return this.finished
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #begin(held: Held): Promise<void> {
    if (isLeaving(held) || this.#state !== 'running') return
    const { partition, source } = held
    held.job = undefined
    const { signal } = held.leaving
    const operation = `the begin of partition '${partition}'`
    try {
      const { group: _group, place: _place, logger, ...definition } = this.#options
      const place = await this.#placeOf(held)
      const inUse = Array.from(this.#held.values()).some(({ backend }) => backend === place.backend)
      if (inUse) throw invalidArgument('place().backend', 'is that of another partition')
      held.backend = place.backend
      held.clock = place.clock ?? systemClock
      throwIfAborted(signal, operation)
      held.waiting = this.#waitingOf(partition, place)
      const { checkpoints, waitForOwnerMs = DEFAULT_WAIT_FOR_OWNER_MS } = place
      // Without checkpoints the engine keeps the state itself, and whoever opens that waits for its owner.
      const options = {
        ...definition,
        ...(logger !== undefined && { logger }),
        ...place,
        source,
        ...(checkpoints !== undefined && { waitForOwnerMs }),
      }
      // What waits for its owner keeps nobody from beginning.
      const waitFor: WaitFor = (call, begin) => held.waiting.for(call, begin)
      const job = await runJobBesideOthers(options, { places: this.#restoring, signal, waitFor })
      if (signal.aborted) await job.abandon()
      throwIfAborted(signal, operation)
      held.job = job
      held.state = 'running'
      held.begunAtMs = held.clock.now()
      job.finished.catch((error) => this.#onFailure(held, error))
    } catch (error) {
      await this.#closeBackend(held).catch((reason) => {
        this.#logger.warn(
          { partition, reason: reasonOf(reason) },
          'the backend of a partition was not closed',
        )
      })
      this.#onNotBegun(held, error)
    }
  }

  /** What comes of it when it was given up belongs to nobody, and is closed. */
  async #placeOf({ partition, waiting }: Held): Promise<PartitionPlace<unknown>> {
    const placing = (async () => await this.#options.place(partition))()
    try {
      return await waiting.for('its place to be made', () => placing)
    } catch (error) {
      placing.then(({ backend }) => backend.close()).catch(() => {})
      throw error
    }
  }

  #waitingOf(
    job: string,
    { clock = systemClock, stopTimeoutMs = DEFAULT_STOP_TIMEOUT_MS }: Partial<PartitionPlace<unknown>> = {},
  ): Waiting {
    // How long a restore takes is the state's to say: nothing is reported of that.
    return new Waiting({ job, clock, logger: this.#logger, stallAfterMs: Infinity, stopTimeoutMs })
  }

  #beginInTurn(held: Held): Promise<void> {
    return this.#inTurn(held.partition, () => this.#begin(held))
  }

  /** Others may still have it, or its place be out of reach, as is ordinary in a rebalance: other partitions have no part in it. */
  #onNotBegun(held: Held, error: unknown): void {
    const { partition } = held
    const isFenced = isStateError(error, 'FENCED')
    const mayPass = isFenced || isStateError(error, 'STORAGE_ERROR')
    // What hung of a partition that is gone is nothing to the others.
    const wasGivenUp = isStateError(error, 'JOB_FAILED') && this.#state === 'running'
    if (isLeaving(held) && (mayPass || wasGivenUp || isStateError(error, 'ABORTED'))) {
      this.#logger.warn(
        { partition, reason: reasonOf(error) },
        'a partition was not begun before it was taken away',
      )
      return
    }
    if (isFenced) held.state = 'fenced'
    if (!mayPass || !(this.#beginAgain(held, error) || isFenced)) this.#failWith(failureOf(partition, error))
  }

  /** Begins a partition anew, after a pause. `false`: that was done often enough. */
  #beginAgain(held: Held, error: unknown): boolean {
    const { partition } = held
    const afterMs = BEGIN_AGAIN_AFTER_MS[held.attempts++]
    this.#logger.warn({ partition, reason: reasonOf(error), afterMs }, 'a partition is not read')
    if (afterMs === undefined || isLeaving(held) || this.#state !== 'running') return afterMs !== undefined
    const again = () => {
      // Nothing is awaited here: `#begin` deals with what fails.
      if (!isLeaving(held)) this.#beginInTurn(held).catch(() => {})
    }
    held.cancelAgain = held.clock.setTimer(again, afterMs)
    return true
  }

  /** A job has failed that nobody has told to end. */
  #onFailure(held: Held, error: unknown): void {
    if (isLeaving(held)) return
    const { partition } = held
    if (!isStateError(error, 'FENCED')) {
      this.#failWith(failureOf(partition, error))
      return
    }
    // Another member goes on with it: the group has taken this one for dead, and will say so. Other partitions have no part in it.
    held.state = 'fenced'
    if (held.clock.now() - held.begunAtMs >= LASTING_MS) held.attempts = 0
    this.#inTurn(partition, () => this.#closeBackend(held)).catch(() => {})
    this.#beginAgain(held, error)
  }

  async #letGo(
    partitions: readonly string[],
    end: (job: RunningJob<StateSchema>) => Promise<unknown>,
    timeoutMs?: number,
  ): Promise<void> {
    const ended = partitions.map(async (partition) => {
      const held = this.#held.get(partition)
      if (held === undefined) return
      leave(held, timeoutMs)
      await this.#endInTurn(held, end)
      if (this.#held.get(partition) === held) this.#held.delete(partition)
    })
    await Promise.all(ended)
  }

  /** The next one goes on from the newest cut that is safe, whatever fails here. */
  #endInTurn(held: Held, end: (job: RunningJob<StateSchema>) => Promise<unknown>): Promise<void> {
    const { partition } = held
    return this.#inTurn(partition, () =>
      this.#endJob(held, end).catch((error) => {
        this.#logger.warn({ partition, reason: reasonOf(error) }, 'no last cut of a partition')
      }),
    )
  }

  async #endJob(held: Held, end: (job: RunningJob<StateSchema>) => Promise<unknown>): Promise<void> {
    try {
      if (held.job !== undefined && held.state !== 'fenced') await end(held.job)
    } finally {
      await this.#closeBackend(held)
    }
  }

  async #closeBackend(held: Held): Promise<void> {
    const { backend } = held
    held.backend = undefined
    if (backend !== undefined) await held.waiting.for('the backend to close', () => backend.close())
  }

  #failWith(failure: StateError): void {
    if (this.#error !== undefined) return
    this.#error = failure
    const wasRunning = this.#state === 'running'
    this.#state = 'failed'
    this.#logger.error({ group: this.#options.group.name, reason: failure.message }, 'job failed')
    // Whoever stops it already ends the rest.
    if (wasRunning) this.#endWith((job) => job.stop()).catch(() => this.#fail(failure))
  }

  /** Ends all that is here, then leaves the group: others begin where this one has ended. */
  async #endWith(end: (job: RunningJob<StateSchema>) => Promise<unknown>, timeoutMs?: number): Promise<void> {
    const failures: unknown[] = []
    this.#waiting.hurry(timeoutMs)
    const ended = Array.from(this.#held.values(), async (held) => {
      const failedBefore = held.job?.health().state === 'failed'
      leave(held, timeoutMs)
      await this.#inTurn(held.partition, () => this.#endJob(held, end)).catch((error) => {
        if (!failedBefore) failures.push(error)
      })
      this.#held.delete(held.partition)
    })
    await Promise.all(ended)
    try {
      const joining = this.#joining
      await this.#waiting.for('the group to be left', async () => (await joining)?.leave())
    } catch (error) {
      failures.push(error)
    }
    const [failure] = failures
    this.#error ??= failure === undefined ? undefined : failureOf(this.#options.group.name, failure)
    this.#state = this.#error === undefined ? 'stopped' : 'failed'
    if (this.#error === undefined) this.#end()
    else this.#fail(this.#error)
  }

  #inTurn(partition: string, task: () => Promise<void>): Promise<void> {
    let turn = this.#turns.get(partition)
    if (turn === undefined) {
      turn = new Mutex()
      this.#turns.set(partition, turn)
    }
    return turn.run(task)
  }
}

const isLeaving = ({ leaving }: Held): boolean => leaving.signal.aborted

/** It is to be let go of: what hangs of it is given up in the end. */
function leave(held: Held, timeoutMs?: number): void {
  held.leaving.abort()
  held.cancelAgain()
  held.waiting.hurry(timeoutMs)
}
