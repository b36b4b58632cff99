// The stages of a job behind its first one: each is given what the one before it has put out, keyed anew.
//
// (1) The states of a later stage lie in the store of the job, under the name of the stage, a full stop and their own, with the key of the
//     stage. One cut has all of them.

import type { StateBackend, SyncStateBackend } from '../backend/state-backend.js'
import type { Violation } from '../base/errors.js'
import { invalidArgument, type Rule, requireSettings, rules, violationsOf } from '../base/options.js'
import type { StateDefinition } from '../state/kinds/definitions.js'
import { nameProblem, type StateDefinitions, type StateSchema } from '../state/schema/define-state.js'
import { timerStates } from '../window/timers/timer-states.js'
import { type WindowDefinition, type WindowOptions, windowed } from '../window/windowed.js'
import type {
  BadEvent,
  JobDefinition,
  JobOptions,
  KeyOf,
  ProcessContext,
  Timer,
  WhereItRuns,
} from './job-options.js'
import { schemaOf } from './job-timers.js'
import { type WindowDefinitions, windowStateNames, windowViolations } from './job-windows.js'

/** `windowed` for the events and keys of a job or a stage. */
export type WindowedOf<Event, Key, Output> = <Value>(
  options: WindowOptions<Event, Key, Value, Output>,
) => WindowDefinition<Event, Key, Output>

/** Windows under their names, or a function that makes them. */
export type WindowsOf<Event, Key, Output> =
  | { readonly [name: string]: WindowDefinition<NoInfer<Event>, Key, Output> }
  | ((windowed: WindowedOf<Event, Key, Output>) => {
      readonly [name: string]: WindowDefinition<NoInfer<Event>, Key, Output>
    })

/** A keyed stage of a job behind its first one: it has the same parts as a job, and its events are the outputs of the stage before it. */
export interface StageDefinition<Event, Schema extends StateSchema, Output, Name extends string = string> {
  /** Names the stage in the job, and its states in the store: it must stay as it is. */
  readonly name: Name
  /** The key of an event, as the schema's key codec takes it. One without a key (`undefined`) is a bad event. */
  readonly key: (event: Event) => KeyOf<Schema> | undefined
  /**
   * The event's time. Default: that of what it was made of: the event that was processed, the timer, or the last instant of the window
   * (W17); what a timer of processing time emits has the time behind the watermark.
   */
  readonly timestamp?: (event: Event) => number
  /** What becomes of an event: this, or `windows`. */
  readonly process?: (event: Event, context: ProcessContext<KeyOf<Schema>, Schema, Output>) => void
  readonly windows?: WindowsOf<Event, KeyOf<Schema>, Output>
  readonly onTimer?: (timer: Timer, context: ProcessContext<KeyOf<Schema>, Schema, Output>) => void
  readonly schema: Schema
  /**
   * What becomes of an event that this stage cannot process: the job fails, it is skipped and counted, or the function decides. What the
   * stages before it have made of what it came from stays. Default `'fail'`.
   */
  readonly onBadEvent?: 'fail' | 'skip' | ((bad: BadEvent<Event>, emit: (output: Output) => void) => void)
}

/** A stage, whatever its types are, with its windows as they were made. */
export type AnyStage = Omit<StageDefinition<unknown, StateSchema, unknown>, 'windows'> & {
  readonly windows?: { readonly [name: string]: WindowDefinition<unknown, unknown, unknown> }
}

/** The schemas of stages, by the names of these. */
export interface StageSchemas {
  readonly [stage: string]: StateSchema
}

/**
 * A job of several keyed stages: `runJob({ ...job, source, sink, backend })` runs it. Its first stage has the states of `Schema`, the
 * others those of `Stages`.
 */
export interface PipedJob<Event, Schema extends StateSchema, Output, Stages extends StageSchemas> {
  readonly name: string
  readonly stages: readonly AnyStage[]
  /** What the compiler knows of it; never there. No symbol, which declarations of `{ ...job }` could not name. */
  readonly '~types'?: {
    readonly event: (event: Event) => void
    readonly schema: Schema
    readonly output: Output
    readonly stages: Stages
  }
}

/** The options of `runJob` for a job of several stages. */
export type PipedJobOptions<
  Event,
  Schema extends StateSchema,
  Output,
  Stages extends StageSchemas,
  Backend extends StateBackend = SyncStateBackend,
> = PipedJob<Event, Schema, Output, Stages> & Pick<JobOptions<Event, Schema, Output, Backend>, WhereItRuns>

/** Takes the definition of the next stage; its types follow from it. */
export type DefineStage<Event, Schema extends StateSchema, Output, Stages extends StageSchemas, Next> = <
  const Name extends string,
  NextSchema extends StateSchema,
>(
  stage: StageDefinition<Output, NextSchema, Next, Name>,
) => DefinedPipedJob<Event, Schema, Next, Stages & { readonly [Each in Name]: NextSchema }>

interface Pipe<Event, Schema extends StateSchema, Output, Stages extends StageSchemas> {
  /**
   * Adds a stage: what the job has put out so far are its events, and what it puts out goes to the next one, or to the sink. The type of
   * that is said first. The method is not among what `{ ...job }` takes.
   */
  pipe<Next = never>(): DefineStage<Event, Schema, Output, Stages, Next>
}

/** A job as `defineJob` gives it. */
export interface DefinedJob<Event, Schema extends StateSchema, Output>
  extends JobDefinition<Event, Schema, Output>,
    Pipe<Event, Schema, Output, Record<never, never>> {}

/** The same with stages behind its first one. */
export interface DefinedPipedJob<Event, Schema extends StateSchema, Output, Stages extends StageSchemas>
  extends PipedJob<Event, Schema, Output, Stages>,
    Pipe<Event, Schema, Output, Stages> {}

/** A job that more stages can be added to. */
export function pipeable<Job extends object>(job: Job): Job {
  const { stages = [] } = job as { readonly stages?: readonly AnyStage[] }
  const pipe = () => (given: StageDefinition<unknown, StateSchema, unknown>) => {
    const { windows } = given
    const stage = typeof windows === 'function' ? { ...given, windows: windows(windowed) } : { ...given }
    return pipeable({ ...job, stages: Object.freeze([...stages, Object.freeze(stage)]) })
  }
  return Object.freeze(Object.defineProperty({ ...job }, 'pipe', { value: pipe })) as never
}

/** What a state of a stage is called in the store. */
export const prefixOf = (stage: string): string => `${stage}.`

/** The schema of a stage with what its timers and windows are kept in. */
export function schemaOfStage({ schema, onTimer, windows }: AnyStage): StateSchema {
  return schemaOf(schema, onTimer !== undefined, windows as WindowDefinitions | undefined)
}

/**
 * The schema of a job that has several stages: the states of its first one, and those of the others. Whoever opens the store of such a
 * job without the job does so with this.
 */
export function withStages<Schema extends StateSchema>(schema: Schema, stages: readonly object[]): Schema {
  requireSettings(schema, ['states', 'drop'], 'schema')
  if (!Array.isArray(stages)) throw invalidArgument('stages', 'must be an array')
  const states: { [name: string]: StateDefinition } = { ...(schema.states as StateDefinitions) }
  const drop = [...schema.drop]
  for (const stage of stages as readonly AnyStage[]) {
    const prefix = prefixOf(stage.name)
    const own = schemaOfStage(stage)
    for (const [name, definition] of Object.entries(own.states)) {
      const renamedFrom = definition.renamedFrom.map((former) => prefix + former)
      states[prefix + name] = Object.freeze({ ...definition, key: own.key, renamedFrom })
    }
    drop.push(...own.drop.map((name) => prefix + name))
  }
  return Object.freeze({ ...schema, states: Object.freeze(states), drop: Object.freeze(drop) })
}

/** What `onBadEvent` of a job and of a stage may be. */
export const onBadEventRule: Rule = (value) =>
  value === 'fail' || value === 'skip' || typeof value === 'function'
    ? undefined
    : "must be 'fail', 'skip' or a function"

const stageRules: { readonly [name: string]: Rule } = {
  name: (name) =>
    typeof name === 'string' && name !== '' && !name.includes('.') ? undefined : "must be text without '.'",
  key: rules.function,
  timestamp: rules.function,
  process: rules.function,
  windows: rules.object,
  onTimer: rules.function,
  schema: rules.object,
  onBadEvent: onBadEventRule,
}

interface StagedOptions {
  readonly schema?: StateSchema
  readonly stages?: readonly object[]
  readonly timestamp?: unknown
  readonly process?: unknown
  readonly onTimer?: unknown
  readonly windows?: { readonly [name: string]: object } | undefined
  readonly onBadEvent?: unknown
}

/** What is wrong with the stages of a job. `isStored`: the engine keeps the state itself, and no checkpoint is made. */
export function stageViolations(options: StagedOptions, isStored: boolean): Violation[] {
  const { stages } = options
  if (stages === undefined) return []
  if (!Array.isArray(stages)) return [{ argument: 'options.stages', reason: 'must be made by pipe()' }]
  const violations: Violation[] = []
  const taken = new Set(statesOfFirst(options))
  const names = new Set<string>()
  for (const [i, stage] of (stages as readonly AnyStage[]).entries()) {
    const label = `options.stages[${i}]`
    violations.push(...violationsOf(stage, stageRules, label))
    for (const name of ['name', 'key', 'schema'] as const) {
      if (stage[name] === undefined) violations.push({ argument: `${label}.${name}`, reason: 'is required' })
    }
    violations.push(...windowViolations({ ...stage, timestamp: options.timestamp }, label))
    if (violations.length > 0) continue
    violations.push(...schemaViolations(stage, options, label))
    if (names.has(stage.name))
      violations.push({ argument: `${label}.name`, reason: 'is that of another stage' })
    names.add(stage.name)
    for (const name of Object.keys(schemaOfStage(stage).states)) {
      const problem = taken.has(prefixOf(stage.name) + name)
        ? 'has the name of a state of the first stage'
        : nameProblem(prefixOf(stage.name) + name)
      if (problem !== undefined)
        violations.push({ argument: `${label}.schema.states['${name}']`, reason: problem })
    }
  }
  if (violations.length === 0 && isStored && stages.length > 0) violations.push(...storedViolations(options))
  return violations
}

/** What the states of the first stage are called, with those that its windows and timers are kept in. */
function statesOfFirst(options: StagedOptions): string[] {
  const { schema, windows, onTimer } = options
  const areWindows = windows !== undefined && windowViolations(options, 'options').length === 0
  return [
    ...Object.keys(schema?.states ?? {}),
    ...(areWindows ? windowStateNames(windows) : []),
    ...(onTimer === undefined ? [] : Object.values(timerStates)),
  ]
}

function schemaViolations(
  { schema }: AnyStage,
  { schema: first }: StagedOptions,
  label: string,
): Violation[] {
  const violations: Violation[] = []
  if (schema.migrateKey !== undefined) {
    violations.push({
      argument: `${label}.schema.migrateKey`,
      reason: 'is for the first stage: name the stage anew',
    })
  }
  if (first !== undefined && schema.keyGroups !== first.keyGroups) {
    violations.push({ argument: `${label}.schema.keyGroups`, reason: 'must be that of the first stage' })
  }
  return violations
}

/**
 * What an engine makes durable by itself is the state between two slices. Windows are in memory until the next cut, so where there are some,
 * nothing else may be written before it; and what a slice has written of an event that a later stage refuses cannot be taken out again.
 */
function storedViolations({ process, stages = [], onBadEvent }: StagedOptions): Violation[] {
  const all = [{ process, onBadEvent }, ...(stages as readonly AnyStage[])]
  const processing = all.filter((stage) => stage.process !== undefined).length
  if (processing === 0) return []
  if (processing < all.length) {
    return [
      {
        argument: 'options.checkpoints',
        reason: 'is required by stages with process beside some with windows',
      },
    ]
  }
  if (all.every((stage) => (stage.onBadEvent ?? 'fail') === 'fail')) return []
  return [
    { argument: 'options.checkpoints', reason: 'is required by onBadEvent where there are several stages' },
  ]
}
