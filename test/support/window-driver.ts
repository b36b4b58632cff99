import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { utf8 } from '../../src/state/codec/byte-strings.js'
import { ByteWriter } from '../../src/state/codec/bytes.js'
import { json } from '../../src/state/codec/json.js'
import { GivenKey, statePrefix } from '../../src/state/key/stored-key.js'
import { defineState } from '../../src/state/schema/define-state.js'
import { openStateOf, StateStore } from '../../src/state/store.js'
import type { Aggregate } from '../../src/window/aggregate/aggregate.js'
import { combined, count, max, sum } from '../../src/window/aggregate/ready-made.js'
import type { TimeWindow } from '../../src/window/assign/assigner.js'
import { openWindows, statesOfWindows } from '../../src/window/operator/open-windows.js'
import type { WindowOperator } from '../../src/window/operator/window-operator.js'
import { type WindowOptions, type WindowResult, windowed } from '../../src/window/windowed.js'

export interface WindowEvent {
  readonly key: string
  readonly at: number
  readonly value: number
}

export type Result = WindowResult<string, unknown>

/** Windows over a store that may be opened again and again. */
export class WindowDriver {
  readonly results: Result[] = []
  readonly late: string[] = []
  watermarkMs = -Infinity
  nowMs = 0
  operator!: WindowOperator
  #store!: object
  readonly #backend = new MemoryStateBackend()
  #definition: object

  constructor(options: WindowOptions<WindowEvent, string, unknown, Result>, maxValueBytes?: number) {
    const supports = { ...this.#backend.supports, ...(maxValueBytes !== undefined && { maxValueBytes }) }
    Object.defineProperty(this.#backend, 'supports', { value: supports })
    this.#definition = this.#defined(options)
  }

  #defined(options: WindowOptions<WindowEvent, string, unknown, Result>): object {
    return windowed<WindowEvent, string, unknown, Result>({
      ...options,
      onLate: ({ event, missed, isLost }) => {
        this.late.push(`${event.at} ${isLost ? 'lost' : 'entered'} ${missed.map(shownWindow).join(' ')}`)
        return undefined
      },
    })
  }

  /** Makes a cut, and goes on from there with other windows. */
  async openAs(options: WindowOptions<WindowEvent, string, unknown, Result>): Promise<void> {
    this.flush()
    this.#definition = this.#defined(options)
    await this.open()
  }

  /** Makes a cut, and opens its store: what is only in memory is lost by it. */
  async open(): Promise<this> {
    this.flush()
    const schema = defineState({ key: utf8, states: statesOfWindows('w', this.#definition) as never })
    const store = await StateStore.open(this.#backend, schema)
    this.#store = store
    this.operator = openWindows({
      store,
      name: 'w',
      definition: this.#definition as never,
      emit: (result) => void this.results.push(result as Result),
      nowMs: () => this.nowMs,
    })
    for (const _ of this.operator.restore(this.watermarkMs));
    return this
  }

  add(event: WindowEvent): void {
    this.operator.add(event.key, event, event.at, this.watermarkMs)
  }

  advance(watermarkMs: number): void {
    if (watermarkMs <= this.watermarkMs) return
    this.watermarkMs = watermarkMs
    for (const _ of this.operator.advance(watermarkMs));
  }

  flush(): void {
    if (this.operator !== undefined) for (const _ of this.operator.flush());
  }

  /** A cut that fails at a call of a state's entries, if it comes to that one. */
  failAt(state: string, call: 'put' | 'remove', failing: number): void {
    const { entries } = openStateOf(this.#store, state)
    const real = entries[call].bind(entries) as (...args: unknown[]) => void
    let calls = 0
    entries[call] = (...args: unknown[]) => {
      if (calls++ === failing) throw new Error('the store is full')
      real(...args)
    }
    try {
      this.flush()
    } catch {
      // The next one writes what is left.
    } finally {
      Reflect.deleteProperty(entries, call)
    }
  }

  /** The windows of a key, as a tool reads them from the store. */
  stored(key: string): unknown {
    return (this.#store as { readonly w: { get(key: string): unknown } }).w.get(key)
  }

  /** Makes a cut and damages what it has of a state. */
  damage(state: string, damaged: (bytes: Uint8Array) => Uint8Array): void {
    this.flush()
    const { entries, context } = openStateOf(this.#store, state)
    for (let group = 0; group < context.keyGroups; group++) {
      const range = { gte: statePrefix(group, context.id), lt: statePrefix(group, context.id + 1) }
      // Nothing is written while it is scanned.
      const found = [...(entries.scan([range]) as Iterable<[Uint8Array, Uint8Array]>)]
      for (const [key, bytes] of found) {
        const written = new ByteWriter()
        written.append(damaged(bytes))
        entries.put(new GivenKey(new Uint8Array(key)), written)
      }
    }
  }

  /** How many entries there are in the end, the recorded schema among them. */
  async close(): Promise<number> {
    this.flush()
    const left = await this.#backend.count()
    await this.#backend.close()
    return left
  }
}

export const shownWindow = ({ startMs, endMs }: TimeWindow): string => `[${startMs}, ${endMs})`

export const shown = (results: readonly Result[]): string[] =>
  results.map(({ key, window, value, pane, replaces }) => {
    const became = replaces === undefined ? '' : ` replaces ${replaces.map(shownWindow).join(' ')}`
    return `${key} ${shownWindow(window)} ${JSON.stringify(value)} ${pane.kind} ${pane.index}${pane.isFinal ? ' final' : ''}${became}`
  })

export const values: Aggregate<WindowEvent, number[], number[]> = {
  codec: json<number[]>(),
  first: () => [],
  add: (list, { value }) => [...list, value],
  merge: (list, later) => [...list, ...later],
}
export const figures = () =>
  combined({ n: count(), total: sum((e: WindowEvent) => e.value), most: max((e: WindowEvent) => e.value) })
export const event = (key: string, at: number, value = 1): WindowEvent => ({ key, at, value })

export async function driven(
  options: WindowOptions<WindowEvent, string, unknown, Result>,
  body: (driver: WindowDriver) => void | Promise<void>,
): Promise<WindowDriver> {
  const driver = await new WindowDriver(options).open()
  await body(driver)
  return driver
}
