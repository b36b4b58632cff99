// The panes of aligned windows as they lie in the state, which is a map of [end int64, start int64] of the pane to the accumulator.
//
// (1) What is noted as written was: where a call fails, the next cut writes what is left.

import { present } from '../../base/assert.js'
import type { SlicedWork } from '../../base/slices.js'
import { copyViewed, Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec, KeyCodec } from '../../state/codec/codec.js'
import { tuple } from '../../state/codec/composite.js'
import { int64 } from '../../state/codec/numbers.js'
import { unsortedEntries } from '../../state/entries/stored-entries.js'
import { keyGroupOf } from '../../state/key/key-group.js'
import { PREFIX_BYTES } from '../../state/key/stored-key.js'
import { map, type StateDefinition } from '../../state/kinds/definitions.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import type { OpenState } from '../../state/open-state.js'
import { type Accumulator, HAS_VALUE } from './accumulator.js'
import type { AlignedPanes, Pane } from './aligned-panes.js'
import { IS_DIRTY, IS_STORED, TableKey } from './key-table.js'

/** So many entries are written in one step, or only looked at. */
const STEP_KEYS = 64
const STEP_LOOKS = 4_096
/** Bytes behind the key in a stored key. */
export const PANE_BYTES = 16

const paneKey = tuple(int64, int64) as unknown as KeyCodec<readonly number[]>

/** The state of panes. A program with another description of windows or accumulators cannot go on with them. */
export function panesState(
  codec: Codec<unknown>,
  description: { readonly windows: string },
): StateDefinition {
  return map(
    tuple(int64, int64),
    Object.freeze({
      descriptor: { ...description, accumulator: codec.descriptor },
      fixedBytes: undefined,
      isOpenEnded: true,
      write: (value: unknown, to: ByteWriter) => codec.write(value, to),
      read: (from: ByteReader) => codec.read(from),
    }),
  )
}

/** Whether a cut can name it: its ends are exact. */
export const isStorable = ({ startMs, endMs }: Pane): boolean =>
  Number.isSafeInteger(startMs) && Number.isSafeInteger(endMs)

export class StoredPanes {
  readonly #state: OpenState
  readonly #context: StateContext<unknown>
  readonly #accumulator: Accumulator
  readonly #panes: AlignedPanes
  /** Panes that are dropped and of which the store has something. */
  readonly #dropped: Pane[] = []
  readonly #key = new TableKey()
  readonly #shownKey = new Slot()
  readonly #value = new ByteWriter()

  constructor(state: OpenState, accumulator: Accumulator, panes: AlignedPanes) {
    this.#state = state
    this.#context = state.context
    this.#accumulator = accumulator
    this.#panes = panes
  }

  /** A pane that is stored is in no window any more: the next `flush` removes it. */
  drop(pane: Pane): void {
    this.#dropped.push(pane)
  }

  /** Removes what was dropped, but for windows that end up to `staysUntilMs`, which are left to the next call; and writes what has changed. */
  *flush(staysUntilMs: number): SlicedWork<void> {
    yield* this.#removeDropped(staysUntilMs)
    for (const pane of this.#panes.all()) if (pane.isDirty) yield* this.#writeChanged(pane)
  }

  *#removeDropped(staysUntilMs: number): SlicedWork<void> {
    let count = 0
    let looked = 0
    const dropped = this.#dropped
    const first = dropped.findIndex(({ lastEndMs }) => lastEndMs - 1 > staysUntilMs)
    const from = first === -1 ? dropped.length : first
    for (let pane = dropped[from]; pane !== undefined; pane = dropped[from]) {
      for (let entry = pane.table.first(); entry !== 0; entry = pane.table.next(entry)) {
        if (++looked % STEP_LOOKS === 0) yield
        if (!pane.table.has(entry, IS_STORED)) continue
        this.#state.entries.remove(this.#locate(pane, entry))
        pane.table.set(entry, IS_STORED, false)
        if (++count % STEP_KEYS === 0) yield
      }
      dropped.splice(from, 1)
    }
  }

  *#writeChanged(pane: Pane): SlicedWork<void> {
    let count = 0
    let looked = 0
    const { table } = pane
    for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
      if (++looked % STEP_LOOKS === 0) yield
      if (!table.has(entry, IS_DIRTY) || !table.has(entry, HAS_VALUE)) continue
      this.#store(pane, entry)
      if (++count % STEP_KEYS === 0) yield
    }
    pane.isDirty = false
  }

  /** Fills panes with what is stored. */
  *restore(): SlicedWork<void> {
    const context = this.#context
    yield* unsortedEntries(context, this.#state.entries, (storedKey, bytes) => {
      const pane = this.#paneOf(storedKey)
      const { table } = pane
      this.#key.set(storedKey, PREFIX_BYTES, storedKey.length - PANE_BYTES - PREFIX_BYTES)
      const entry = table.add(this.#key, bytes.length)
      table.memoryOf(entry).bytes.set(bytes, table.accumulatorAt(entry))
      table.set(entry, IS_STORED, true)
      table.set(entry, HAS_VALUE, true)
      pane.keys++
      try {
        this.#accumulator.check(table, entry)
      } catch (error) {
        throw context.failureAt('read', error, storedKey, paneKey)
      }
    })
  }

  /** The pane that a stored key is of. What is of a pane that was found before is not decoded; whatever is wrong with its key its result says. */
  #paneOf(storedKey: Uint8Array): Pane {
    const paneAt = storedKey.length - PANE_BYTES
    if (paneAt > PREFIX_BYTES) {
      const known = this.#panes.from(int64KeyAt(storedKey, paneAt + 8))
      if (known?.isStored === true && known.endMs === int64KeyAt(storedKey, paneAt)) return known
    }
    const context = this.#context
    const reader = new ByteReader().fromBytes(storedKey, PREFIX_BYTES)
    context.readKey(reader, context.keyCodec, 'head')
    const [, startMs] = context.readKey(reader, paneKey, 'whole') as [number, number]
    const pane = present(this.#panes.of(startMs), 'the pane of what is stored')
    if (!pane.isKept) this.#panes.keep(pane)
    pane.isStored = true
    return pane
  }

  #locate(pane: Pane, entry: number): ReturnType<StateContext<unknown>['locateBytes']> {
    const context = this.#context
    const key = pane.table.keyOf(entry, this.#shownKey)
    const group = keyGroupOf(key.view, key.offset, key.offset + key.length, context.keyGroups)
    const stored = context.locateBytes(group, key)
    stored.append(paneKey, [pane.endMs, pane.startMs])
    return stored
  }

  #store(pane: Pane, entry: number): void {
    const { table } = pane
    const value = this.#value
    value.length = 0
    const length = table.accumulatorBytes(entry)
    const to = value.reserve(length)
    copyViewed(table.memoryOf(entry), table.accumulatorAt(entry), length, value, to)
    // Before it is: where the call fails, the store may have it.
    pane.isStored = true
    table.set(entry, IS_STORED, true)
    this.#state.entries.put(this.#locate(pane, entry), value)
    table.set(entry, IS_DIRTY, false)
  }
}

/** A number that `int64` has written into a key, without a view of the bytes. */
function int64KeyAt(bytes: Uint8Array, at: number): number {
  return (wordAt(bytes, at) ^ 0x8000_0000) * 2 ** 32 + (wordAt(bytes, at + 4) >>> 0)
}

/** A word in the order of keys, its highest byte first. */
function wordAt(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16)
  return high | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
}
