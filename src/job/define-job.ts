import type { StateSchema } from '../state/schema/define-state.js'
import { windowed } from '../window/windowed.js'
import type { JobDefinition, KeyOf } from './job-options.js'
import { type DefinedJob, pipeable, type WindowsOf } from './stage-definition.js'

/** Takes the definition of a job; its types follow from it. */
export type DefineJob<Event, Output> = <Schema extends StateSchema>(
  definition: Omit<JobDefinition<Event, Schema, Output>, 'windows'> & {
    /**
     * The windows, or a function that makes them with the `windowed` that it is given: that one knows the keys of the job, so
     * that the type of `key` need not be said in `output`.
     */
    readonly windows?: WindowsOf<Event, KeyOf<Schema>, Output>
  },
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
  return (definition) => {
    const { windows } = definition
    return pipeable(
      typeof windows === 'function' ? { ...definition, windows: windows(windowed) } : definition,
    ) as never
  }
}
