import type { StateSchema } from '../state/schema/define-state.js'
import type { JobDefinition } from './job-options.js'
import { type DefinedJob, pipeable } from './stage-definition.js'

/** Takes the definition of a job; its types follow from it. */
export type DefineJob<Event, Output> = <Schema extends StateSchema>(
  definition: JobDefinition<Event, Schema, Output>,
) => DefinedJob<Event, Schema, Output>

/**
 * What a job does, apart from where it runs, so that a program and its tests share it: `runJob({ ...job, source, sink, backend })`
 * runs it, and `testJob(job, events)` of `holdfast/testing` tests it. The types of events and outputs are said first, since nothing
 * else does. `pipe` adds a stage that is given what the job puts out, keyed anew.
 *
 * @example
 * export const budgetGuard = defineJob<LlmRequest, Alert>()({
 *   name: 'budget guard',
 *   key: (request) => request.tenant,
 *   schema: defineState({ key: utf8, states: { spentUsd: value(float64, { default: () => 0 }) } }),
 *   process(request, { state, key, emit }) { … },
 * })
 */
export function defineJob<Event, Output = never>(): DefineJob<Event, Output> {
  return (definition) => pipeable(definition) as never
}
