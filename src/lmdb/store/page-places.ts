// LMDB writes its number into each page, and does not compare it with the place that it reads the page from. A page that lies where another
// one belongs, after a lost or misdirected write, looks like an older state of that one: keys are found in order, with older values. So the
// trees are followed here through the file by plain reads, which no damage can end the process with.
//
//   page     := number u64 · transaction u64 · pad u16 · flags u16 · lower u16 · upper u16 · offset u16 (lower / 2 of them) · … · node*
//   overflow := number u64 · transaction u64 · pad u16 · flags u16 · pages u32 · bytes of a value
//   node     := low u16 · high u16 · flags u16 · key length u16 · key · data
//   tree     := … · root u64 (at 40), 48 bytes: in a meta page those of the free pages and of the databases' names, as data those of databases
//
// An offset counts from the end of a page's header, as the data of a node does from the end of its key. A node of a branch has the number of a
// page in `low`, `high` and its flags.

import { closeSync, openSync, readSync } from 'node:fs'
import { META_PAGES, NO_PAGE, newestRoots, STORE_PAGE_BYTES } from './data-file.js'

const HEADER_BYTES = 24
const AT = { flags: 18, lower: 20 } as const
const BRANCH = 0x01
const LEAF = 0x02
const OVERFLOW = 0x04

const NODE_BYTES = 8
const NODE_AT = { high: 2, flags: 4, keyBytes: 6 } as const
/** The data of a node is the number of its first overflow page, or a tree. */
const BIG_DATA = 0x01
const SUB_DATA = 0x02
const ROOT_IN_TREE = 40

/** A page that the trees name, and what is wrong with it. */
export interface MisplacedPage {
  readonly page: number
  readonly reason: string
}

/**
 * Every page that LMDB's trees name and that is not the one that belongs there. Beside a writer, as long as somebody holds a read transaction
 * that began before: no page of the instant that is read here is used anew until then. Calls `onPage` with each page.
 */
export function misplacedPages(dataPath: string, onPage: () => void): MisplacedPage[] {
  const file = openSync(dataPath, 'r')
  try {
    return new TreeWalk(file, onPage).misplaced()
  } finally {
    closeSync(file)
  }
}

class TreeWalk {
  readonly #file: number
  readonly #onPage: () => void
  readonly #misplaced: MisplacedPage[] = []
  readonly #page = Buffer.alloc(STORE_PAGE_BYTES)
  readonly #lastPage: number
  /** A bit for each page that was named. */
  readonly #seen: Uint8Array
  /** Pages to be read, and whether each is an overflow page. */
  readonly #ahead: { readonly page: number; readonly overflow: boolean }[] = []

  constructor(file: number, onPage: () => void) {
    this.#file = file
    this.#onPage = onPage
    const { lastPage, roots } = newestRoots(file)
    this.#lastPage = lastPage
    this.#seen = new Uint8Array(Math.floor(lastPage / 8) + 1)
    for (const page of META_PAGES) {
      const reason = this.#read(page, HEADER_BYTES)
      if (reason !== undefined) this.#misplaced.push({ page, reason })
    }
    for (const root of roots) this.#name(root, false)
  }

  misplaced(): MisplacedPage[] {
    for (let next = this.#ahead.pop(); next !== undefined; next = this.#ahead.pop()) {
      this.#onPage()
      const reason = next.overflow ? this.#readOverflow(next.page) : this.#readTreePage(next.page)
      if (reason !== undefined) this.#misplaced.push({ page: next.page, reason })
    }
    return this.#misplaced
  }

  #name(number: bigint, overflow: boolean): void {
    if (number === NO_PAGE) return
    const page = Number(number)
    if (page > this.#lastPage) {
      this.#misplaced.push({ page, reason: `is named, and the last page is ${this.#lastPage}` })
      return
    }
    const bit = 1 << (page % 8)
    const byte = Math.floor(page / 8)
    const bits = this.#seen[byte] as number
    if ((bits & bit) !== 0) {
      this.#misplaced.push({ page, reason: 'is named in two places' })
      return
    }
    this.#seen[byte] = bits | bit
    this.#ahead.push({ page, overflow })
  }

  /** What is wrong with the page itself. */
  #readOverflow(page: number): string | undefined {
    return this.#read(page, HEADER_BYTES) ?? this.#notOf(OVERFLOW)
  }

  #readTreePage(page: number): string | undefined {
    const reason = this.#read(page, STORE_PAGE_BYTES) ?? this.#notOf(BRANCH | LEAF)
    if (reason !== undefined) return reason
    const isBranch = (this.#page.readUInt16LE(AT.flags) & BRANCH) !== 0
    const lower = this.#page.readUInt16LE(AT.lower)
    try {
      for (let at = 0; at < lower; at += 2) {
        const node = HEADER_BYTES + this.#page.readUInt16LE(HEADER_BYTES + at)
        if (isBranch) this.#name(this.#child(node), false)
        else this.#readLeafNode(node)
      }
      return undefined
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_OUT_OF_RANGE') return 'names what is not within it'
      throw error
    }
  }

  #child(node: number): bigint {
    const low = this.#page.readUInt16LE(node) + this.#page.readUInt16LE(node + NODE_AT.high) * 2 ** 16
    return BigInt(low + this.#page.readUInt16LE(node + NODE_AT.flags) * 2 ** 32)
  }

  #readLeafNode(node: number): void {
    const flags = this.#page.readUInt16LE(node + NODE_AT.flags)
    const data = node + NODE_BYTES + this.#page.readUInt16LE(node + NODE_AT.keyBytes)
    if ((flags & BIG_DATA) !== 0) this.#name(this.#page.readBigUInt64LE(data), true)
    else if ((flags & SUB_DATA) !== 0) this.#name(this.#page.readBigUInt64LE(data + ROOT_IN_TREE), false)
  }

  #notOf(kinds: number): string | undefined {
    const flags = this.#page.readUInt16LE(AT.flags)
    return (flags & kinds) === 0 ? `is of another kind (${flags})` : undefined
  }

  /** Reads the beginning of a page; says so where it is not that page. */
  #read(page: number, bytes: number): string | undefined {
    const read = readSync(this.#file, this.#page, 0, bytes, page * STORE_PAGE_BYTES)
    if (read < bytes) return 'is cut off'
    const number = this.#page.readBigUInt64LE(0)
    return number === BigInt(page) ? undefined : `holds page ${number}, which does not belong there`
  }
}
