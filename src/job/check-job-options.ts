import type { StateBackend } from '../backend/state-backend.js'
import type { Violation } from '../base/errors.js'
import {
  hasMethods,
  nonEmptyText,
  type Rule,
  rejectViolations,
  rules,
  violationsOf,
} from '../base/options.js'
import type { StateDefinitions, StateSchema } from '../state/schema/define-state.js'
import type { JobOptions } from './job-options.js'
import { windowViolations } from './job-windows.js'
import { onBadEventRule, stageViolations } from './stage-definition.js'

const optionRules: { readonly [name: string]: Rule } = {
  name: nonEmptyText,
  source: hasMethods('open'),
  key: rules.function,
  timestamp: rules.function,
  time: rules.object,
  process: rules.function,
  windows: rules.object,
  stages: (stages) => (Array.isArray(stages) ? undefined : 'must be made by pipe()'),
  onTimer: rules.function,
  schema: rules.object,
  open: rules.object,
  backend: (value) =>
    hasMethods('get', 'getMany', 'write', 'scan', 'flush')(value) ??
    ((value as Partial<StateBackend>).supports?.sync === true
      ? hasMethods('getSync', 'putSync', 'writeSync')(value)
      : undefined),
  checkpoints: rules.object,
  flushIntervalMs: rules.positiveMs,
  restoreFrom: nonEmptyText,
  lineage: (value) => (value === 'new' ? undefined : "must be 'new'"),
  waitForOwnerMs: rules.nonNegativeMs,
  sink: hasMethods('open'),
  onBadEvent: onBadEventRule,
  maxPollEvents: rules.positiveInteger,
  stallAfterMs: rules.positiveMs,
  stopTimeoutMs: rules.positiveMs,
  clock: hasMethods('now', 'setTimer'),
  logger: hasMethods('debug', 'info', 'warn', 'error'),
}

const REQUIRED = ['name', 'source', 'key', 'schema', 'backend'] as const

/** `INVALID_ARGUMENT` with everything that is wrong. `keepsCutsElsewhere`: a test does, so that no engine need be durable. */
export function checkJobOptions<Event, Schema extends StateSchema, Output>(
  options: JobOptions<Event, Schema, Output>,
  keepsCutsElsewhere = false,
): void {
  const violations: Violation[] = violationsOf(options ?? null, optionRules)
  for (const name of REQUIRED) {
    if (options?.[name] === undefined) violations.push({ argument: `options.${name}`, reason: 'is required' })
  }
  violations.push(...windowViolations(options ?? {}, 'options'))
  if ((options?.timestamp === undefined) !== (options?.time === undefined)) {
    violations.push({ argument: 'options.timestamp', reason: 'and options.time go together' })
  }
  violations.push(...laterViolations(options))
  const isKept = keepsCutsElsewhere || options?.checkpoints !== undefined
  violations.push(...stageViolations(options ?? {}, !isKept))
  if (options?.backend?.supports?.durable === false && !isKept) {
    violations.push({
      argument: 'options.checkpoints',
      reason: `is required: '${options.backend.name}' keeps nothing`,
    })
  }
  for (const name of ['restoreFrom', 'waitForOwnerMs'] as const) {
    if (options?.[name] !== undefined && options.checkpoints === undefined) {
      violations.push({ argument: `options.${name}`, reason: 'needs options.checkpoints' })
    }
  }
  rejectViolations(violations)
}

/** What a job on an asynchronous engine cannot have. */
function laterViolations(options: {
  readonly backend?: Partial<StateBackend>
  readonly schema?: StateSchema
  readonly stages?: readonly object[]
}): Violation[] {
  const { backend, schema, stages = [] } = options ?? {}
  if (backend?.supports === undefined || backend.supports.sync) return []
  const schemas = [schema, ...stages.map((stage) => (stage as { readonly schema?: StateSchema }).schema)]
  return schemas.flatMap((each) =>
    Object.entries((each?.states ?? {}) as StateDefinitions)
      .filter(([, { ttl }]) => ttl?.time === 'event')
      .map(([name]) => ({
        argument: `options.schema.states.${name}`,
        reason: `must not live by event time on '${backend.name}', which is asynchronous`,
      })),
  )
}
