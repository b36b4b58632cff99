import type { KeyTable } from './key-table.js'
import type { WindowList } from './window-list.js'

/** The lists of keys that have many windows: a table keeps their numbers, so that a list is not copied for each event of its key. */
export class LargeLists {
  readonly #lists: (WindowList | undefined)[] = []
  /** Numbers that are taken by no list. */
  readonly #free: number[] = []

  /** The list of an entry, which nobody may change: whoever wants to works on a fork of it. */
  of(table: KeyTable, entry: number): WindowList {
    return this.#lists[this.#numberOf(table, entry)] as WindowList
  }

  /** Keeps a list for an entry whose payload has room for a number. Nobody may change it from now on. */
  keep(table: KeyTable, entry: number, list: WindowList): void {
    const number = this.#free.pop() ?? this.#lists.length
    this.#lists[number] = list
    table.memoryOf(entry).view.setUint32(table.accumulatorAt(entry), number, true)
  }

  /** The list of an entry is another one now. */
  replace(table: KeyTable, entry: number, list: WindowList): void {
    this.#lists[this.#numberOf(table, entry)] = list
  }

  letGo(table: KeyTable, entry: number): void {
    const number = this.#numberOf(table, entry)
    this.#lists[number] = undefined
    this.#free.push(number)
  }

  #numberOf(table: KeyTable, entry: number): number {
    return table.memoryOf(entry).view.getUint32(table.accumulatorAt(entry), true)
  }
}

/** So many bytes does the number of a list take. */
export const LIST_NUMBER_BYTES = 4
