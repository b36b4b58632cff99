// The windows of a job: every event of a key enters those that it has, and their results are outputs.
//
// (1) An event enters all windows, or none: what one of them refuses is taken out of the others again.
// (2) Results of one advance come by window end, window start and key bytes, whichever windows they are of (W16): those of several
//     windows are merged while they are made.
// (3) Between two cuts open windows are in memory; `flush` writes what has changed (src/window/operator).

import { compareStretches } from '../base/bytes.js'
import { reasonOf, StateError, type Violation } from '../base/errors.js'
import { requireSettings, rules } from '../base/options.js'
import type { SlicedWork } from '../base/slices.js'
import { ByteWriter } from '../state/codec/bytes.js'
import type { KeyCodec } from '../state/codec/codec.js'
import type { StateDefinition } from '../state/kinds/definitions.js'
import { shownKey } from '../state/kinds/state-context.js'
import { nameProblem, type StateDefinitions, type StateSchema } from '../state/schema/define-state.js'
import { openStateOf } from '../state/store.js'
import { FiringFailure } from '../window/operator/firing-failure.js'
import { openWindows, statesOfWindows } from '../window/operator/open-windows.js'
import { areOfProcessingTime } from '../window/operator/processing-time.js'
import type {
  AnyResult,
  EmitResult,
  ErasedWindows,
  LateFigures,
  WindowOperator,
} from '../window/operator/window-operator.js'
import { isWindowDefinition, type WindowResult } from '../window/windowed.js'
import type { WindowStats } from './running-job.js'

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
  requireSettings(schema, ['states'], 'schema')
  requireSettings(windows, [], 'windows')
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

/** Whether all windows are of processing time, so that no timestamp is needed. */
function areByClock(windows: WindowDefinitions | undefined): boolean {
  const all = Object.values(windows ?? {})
  return all.length > 0 && all.every((each) => isWindowDefinition(each) && areOfProcessingTime(each))
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
  const areTimed = !areByClock(windows)
  if ((process === undefined) === (windows === undefined)) {
    return [{ argument: `${label}.process`, reason: 'or windows is required, and only one of them' }]
  }
  if (windows === undefined || rules.object(windows) !== undefined) return []
  const violations: Violation[] = []
  if (onTimer !== undefined) violations.push({ argument: `${label}.onTimer`, reason: 'goes with process' })
  if (timestamp === undefined && areTimed)
    violations.push({ argument: `${label}.timestamp`, reason: "is required by windows of 'event' time" })
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
  /** The name of the job. */
  readonly job: string
  /** Where it is not the first one. */
  readonly stage?: string
  readonly store: object
  readonly windows: WindowDefinitions
  readonly emit: (output: unknown, timestampMs: number) => void
  readonly nowMs: () => number
}

/** An output of windows that others may still have some before. */
interface WaitingOutput {
  readonly output: unknown
  readonly timestampMs: number
  readonly result: AnyResult
  /** The key's bytes, once they were asked for. */
  key: ByteWriter | undefined
}

/** The outputs of one set of windows, while several advance together. */
class AdvancingWindows {
  readonly #waiting: WaitingOutput[] = []
  #next = 0
  #work: SlicedWork<void> | undefined

  get head(): WaitingOutput | undefined {
    return this.#waiting[this.#next]
  }

  begin(work: SlicedWork<void>): void {
    this.#work = work
  }

  push(output: WaitingOutput): void {
    this.#waiting.push(output)
  }

  /** Goes on until there is an output, or none comes any more. */
  *fill(): SlicedWork<void> {
    while (this.head === undefined && this.#work !== undefined) {
      if (this.#work.next().done === true) this.#work = undefined
      yield
    }
  }

  shift(): void {
    this.#next++
    if (this.#next < this.#waiting.length) return
    this.#waiting.length = 0
    this.#next = 0
  }
}

export class JobWindows {
  /** Whether some are of processing time. */
  readonly areSomeByClock: boolean
  readonly #operators: readonly WindowOperator[]
  readonly #whose: { readonly job: string; readonly of: string }
  readonly #names: readonly string[]
  readonly #emit: JobWindowsOptions['emit']
  readonly #keyCodec: KeyCodec<unknown>
  /** Of each operator, where there are several. */
  readonly #advancing: AdvancingWindows[] = []
  #isAdvancing = false
  /** Where there is one: what it refuses is in no other one. */
  readonly #only: WindowOperator | undefined
  readonly #byName: ReadonlyMap<string, WindowOperator>
  /** The names of those that are of processing time. */
  readonly #byClock: ReadonlySet<string>

  constructor({ job, stage, store, windows, emit, nowMs }: JobWindowsOptions) {
    const definitions = Object.entries(windows)
    this.#whose = { job, of: stage === undefined ? '' : `stage '${stage}', ` }
    this.#names = definitions.map(([name]) => name)
    this.#emit = emit
    const [[firstName] = ['']] = definitions
    this.#keyCodec = openStateOf(store, firstName).context.keyCodec
    const opened = definitions.map(([name, definition]): [string, WindowOperator] => {
      const given = definitions.length === 1 ? emit : this.#emitBy()
      return [name, openWindows({ store, name, definition: definition as ErasedWindows, emit: given, nowMs })]
    })
    this.#byName = new Map(opened)
    this.#byClock = new Set(definitions.filter(([, each]) => areOfProcessingTime(each)).map(([name]) => name))
    this.areSomeByClock = this.#byClock.size > 0
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

  /** How many are open of each, and when the next of them are due. */
  stats(): readonly (readonly [name: string, stats: WindowStats])[] {
    return Array.from(this.#byName, ([name, operator]) => {
      const { open, nextDueMs, nextProcessingMs } = operator
      return [name, { open, nextMs: this.#byClock.has(name) ? nextProcessingMs : nextDueMs }]
    })
  }

  /** Whether keys should be told before their events come: there is much that is in no cache. */
  get isFar(): boolean {
    return this.#only?.isFar === true
  }

  /** The keys of the next events, strings and numbers: a hint. */
  ahead(keys: readonly unknown[], count: number): void {
    this.#only?.ahead?.(keys, count)
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
    yield* this.#together((operator) => operator.advance(watermarkMs))
  }

  /** What several windows put out in one advance comes in one order (W16). */
  *#together(advance: (operator: WindowOperator) => SlicedWork<void>): SlicedWork<void> {
    const only = this.#only
    if (only !== undefined) {
      yield* this.#named(0, advance(only))
      return
    }
    const all = this.#advancing
    for (const [i, operator] of this.#operators.entries()) all[i]?.begin(this.#named(i, advance(operator)))
    this.#isAdvancing = true
    try {
      for (;;) {
        for (const each of all) yield* each.fill()
        const first = this.#first(all)
        if (first?.head === undefined) return
        const { output, timestampMs } = first.head
        this.#emit(output, timestampMs)
        first.shift()
      }
    } finally {
      this.#isAdvancing = false
    }
  }

  /** What fails while windows fire ends the job at each start: it is told which ones, of which key. */
  *#named(i: number, work: SlicedWork<void>): SlicedWork<void> {
    try {
      yield* work
    } catch (error) {
      if (!(error instanceof FiringFailure)) throw error
      const { window, key, cause } = error
      const { job, of } = this.#whose
      const which = window === undefined ? 'a window' : `the window [${window.startMs}, ${window.endMs})`
      const reason = `${of}${which} of '${this.#names[i]}', key ${shownKey(key)}: ${reasonOf(cause)}`
      throw new StateError(
        'JOB_FAILED',
        { job, partition: undefined, position: undefined, reason },
        { cause },
      )
    }
  }

  /** Those whose next output comes first; of alike ones, those that were named first. */
  #first(all: readonly AdvancingWindows[]): AdvancingWindows | undefined {
    let first: AdvancingWindows | undefined
    for (const each of all) {
      const { head } = each
      if (head === undefined) continue
      if (first?.head === undefined || this.#isBefore(head, first.head)) first = each
    }
    return first
  }

  #isBefore(left: WaitingOutput, right: WaitingOutput): boolean {
    const { window } = left.result
    const { window: other } = right.result
    if (window.endMs !== other.endMs) return window.endMs < other.endMs
    if (window.startMs !== other.startMs) return window.startMs < other.startMs
    const key = this.#keyOf(left)
    const otherKey = this.#keyOf(right)
    return compareStretches(key.bytes, 0, key.length, otherKey.bytes, 0, otherKey.length) < 0
  }

  #keyOf(waiting: WaitingOutput): ByteWriter {
    if (waiting.key !== undefined) return waiting.key
    const key = new ByteWriter()
    this.#keyCodec.writeKey(waiting.result.key, key)
    waiting.key = key
    return key
  }

  /** What one of several windows puts out: results of an advance wait for those of the others. */
  #emitBy(): EmitResult {
    const advancing = new AdvancingWindows()
    this.#advancing.push(advancing)
    return (output, timestampMs, result) => {
      if (!this.#isAdvancing || result === undefined) this.#emit(output, timestampMs)
      else advancing.push({ output, timestampMs, result, key: undefined })
    }
  }

  *flush(staysUntilMs?: number): SlicedWork<void> {
    for (const operator of this.#operators) yield* operator.flush(staysUntilMs)
  }

  *restore(watermarkMs: number, clockMs: number | undefined): SlicedWork<void> {
    for (const operator of this.#operators) yield* operator.restore(watermarkMs, clockMs)
  }

  /** The clock has come to here: windows of its time that are due fire, and what waits for it of others. */
  *onProcessingTime(nowMs: number): SlicedWork<void> {
    yield* this.#together((operator) => operator.onProcessingTime(nowMs))
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
