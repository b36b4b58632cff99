import type { StateBackend } from '../backend/state-backend.js'
import type { StateSchema } from '../state/schema/define-state.js'
import { checkJobOptions } from './check-job-options.js'
import type { Cuts } from './cuts.js'
import { Job } from './job.js'
import type { JobOptions } from './job-options.js'
import { type BeginBesideOthers, openJob } from './open-job.js'
import type { RunningJob, RunningPipedJob } from './running-job.js'
import type { PipedJobOptions, StageSchemas } from './stage-definition.js'

/**
 * Restores the state, opens source and sink where the cut has left them, and runs until the source ends or `stop` is called.
 * Rejects where that cannot begin: with the errors of `restoreLatest`, `StateStore.open`, `Source.open` and `Sink.open`; what these two throw
 * that is no `StateError` is the `cause` of `JOB_FAILED`;
 * `INCOMPATIBLE` where the state is that of another job; `INVALID_ARGUMENT` lists all that is wrong with the options.
 *
 * @example
 * const job = await runJob({
 *   name: 'tokens per model',
 *   source: ndjsonFiles<LlmRequest>({ paths: ['requests.ndjson'] }),
 *   key: (request) => request.model,
 *   schema: defineState({ key: utf8, states: { tokens: value(float64, { default: () => 0 }) } }),
 *   process: (request, { state, key, emit }) => {
 *     state.tokens.update((tokens) => tokens + request.tokens)
 *     if (state.tokens.get() > 1_000_000) emit({ model: key, alert: 'a million tokens' })
 *   },
 *   sink: ndjsonFileSink({ path: 'alerts.ndjson' }),
 *   backend: new MemoryStateBackend(),
 *   checkpoints: { storage: new FileCheckpointStorage('checkpoints'), intervalMs: 5_000 },
 * })
 * await job.finished
 */
export function runJob<Event, Schema extends StateSchema, Output, Stages extends StageSchemas>(
  options: PipedJobOptions<Event, Schema, Output, Stages>,
): Promise<RunningPipedJob<Schema, Stages>>
export function runJob<Event, Schema extends StateSchema, Output = never>(
  options: JobOptions<Event, Schema, Output>,
): Promise<RunningJob<Schema>>
export function runJob<Event, Schema extends StateSchema, Output, Stages extends StageSchemas>(
  options: PipedJobOptions<Event, Schema, Output, Stages, StateBackend>,
): Promise<RunningPipedJob<Schema, Stages, 'async'>>
export function runJob<Event, Schema extends StateSchema, Output = never>(
  options: JobOptions<Event, Schema, Output, StateBackend>,
): Promise<RunningJob<Schema, 'async'>>
export async function runJob(options: object): Promise<unknown> {
  const given = options as JobOptions<unknown, StateSchema, unknown>
  checkJobOptions(given)
  return await startJob(given, undefined)
}

/** As {@link runJob}, for one of many jobs of a process. */
export async function runJobBesideOthers<Event, Schema extends StateSchema, Output>(
  options: JobOptions<Event, Schema, Output>,
  beside: BeginBesideOthers,
): Promise<RunningJob<Schema>> {
  checkJobOptions(options)
  return await startJob(options, undefined, beside)
}

/** The same, with cuts that are kept wherever the caller keeps them: for tests of jobs. */
export async function runJobWithCuts<Event, Schema extends StateSchema, Output>(
  options: JobOptions<Event, Schema, Output>,
  cuts: Cuts,
): Promise<RunningPipedJob<Schema, StageSchemas>> {
  checkJobOptions(options, true)
  return await startJob(options, cuts)
}

async function startJob<Event, Schema extends StateSchema, Output>(
  options: JobOptions<Event, Schema, Output>,
  given: Cuts | undefined,
  beside?: BeginBesideOthers,
): Promise<Job<Event, Schema, Output>> {
  return await openJob(options, given, beside, (parts) => new Job(parts))
}
