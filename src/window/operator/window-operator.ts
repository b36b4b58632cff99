// Windows over typed state: events go in, results come out when the watermark has passed the end of their windows.
//
// (1) All windows of a key are one entry of the store. What is due when is kept beside it in memory (`DueKeys`), and found again in the
//     store when that is opened.
// (2) A key is due at the earliest time at which anything becomes of its windows; each time it is, the next one follows from its
//     entry. An entry that is due in vain, because a session went on, costs one look.
// (3) Closing goes on key by key: whatever was done of it is done, and what was not is due again in the next process.

import { present } from '../../base/assert.js'
import { Slot } from '../../base/slot.js'
import { ByteReader } from '../../state/codec/bytes.js'
import type { Codec, KeyCodec } from '../../state/codec/codec.js'
import { tuple } from '../../state/codec/composite.js'
import { int64, uint32 } from '../../state/codec/numbers.js'
import { NONE } from '../../state/entries/state-entries.js'
import { EncodedKey, type KeyLike, plainKey, statePrefix } from '../../state/key/stored-key.js'
import { map, type StateDefinition, value } from '../../state/kinds/definitions.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import type { OpenState } from '../../state/open-state.js'
import { hostOf, openStateOf } from '../../state/store.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import { isPaned, type TimeWindow } from '../assign/assigner.js'
import { DueKeys } from '../due/due-keys.js'
import { DueRun } from '../due/due-run.js'
import type { Pane, WindowOptions, WindowResult } from '../windowed.js'
import { Accumulator } from './accumulator.js'
import { KeptEvents } from './kept-events.js'
import type { Entered, Fire, FireExtras, KeyWindows } from './key-windows.js'
import { ListedWindows } from './listed-windows.js'
import { PanedWindows } from './paned-windows.js'
import { WindowList, windowsCodec } from './window-list.js'

const PREFIX_BYTES = 4

type ErasedAggregate = Aggregate<unknown, unknown, unknown>

/** Windows, whatever their types are. */
export type ErasedWindows = WindowOptions<unknown, unknown, unknown, unknown>

/** The states of a store that windows need, under the name of the windows. */
export function statesOfWindows(
  name: string,
  definition: object,
): { readonly [name: string]: StateDefinition } {
  const { windows, aggregate, events } = definition as ErasedWindows
  const codec = events === undefined ? (aggregate as ErasedAggregate).codec : undefined
  const description = { of: windows.description, as: isMadeOfPanes(definition) ? 'panes' : 'windows' }
  return {
    [name]: value(windowsCodec(codec, description)),
    ...(events === undefined ? {} : { [eventsName(name)]: map(eventKey, events as Codec<unknown>) }),
  }
}

const eventKey = tuple(int64, uint32)
const eventsName = (name: string): string => `${name}.events`

/** Whether each window fires once, and is made of parts that can be merged. */
function isMadeOfPanes(definition: object): boolean {
  const { windows, aggregate, events, allowedLatenessMs = 0, early } = definition as ErasedWindows
  if (!isPaned(windows) || events !== undefined || early !== undefined || allowedLatenessMs > 0) return false
  const isOnePane = windows.windowsOf(0).length <= 1 && windows.description.startsWith('tumbling')
  return isOnePane || aggregate?.merge !== undefined
}

export interface WindowOperatorOptions {
  /** The store, which has the states of `statesOfWindows`. */
  readonly store: object
  readonly name: string
  readonly definition: object
  readonly emit: (output: unknown) => void
  /** The processing clock. */
  readonly nowMs: () => number
}

export class WindowOperator {
  /** Events that entered no window because they came too late. */
  lostEvents = 0
  /** How many windows were missed by late events. */
  missedWindows = 0
  readonly #options: WindowOperatorOptions
  readonly #definition: ErasedWindows
  readonly #state: OpenState
  readonly #context: StateContext<unknown>
  readonly #list = new WindowList()
  readonly #windows: KeyWindows
  readonly #kept: KeptEvents | undefined
  readonly #due = new DueKeys()
  readonly #awaited = new DueKeys()
  readonly #slot = new Slot()
  readonly #reader = new ByteReader()
  readonly #entered: Entered = { hasEntered: false, dueMs: undefined, missed: [], isAwaited: false }
  /** The key of the windows that are loaded: as it was given, or `undefined` until somebody asks. */
  #key: unknown
  #hasKey = false
  #encoded: EncodedKey<unknown> | undefined
  #run: DueRun | undefined
  #watermarkMs = -Infinity

  constructor(options: WindowOperatorOptions) {
    this.#options = options
    this.#definition = options.definition as ErasedWindows
    this.#state = openStateOf(options.store, options.name)
    this.#context = this.#state.context
    const {
      windows,
      aggregate,
      events,
      process,
      allowedLatenessMs = 0,
      early,
      refireMs,
      panes,
    } = this.#definition
    const fire: Fire = (window, result, pane, more) => this.#emit(window, result, pane, more)
    const accumulator =
      aggregate === undefined ? undefined : new Accumulator(aggregate as unknown as ErasedAggregate)
    if (events !== undefined) {
      const state = openStateOf(options.store, eventsName(options.name))
      this.#kept = new KeptEvents(state, hostOf(options.store), eventKey, events as Codec<unknown, unknown>)
    }
    if (isPaned(windows) && isMadeOfPanes(this.#definition) && accumulator !== undefined) {
      this.#windows = new PanedWindows(windows, this.#list, accumulator, fire)
      return
    }
    const valueOf = (window: TimeWindow): unknown => {
      const found = present(this.#kept, 'kept events').read(this.#encodedKey(), window)
      return process === undefined
        ? present(accumulator, 'an aggregate').fold(found.events, found.timestamps)
        : process(found.events, window)
    }
    const listed = {
      windows,
      allowedLatenessMs,
      everyEvents: early?.everyEvents ?? Infinity,
      waitsEarly: early?.everyMs !== undefined,
      waitsLate: refireMs !== undefined,
      isDiscarding: panes === 'discarding',
    }
    const inPlace = events === undefined ? accumulator : undefined
    this.#windows = new ListedWindows(listed, this.#list, inPlace, valueOf, fire)
  }

  /** An event of a key. What is wrong with it is `SERIALIZATION_FAILED`; nothing of it is stored then. */
  add(key: KeyLike<unknown>, event: unknown, timestampMs: number, watermarkMs: number): void {
    const context = this.#context
    const stored = context.locate(key)
    this.#watermarkMs = watermarkMs
    this.#load(stored)
    this.#key = key
    this.#hasKey = true
    const entered = this.#entered
    entered.hasEntered = false
    entered.dueMs = undefined
    entered.isAwaited = false
    if (entered.missed.length > 0) entered.missed = []
    try {
      this.#windows.enter(event, timestampMs, watermarkMs, entered)
      if (entered.hasEntered && this.#kept !== undefined) {
        this.#kept.put(this.#encodedKey(), timestampMs, this.#list.nextNumber++, event)
      }
    } catch (error) {
      throw context.failure('write', error, key)
    }
    if (entered.missed.length > 0) this.#onMissed(event, timestampMs)
    if (!entered.hasEntered) return
    const { count } = this.#list
    this.#windows.fireEntered(watermarkMs)
    this.#save(count)
    const { stretch } = stored
    if (entered.dueMs !== undefined) this.#arm(this.#due, entered.dueMs, stored.group, stretch)
    if (entered.isAwaited) this.#arm(this.#awaited, this.#awaitedAtMs(), stored.group, stretch)
  }

  /** The watermark has come to here: everything that is due by it is done by `proceed`. */
  advance(watermarkMs: number): void {
    this.#watermarkMs = watermarkMs
    this.#run = new DueRun(this.#due, watermarkMs)
  }

  /** Does what is due for so many keys; false when nothing is left of it. */
  proceed(keys: number): boolean {
    const run = this.#run
    if (run === undefined) return false
    for (let i = 0; i < keys; i++) {
      const isMore = this.#windows.startsDiffer ? this.#closeByStart(run) : this.#closeNext(run)
      if (!isMore) {
        this.#run = undefined
        return false
      }
    }
    return true
  }

  /** Results that wait for the processing clock (W18). */
  onProcessingTime(nowMs: number): void {
    if (this.#awaited.nextMs > nowMs) return
    const run = new DueRun(this.#awaited, nowMs)
    while (run.next()) {
      const { group, key } = run.current
      if (!this.#loadBytes(group, key)) continue
      this.#windows.fireAwaited(this.#watermarkMs)
      this.#save(0)
    }
  }

  /** When `onProcessingTime` has something to do next; `Infinity` where it has not. */
  get nextProcessingMs(): number {
    return this.#awaited.nextMs
  }

  /** What the windows of a key have at the moment (W18). Nothing is changed by it. */
  peek(key: KeyLike<unknown>): WindowResult<unknown, unknown>[] {
    const found: WindowResult<unknown, unknown>[] = []
    this.#load(this.#context.locate(key))
    this.#key = key
    this.#hasKey = true
    this.#windows.show((window, result, pane, more) => found.push(this.#resultOf(window, result, pane, more)))
    return found
  }

  /** Finds in the store what is due when: one step for each key. */
  *restore(): IterableIterator<void> {
    const { entries, context } = this.#state
    for (let group = 0; group < context.keyGroups; group++) {
      const range = { gte: statePrefix(group, context.id), lt: statePrefix(group, context.id + 1) }
      const scanned = entries.scan([range]) as IterableIterator<[key: Uint8Array, value: Uint8Array]>
      for (const [storedKey, bytes] of scanned) {
        this.#list.load(bytes, 0, bytes.length)
        const key = { bytes: storedKey, offset: PREFIX_BYTES, length: storedKey.length - PREFIX_BYTES }
        const dueMs = this.#windows.nextDueMs(-Infinity)
        if (dueMs !== undefined) this.#due.add(dueMs, group, key)
        if (this.#windows.isAwaited()) this.#awaited.add(this.#options.nowMs(), group, key)
        yield
      }
    }
  }

  #closeNext(run: DueRun): boolean {
    if (!run.next()) return false
    const { dueMs, group, key } = run.current
    this.#close(run, dueMs, group, key)
    return true
  }

  /** Of all keys that are due at one time, those whose window starts first come first (W16). */
  #closeByStart(run: DueRun): boolean {
    const dueMs = run.peekMs()
    if (dueMs === undefined) return false
    const keys: { readonly startMs: number; readonly group: number; readonly key: Uint8Array }[] = []
    while (run.peekMs() === dueMs && run.next()) {
      const { group, key } = run.current
      const startMs = this.#loadBytes(group, key) ? this.#windows.firstStartMs(dueMs) : Infinity
      const copy = new Uint8Array(key.bytes.subarray(key.offset, key.offset + key.length))
      keys.push({ startMs, group, key: copy })
    }
    // Sorting is stable: keys stay in their order.
    keys.sort((left, right) => (left.startMs === right.startMs ? 0 : left.startMs - right.startMs))
    for (const { group, key } of keys)
      this.#close(run, dueMs, group, { bytes: key, offset: 0, length: key.length })
    return true
  }

  #close(
    run: DueRun,
    dueMs: number,
    group: number,
    key: { readonly bytes: Uint8Array; readonly offset: number; readonly length: number },
  ): void {
    if (!this.#loadBytes(group, key)) return
    const { count } = this.#list
    this.#windows.fireDue(dueMs, this.#watermarkMs)
    this.#save(count)
    const nextMs = this.#windows.nextDueMs(dueMs)
    if (nextMs !== undefined) run.add(nextMs, group, key)
  }

  #loadBytes(group: number, key: { bytes: Uint8Array; offset: number; length: number }): boolean {
    this.#hasKey = false
    return this.#load(this.#context.locateBytes(group, key))
  }

  #load(
    stored: { readonly stretch: { readonly bytes: Uint8Array } } & Parameters<
      OpenState['entries']['peek']
    >[0],
  ): boolean {
    this.#encoded = undefined
    if (this.#state.entries.peek(stored, this.#slot) === NONE) {
      this.#list.clear()
      return false
    }
    const { bytes, offset, length } = this.#slot
    try {
      this.#list.load(bytes, offset, length)
    } catch (error) {
      throw this.#context.failureAt('read', error, stored.copy(), undefined)
    }
    return true
  }

  /** @param count how many windows there were: where there are fewer, events may be needed no more. */
  #save(count: number): void {
    const list = this.#list
    const { entries } = this.#state
    const stored = this.#context.storedKey
    if (list.count > 0) entries.put(stored, list.writer)
    else entries.remove(stored)
    if (this.#kept === undefined || list.count >= count) return
    let neededFromMs = Infinity
    for (let i = 0; i < list.count; i++) neededFromMs = Math.min(neededFromMs, list.startMs(i))
    this.#kept.removeBefore(this.#encodedKey(), neededFromMs)
  }

  #arm(due: DueKeys, dueMs: number, group: number, { bytes, offset, length }: StoredStretch): void {
    due.add(dueMs, group, { bytes, offset: offset + PREFIX_BYTES, length: length - PREFIX_BYTES })
  }

  #awaitedAtMs(): number {
    const { early, refireMs = Infinity } = this.#definition
    return this.#options.nowMs() + Math.min(early?.everyMs ?? Infinity, refireMs)
  }

  #plainKey(): unknown {
    if (!this.#hasKey) {
      const stored = this.#context.storedKey.view()
      this.#reader.fromBytes(stored, PREFIX_BYTES)
      this.#key = this.#context.readKey(this.#reader, this.#context.keyCodec as KeyCodec<unknown>, 'whole')
      this.#hasKey = true
    }
    return plainKey(this.#key)
  }

  /** The key that is loaded, for the state of kept events. */
  #encodedKey(): EncodedKey<unknown> {
    if (this.#encoded === undefined) {
      const stored = this.#context.storedKey
      const bytes = stored.copy().subarray(PREFIX_BYTES)
      this.#encoded = new EncodedKey(this.#plainKey(), stored.group, bytes)
    }
    return this.#encoded
  }

  #onMissed(event: unknown, timestampMs: number): void {
    const { missed, hasEntered } = this.#entered
    this.missedWindows += missed.length
    if (!hasEntered) this.lostEvents++
    const output = this.#definition.onLate?.({
      event,
      timestampMs,
      watermarkMs: this.#watermarkMs,
      missed,
      isLost: !hasEntered,
    })
    if (output !== undefined) this.#options.emit(output)
  }

  #emit(window: TimeWindow, result: unknown, pane: Pane, more: FireExtras | undefined): void {
    const made = this.#resultOf(window, result, pane, more)
    const { output } = this.#definition
    const given = output === undefined ? made : output(made)
    if (given !== undefined) this.#options.emit(given)
  }

  #resultOf(
    window: TimeWindow,
    found: unknown,
    pane: Pane,
    more: FireExtras | undefined,
  ): WindowResult<unknown, unknown> {
    const result = { key: this.#plainKey(), window, value: found, timestampMs: window.endMs - 1, pane }
    return more === undefined ? result : { ...result, ...more }
  }
}

interface StoredStretch {
  readonly bytes: Uint8Array
  readonly offset: number
  readonly length: number
}
