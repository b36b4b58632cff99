// Lists of windows on their way between a table and the store.

import type { SlicedWork } from '../../base/slices.js'
import { copyViewed, Slot } from '../../base/slot.js'
import { ByteWriter } from '../../state/codec/bytes.js'
import type { AssembledKey } from '../../state/entries/entries.js'
import { checkValueLength } from '../../state/entries/state-entries.js'
import { unsortedEntries } from '../../state/entries/stored-entries.js'
import { keyGroupOf } from '../../state/key/key-group.js'
import { PREFIX_BYTES } from '../../state/key/stored-key.js'
import type { OpenState } from '../../state/open-state.js'
import { IS_DEAD, IS_DIRTY, IS_LARGE, IS_STORED, type KeyTable, TableKey } from './key-table.js'
import type { LargeLists } from './large-lists.js'

/** So many keys are worked on in one step, or only looked at. */
const STEP_KEYS = 64
const STEP_LOOKS = 4_096

export class StoredLists {
  readonly #state: OpenState
  readonly #table: KeyTable
  readonly #large: LargeLists | undefined
  readonly #shown = new Slot()
  readonly #written = new ByteWriter()

  /** @param large lists that the table has the numbers of, where there are such. */
  constructor(state: OpenState, table: KeyTable, large?: LargeLists) {
    this.#state = state
    this.#table = table
    this.#large = large
  }

  /** Writes what has changed since the last call into the store. */
  *flush(): SlicedWork<void> {
    const table = this.#table
    let count = 0
    let looked = 0
    for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
      if (++looked % STEP_LOOKS === 0) yield
      if (!table.has(entry, IS_DIRTY)) continue
      this.#store(entry)
      if (++count % STEP_KEYS === 0) yield
    }
  }

  /**
   * Fills the table with what is in the store, and has each entry looked at; a failure of `look` is that of the stored key, which the error
   * names.
   */
  *restore(look: (entry: number, key: TableKey) => void): SlicedWork<void> {
    const { entries, context } = this.#state
    const table = this.#table
    const key = new TableKey()
    yield* unsortedEntries(context, entries, (storedKey, bytes) => {
      key.set(storedKey, PREFIX_BYTES, storedKey.length - PREFIX_BYTES)
      const entry = table.add(key, bytes.length)
      table.memoryOf(entry).bytes.set(bytes, table.accumulatorAt(entry))
      table.set(entry, IS_STORED, true)
      try {
        look(entry, key)
      } catch (error) {
        throw context.failureAt('read', error, storedKey, undefined)
      }
    })
  }

  #store(entry: number): void {
    const table = this.#table
    const { entries, context } = this.#state
    const isDead = table.has(entry, IS_DEAD)
    if (isDead && !table.has(entry, IS_STORED)) {
      table.set(entry, IS_DIRTY, false)
      return
    }
    const key = table.keyOf(entry, this.#shown)
    const group = keyGroupOf(key.view, key.offset, key.offset + key.length, context.keyGroups)
    const stored = context.locateBytes(group, key)
    // What is noted as written was: where a call fails, the next cut writes what is left.
    if (isDead) {
      entries.remove(stored)
      table.set(entry, IS_STORED, false)
      table.set(entry, IS_DIRTY, false)
      return
    }
    table.set(entry, IS_STORED, true)
    const written = this.#written
    written.length = 0
    const list = table.has(entry, IS_LARGE) ? this.#large?.of(table, entry) : undefined
    const length = list?.length ?? table.accumulatorBytes(entry)
    this.#checkLength(length, stored)
    const to = written.reserve(length)
    if (list !== undefined) list.copyTo(written, to)
    else copyViewed(table.memoryOf(entry), table.accumulatorAt(entry), length, written, to)
    entries.put(stored, written)
    table.set(entry, IS_DIRTY, false)
  }

  /** An event that would make it too long is refused; but it can also become so by windows that fire. */
  #checkLength(length: number, stored: AssembledKey): void {
    const { entries, context } = this.#state
    try {
      checkValueLength(length, entries.maxValueBytes)
    } catch (error) {
      throw context.failureAt('write', error, stored.copy(), undefined)
    }
  }
}
