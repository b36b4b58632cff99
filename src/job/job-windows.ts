// The windows of a job: every event of a key enters those that it has, and their results are outputs.
//
// (1) An event enters all windows, or none: what one of them refuses is taken out of the others again.
// (2) Between two cuts open windows are in memory; `flush` writes what has changed (src/window/operator).

import type { Violation } from '../base/errors.js'
import { rules } from '../base/options.js'
import type { SlicedWork } from '../base/slices.js'
import type { StateDefinition } from '../state/kinds/definitions.js'
import { nameProblem, type StateDefinitions, type StateSchema } from '../state/schema/define-state.js'
import { openWindows, statesOfWindows } from '../window/operator/open-windows.js'
import type { ErasedWindows, LateFigures, WindowOperator } from '../window/operator/window-operator.js'
import { isWindowDefinition, type WindowResult } from '../window/windowed.js'

/** Windows under their names. */
export interface WindowDefinitions {
  readonly [name: string]: object
}

/**
 * The schema of a job that has windows: its states, and those that the windows are kept in. Whoever opens the store of such a job without the
 * job does so with this.
 *
 * @example const store = await StateStore.open(await LmdbStateBackend.open({ path, readOnly: true }), withWindows(schema, windows))
 */
export function withWindows<Schema extends StateSchema>(schema: Schema, windows: WindowDefinitions): Schema {
  const states: { [name: string]: StateDefinition } = { ...(schema.states as StateDefinitions) }
  for (const [name, definition] of Object.entries(windows))
    Object.assign(states, statesOfWindows(name, definition))
  return Object.freeze({ ...schema, states: Object.freeze(states) })
}

/** The names of the states that windows are kept in. */
export function windowStateNames(windows: WindowDefinitions): string[] {
  return Object.entries(windows).flatMap(([name, definition]) =>
    Object.keys(statesOfWindows(name, definition)),
  )
}

/** What is wrong with the windows of a job, or with having them. */
export function windowViolations(
  options: {
    readonly process?: unknown
    readonly onTimer?: unknown
    readonly timestamp?: unknown
    readonly windows?: { readonly [name: string]: object } | undefined
    readonly schema?: { readonly states?: object }
  },
  label: string,
): Violation[] {
  const { process, onTimer, timestamp, windows, schema } = options
  if ((process === undefined) === (windows === undefined)) {
    return [{ argument: `${label}.process`, reason: 'or windows is required, and only one of them' }]
  }
  if (windows === undefined || rules.object(windows) !== undefined) return []
  const violations: Violation[] = []
  if (onTimer !== undefined) violations.push({ argument: `${label}.onTimer`, reason: 'goes with process' })
  if (timestamp === undefined)
    violations.push({ argument: `${label}.timestamp`, reason: 'is required by windows' })
  if (Object.keys(windows).length === 0) {
    violations.push({ argument: `${label}.windows`, reason: 'must have one at least' })
  }
  for (const [name, definition] of Object.entries(windows)) {
    if (!isWindowDefinition(definition)) {
      return [...violations, { argument: `${label}.windows.${name}`, reason: 'must be made by windowed()' }]
    }
  }
  const names = windowStateNames(windows)
  const taken = names.filter((name) => Object.hasOwn(schema?.states ?? {}, name))
  for (const name of taken)
    violations.push({ argument: `${label}.windows['${name}']`, reason: 'has the name of a state' })
  for (const [i, name] of names.entries()) {
    const problem = names.indexOf(name) < i ? 'has the name of a state of other windows' : nameProblem(name)
    if (problem !== undefined) violations.push({ argument: `${label}.windows['${name}']`, reason: problem })
  }
  return violations
}

export interface JobWindowsOptions {
  readonly store: object
  readonly windows: WindowDefinitions
  readonly emit: (output: unknown, timestampMs: number) => void
  readonly nowMs: () => number
}

export class JobWindows {
  readonly #operators: readonly WindowOperator[]
  /** Where there is one: what it refuses is in no other one. */
  readonly #only: WindowOperator | undefined
  readonly #byName: ReadonlyMap<string, WindowOperator>

  constructor({ store, windows, emit, nowMs }: JobWindowsOptions) {
    const opened = Object.entries(windows).map(([name, definition]): [string, WindowOperator] => [
      name,
      openWindows({ store, name, definition: definition as ErasedWindows, emit, nowMs }),
    ])
    this.#byName = new Map(opened)
    this.#operators = opened.map(([, operator]) => operator)
    this.#only = this.#operators.length === 1 ? this.#operators[0] : undefined
  }

  /** Late events and the windows that they missed, over all windows. */
  get late(): LateFigures {
    const total = { lostEvents: 0, missedWindows: 0 }
    for (const { late } of this.#operators) {
      total.lostEvents += late.lostEvents
      total.missedWindows += late.missedWindows
    }
    return total
  }

  add(key: unknown, event: unknown, timestampMs: number, watermarkMs: number): void {
    const only = this.#only
    if (only !== undefined) {
      only.add(key, event, timestampMs, watermarkMs)
      return
    }
    const operators = this.#operators
    let entered = 0
    try {
      for (; entered < operators.length; entered++) {
        ;(operators[entered] as WindowOperator).add(key, event, timestampMs, watermarkMs)
      }
    } catch (error) {
      for (let i = 0; i < entered; i++) (operators[i] as WindowOperator).revert()
      throw error
    }
  }

  *advance(watermarkMs: number): SlicedWork<void> {
    for (const operator of this.#operators) yield* operator.advance(watermarkMs)
  }

  *flush(): SlicedWork<void> {
    for (const operator of this.#operators) yield* operator.flush()
  }

  *restore(watermarkMs: number): SlicedWork<void> {
    for (const operator of this.#operators) yield* operator.restore(watermarkMs)
  }

  onProcessingTime(nowMs: number): void {
    for (const operator of this.#operators) operator.onProcessingTime(nowMs)
  }

  /** When that has something to do; `Infinity` where it has not. */
  get nextProcessingMs(): number {
    return Math.min(Infinity, ...this.#operators.map(({ nextProcessingMs }) => nextProcessingMs))
  }

  has(name: string): boolean {
    return this.#byName.has(name)
  }

  peek(name: string, key: unknown): readonly WindowResult<unknown, unknown>[] {
    return this.#byName.get(name)?.peek(key) ?? []
  }
}
