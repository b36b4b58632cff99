// The timers of a store that wait for one kind of time.
//
// (1) Whether a timer is set, the store alone says. What is in memory finds those that may be due: it has every timer of the store, and
//     may have others, which were deleted or have fired.
// (2) Where it may have many others, it is made again from the store: it holds a constant factor of what is alive.
// (3) How many are set is counted with each that is set, deleted or taken, and when they are loaded. A step that is undone has it
//     undone by whoever undoes the step.

import { invalidArgument } from '../../base/options.js'
import { isThenable } from '../../base/shapes.js'
import { runSliced, type SlicedWork } from '../../base/slices.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { KeyCodec } from '../../state/codec/codec.js'
import { unsortedEntries } from '../../state/entries/stored-entries.js'
import type { CurrentKey } from '../../state/key/current-key.js'
import { type EncodedKey, PREFIX_BYTES } from '../../state/key/stored-key.js'
import type { EntryMapState } from '../../state/kinds/map-state.js'
import type { OpenState } from '../../state/open-state.js'
import { DueKeys } from '../due/due-keys.js'
import { type DueKey, DueRun } from '../due/due-run.js'
import { type TimerId, timerId } from './timer-states.js'

/** Below this, what is in memory is not looked through for what is not alive. */
const KEPT_WITHOUT_LOOKING = 100_000
const MAX_NAME_LENGTH = 256

export interface KeptTimersOptions {
  readonly state: OpenState
  /** Whose timers are set and deleted. */
  readonly key: CurrentKey<unknown>
  /** Called with the time of each timer that is set. */
  readonly onSet?: (timestampMs: number) => void
}

export class KeptTimers {
  readonly #options: KeptTimersOptions
  readonly #timers: EntryMapState<unknown, TimerId>
  readonly #keyCodec: KeyCodec<unknown>
  readonly #writer = new ByteWriter()
  readonly #stretch = { bytes: new Uint8Array(0) as Uint8Array, offset: 0, length: 0 }
  readonly #reader = new ByteReader()
  #due = new DueKeys()
  /** From here on it is looked through. */
  #lookFrom = KEPT_WITHOUT_LOOKING
  /** What fires at the moment, and whether what is set up to its time is due in it as well. */
  #firing: DueRun | undefined
  #isOpen = false
  #size = 0

  constructor(options: KeptTimersOptions) {
    this.#options = options
    this.#timers = options.state.state as EntryMapState<unknown, TimerId>
    this.#keyCodec = options.state.context.keyCodec
    options.state.onClear = (key) => {
      this.#size -= this.#timers.size(key) as number
    }
  }

  /** How many are set. */
  get size(): number {
    return this.#size
  }

  /** Goes back to how many there were: what was set, deleted or taken since is undone in the store. */
  undo(size: number): void {
    this.#size = size
  }

  /** How many may be due up to a time and have not fired: some of them may have been deleted. */
  dueUntil(timeMs: number): number {
    return Math.min(this.#size, (this.#firing?.left ?? 0) + this.#due.countUntil(timeMs))
  }

  /** Nothing is due before this; `Infinity` where nothing waits. */
  get nextMs(): number {
    return Math.min(this.#firing?.peekMs() ?? Infinity, this.#due.nextMs)
  }

  /** Whether `load` is wanted: too much of what is in memory may be gone. */
  get wantsLoad(): boolean {
    return this.#due.size >= this.#lookFrom
  }

  /** Finds the timers that the store has, in slices. None may be set, deleted or fired meanwhile. */
  async load(): Promise<void> {
    const due = new DueKeys()
    const { context, entries } = this.#options.state
    await runSliced(unsortedEntries(context, entries, (storedKey) => this.#found(storedKey, due)))
    this.#due = due
    this.#size = due.size
    this.#lookFrom = Math.max(KEPT_WITHOUT_LOOKING, 2 * due.size)
  }

  /** Sets a timer of the key at hand; one that is set already stays (R1). */
  set(timestampMs: number, name: string): unknown {
    checkTimer(timestampMs, name)
    const key = this.#options.key.encoded()
    const isSet = this.#timers.putIfAbsent(key, [timestampMs, name])
    if (isSet === false) return undefined
    this.#size++
    this.#expect(timestampMs, key.group, key.bytes, name)
    return isThenable(isSet) ? isSet : undefined
  }

  /** Deletes a timer of the key at hand, if there is one (R1). */
  delete(timestampMs: number, name: string): unknown {
    checkTimer(timestampMs, name)
    return this.take([timestampMs, name])
  }

  /**
   * Takes out what may be due up to a time; nothing may be set or deleted on the way. Until `fired`, what is set up to that time is due as well, where `isOpen`.
   */
  *fire(untilMs: number, isOpen: boolean): SlicedWork<DueRun> {
    const firing = yield* DueRun.of(this.#due, untilMs)
    this.#firing = firing
    this.#isOpen = isOpen
    return firing
  }

  fired(): void {
    this.#firing = undefined
  }

  /** What has `fired` is undone, and fires again. */
  goOn(firing: DueRun): void {
    this.#firing = firing
  }

  /** Makes the key of a timer the one at hand, and says which timer it is. */
  show({ key: { bytes, offset, length } }: DueKey): TimerId {
    const { context } = this.#options.state
    const reader = this.#reader.fromBytes(bytes, offset)
    reader.end = offset + length
    const key = context.readKey(reader, this.#keyCodec, 'head')
    const end = reader.position
    const id = context.readKey(reader, timerId, 'whole')
    this.#options.key.setEncoded(key, bytes, offset, end)
    return id
  }

  /** Removes the timer of the key at hand; whether it was set. */
  take(id: TimerId): unknown {
    const key = this.#options.key.encoded()
    const isSet = this.#timers.has(key, id)
    if (isThenable(isSet)) return this.#takeLater(key, isSet as PromiseLike<unknown>, id)
    if (isSet === true) this.#remove(key, id)
    return isSet
  }

  async #takeLater(key: EncodedKey<unknown>, isSet: PromiseLike<unknown>, id: TimerId): Promise<unknown> {
    if ((await isSet) !== true) return false
    await this.#remove(key, id)
    return true
  }

  #remove(key: EncodedKey<unknown>, id: TimerId): unknown {
    this.#size--
    return this.#timers.delete(key, id)
  }

  #found(storedKey: Uint8Array, due: DueKeys): void {
    const { context } = this.#options.state
    const reader = this.#reader.fromBytes(storedKey, PREFIX_BYTES)
    context.readKey(reader, this.#keyCodec, 'head')
    const [dueMs] = context.readKey(reader, timerId, 'whole')
    const group = ((storedKey[0] as number) << 8) | (storedKey[1] as number)
    const stretch = this.#stretch
    stretch.bytes = storedKey
    stretch.offset = PREFIX_BYTES
    stretch.length = storedKey.length - PREFIX_BYTES
    due.add(dueMs, group, stretch)
  }

  #expect(timestampMs: number, group: number, key: Uint8Array, name: string): void {
    const writer = this.#writer
    writer.length = 0
    writer.append(key)
    timerId.writeKey([timestampMs, name], writer)
    const stretch = this.#stretch
    stretch.bytes = writer.bytes
    stretch.offset = 0
    stretch.length = writer.length
    const to = (this.#isOpen ? this.#firing : undefined) ?? this.#due
    to.add(timestampMs, group, stretch)
    this.#options.onSet?.(timestampMs)
  }
}

function checkTimer(timestampMs: unknown, name: unknown): void {
  if (!Number.isSafeInteger(timestampMs)) {
    throw invalidArgument('timestampMs', 'must be a whole number of milliseconds since the epoch')
  }
  if (typeof name !== 'string' || name.length > MAX_NAME_LENGTH) {
    throw invalidArgument('name', `must be text of ${MAX_NAME_LENGTH} characters at most`)
  }
}
