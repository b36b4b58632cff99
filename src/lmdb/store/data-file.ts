// LMDB maps its file: where the file is shorter than its own last page says, reading is a signal, not an error. So its
// two meta pages are read with plain reads before it is mapped.
//
//   page 0, page 1 := header (24 bytes) · magic u32 · version u32 · … · page size u32 (at 48) · …
//                     · root of the table of free pages u64 (at 88) · … · root of the databases' names u64 (at 136) · last page u64 (at 144) · transaction u64 (at 152)
//
// Numbers are little-endian. The page with the later transaction is the one in force.

import { readSync } from 'node:fs'
import { StateError } from '../../base/errors.js'
import type { DurableDirectory } from '../../files/durable-directory.js'

/** Admits keys of 2,048 bytes; LMDB's own default, the system's page size, does not. */
export const STORE_PAGE_BYTES = 8_192

const FIRST_DATA_FILE = 1
const LOCK_SUFFIX = '-lock'
const DATA_FILE_PATTERN = /^data-([1-9]\d{0,8})\.mdb(-lock)?$/

/** The name of a new store's data file. */
export const NEW_DATA_FILE: string = dataFileName(FIRST_DATA_FILE)

function dataFileName(number: number): string {
  return `data-${number}.mdb`
}

/** The name of the file that takes the place of another one. */
export function nextDataFile(name: string): string {
  return dataFileName(Number(DATA_FILE_PATTERN.exec(name)?.[1] ?? 0) + 1)
}

export function isDataFile(name: unknown): name is string {
  return typeof name === 'string' && DATA_FILE_PATTERN.test(name) && !name.endsWith(LOCK_SUFFIX)
}

/** Whether LMDB may have made a file of this name, beside those of the data file `inUse`. */
export function isLeftover(name: string, inUse: string): boolean {
  return DATA_FILE_PATTERN.test(name) && name !== inUse && name !== lockFileOf(inUse)
}

/** LMDB's table of readers for a data file. */
export function lockFileOf(name: string): string {
  return name + LOCK_SUFFIX
}

const MAGIC = 0xbeefc0de
const VERSION = 2
const META_BYTES = 160
export const META_PAGES = [0, 1] as const
const AT = {
  magic: 24,
  version: 28,
  pageBytes: 48,
  freeRoot: 88,
  namesRoot: 136,
  lastPage: 144,
  transaction: 152,
} as const
/** The root of a tree in which there is nothing. */
export const NO_PAGE: bigint = 2n ** 64n - 1n

export interface DataFileState {
  readonly state: 'new' | 'whole' | 'short'
  readonly sizeBytes: number
  /** Up to the end of the last page. */
  readonly wholeBytes: number
}

/**
 * `'new'`: there is no file, or an empty one. `'short'`: it ends before its last page, which LMDB allows where the missing
 * pages are free: it does not write what a commit has taken at the end of the file and given back itself. Throws `CORRUPTION` or `INCOMPATIBLE` for what is no store of this format.
 */
export async function inspectDataFile(directory: DurableDirectory, name: string): Promise<DataFileState> {
  const file = await directory.openFile(name, 'inspect the store')
  if (file === undefined) return { state: 'new', sizeBytes: 0, wholeBytes: 0 }
  try {
    const { handle, sizeBytes } = file
    if (sizeBytes === 0) return { state: 'new', sizeBytes, wholeBytes: 0 }
    const what = directory.pathOf(name)
    if (sizeBytes < 2 * STORE_PAGE_BYTES) {
      throw new StateError('CORRUPTION', { what, reason: `it is cut off after ${sizeBytes} bytes` })
    }
    let newest = -1n
    let lastPage = 0n
    let freeRoot = NO_PAGE
    for (const page of META_PAGES) {
      const meta = Buffer.alloc(META_BYTES)
      await directory.readFully(handle, name, meta, page * STORE_PAGE_BYTES)
      if (meta.readUInt32LE(AT.magic) !== MAGIC) {
        throw new StateError('CORRUPTION', { what, reason: `page ${page} is not LMDB's` })
      }
      check(what, 'data version', meta.readUInt32LE(AT.version), VERSION)
      check(what, 'page size', meta.readUInt32LE(AT.pageBytes), STORE_PAGE_BYTES)
      const transaction = meta.readBigUInt64LE(AT.transaction)
      if (transaction > newest) {
        newest = transaction
        lastPage = meta.readBigUInt64LE(AT.lastPage)
        freeRoot = meta.readBigUInt64LE(AT.freeRoot)
      }
    }
    const pageBytes = BigInt(STORE_PAGE_BYTES)
    const wholeBytes = Number((lastPage + 1n) * pageBytes)
    // Asked now: beside a process that writes, the file may have grown since it was opened.
    const { size } = await directory.attempt('inspect the store', what, handle.stat())
    if (size >= wholeBytes) return { state: 'whole', sizeBytes: size, wholeBytes }
    // Only a writer reads that table: a whole reading of the content would not notice.
    if (freeRoot !== NO_PAGE && (freeRoot + 1n) * pageBytes > BigInt(size)) {
      throw new StateError('CORRUPTION', { what, reason: 'it is cut off' })
    }
    return { state: 'short', sizeBytes: size, wholeBytes }
  } finally {
    await file.handle.close()
  }
}

/** The trees of the transaction in force, and the last page that it has. The file is one that `inspectDataFile` took. */
export function newestRoots(file: number): { readonly lastPage: number; readonly roots: readonly bigint[] } {
  let metas = readMetas(file)
  // One that another process is writing is read again.
  for (let before: Buffer[] | undefined; !isSame(metas, before); metas = readMetas(file)) before = metas
  const newest = metas.reduce((one, other) =>
    other.readBigUInt64LE(AT.transaction) > one.readBigUInt64LE(AT.transaction) ? other : one,
  )
  return {
    lastPage: Number(newest.readBigUInt64LE(AT.lastPage)),
    roots: [newest.readBigUInt64LE(AT.freeRoot), newest.readBigUInt64LE(AT.namesRoot)],
  }
}

function readMetas(file: number): Buffer[] {
  return META_PAGES.map((page) => {
    const meta = Buffer.alloc(META_BYTES)
    readSync(file, meta, 0, META_BYTES, page * STORE_PAGE_BYTES)
    return meta
  })
}

function isSame(metas: readonly Buffer[], before: readonly Buffer[] | undefined): boolean {
  return before !== undefined && metas.every((meta, i) => meta.equals(before[i] as Buffer))
}

function check(what: string, name: string, found: number, supported: number): void {
  if (found === supported) return
  const details = { what, found: `${name} ${found}`, supported: `${name} ${supported}` }
  throw new StateError('INCOMPATIBLE', details)
}
