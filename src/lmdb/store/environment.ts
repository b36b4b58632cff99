// The store's LMDB environment, as the main thread (which reads) and the writer thread (which writes) open it.
//
// (1) Two slots of databases, `entries-0`/`expiry-0` and `entries-1`/`expiry-1`: the content of generation g is in slot
//     g mod 2. Replacing all content fills the other slot and then names it in one commit. All of them are opened at the
//     start, because a database cannot be opened while the other thread writes.
// (2) LMDB's package opens a data file once per process, whoever opens it, in whatever thread and by whatever name, and
//     closes it with its last user: closing any descriptor of the table of readers would drop the POSIX locks of all of them.
//     Who comes first decides how it is open. So it is opened for writing where that is allowed, also by readers.
// (3) The map begins small and grows with the file; before it does, {@link assertAddressSpace} has been asked, because LMDB
//     does not survive a refusal.
// (4) Every commit waits for its data to be on stable storage (`overlappingSync: false`), and no page of LMDB is mapped
//     writably: a full disk is then an error of a system call, not a signal.
// (5) LMDB tells readers apart by the number of their process (pid), and by a lock on the byte with that number. In two
//     containers the numbers may be equal: the lock is taken before the package opens the file, and who does not get it is
//     refused. A line in the table with our number, that was there before, is of a process that is dead: it would keep pages
//     from being used again for as long as we live, so it goes.

import { accessSync, constants, existsSync, statSync } from 'node:fs'
import { constants as system } from 'node:os'
import { dirname } from 'node:path'
import { pid } from 'node:process'
import type * as Lmdb from 'lmdb'
import type { Database, RootDatabase } from 'lmdb'
import { requirePackage } from '../../base/compiled.js'
import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import { MAX_KEY_BYTES } from '../../base/limits.js'
import type { ViewedBytes } from '../../base/slot.js'
import { ValuePool } from '../../log/value-pool.js'
import { assertAddressSpace, assertDescriptors } from './address-space.js'
import { lockFileOf, STORE_PAGE_BYTES } from './data-file.js'
import { ENTRY_PREFIX, EXPIRY_KEY_BYTES } from './record.js'
import { type RecordPage, SparePages } from './record-page.js'

/** LMDB's own transaction object: one instant of the store for reading. */
export interface ReadTransaction {
  done(): void
}

export interface RangeOptions {
  readonly start: Uint8Array
  readonly end: Uint8Array
  readonly limit: number
  readonly reverse?: boolean
  readonly exclusiveStart?: boolean
  readonly inclusiveEnd?: boolean
  readonly transaction?: ReadTransaction
}

export interface TableStats {
  readonly entryCount: number
  readonly treeDepth: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
  readonly mapSize?: number
  readonly lastPageNumber?: number
  readonly numReaders?: number
}

/** What the engine uses of an LMDB database: the package's own types leave the transaction option out in places. */
export interface Table {
  getBinaryFast(key: Uint8Array, options?: { readonly transaction: ReadTransaction }): Buffer | undefined
  /** Length of what `getBinaryFast` gave last. */
  readonly lastSize: number
  /** Keys of entries come without their prefix. Both are copies. */
  getRange(options: RangeOptions): Iterable<{ key: Uint8Array; value: Uint8Array }>
  getKeys(options: RangeOptions): Iterable<Buffer>
  /** The bytes of the value must stay as they are until the transaction is done; those of the key are copied. */
  put(key: Uint8Array, value: Uint8Array, options?: { readonly append: boolean }): Promise<boolean>
  remove(key: Uint8Array): Promise<boolean>
  clearAsync(): Promise<boolean>
  removeSync(key: Uint8Array): boolean
  clearSync(): void
  putSync(key: Uint8Array, value: Uint8Array, options?: { readonly append: boolean }): boolean
  getStats(): TableStats
}

/** A database of entries. */
export interface EntriesTable extends Table {
  /** Fills a page with the keys and records of a range, until there are no more or the page is full. */
  fill(page: RecordPage, options: RangeOptions): void
  readonly pages: SparePages
}

export interface Slot {
  readonly entries: EntriesTable
  readonly expiry: Table
}

export interface Environment {
  /** Resolves when this user of the data file has let go of it. */
  close(): Promise<void>
  readonly root: RootDatabase<Buffer, Uint8Array>
  readonly meta: Table
  readonly slots: readonly [Slot, Slot]
}

export interface EnvironmentOptions {
  readonly readOnly: boolean
  /** Nobody else uses the store in this process, so that it may be open for reading only. Default false. */
  readonly alone?: boolean
  /** The store is new: its databases are to be made. Otherwise one that is missing is damage. Default false. */
  readonly create?: boolean
}

export const MAX_READERS = 1024
const FREE_PAGES_LOADED = 10_000
const FREE_PAGES_RETAINED = 1_000
/** Address space for a store that is smaller than half of it: 1,000 of these are 64 GiB. */
const SMALLEST_MAP_BYTES = 64 * 1024 * 1024
/** How much larger than its file a map begins. */
const MAP_GROWTH = 2
const NO_SUBDIRECTORY = 0x4000
const READ_ONLY = 0x20000
const binary = { encoding: 'binary', keyEncoding: 'binary' } as const

/**
 * Data files that are open where LMDB cannot open its lock file, as on a read-only file system: there the package (3.5.6) forgets
 * to close what it has opened, a descriptor and a map each time. So a thread opens such a file once, until it ends.
 */
const unlocked = new Map<string, Environment>()

/**
 * `path` is that of the data file. `STORAGE_ERROR` where LMDB cannot read or write its files, `CORRUPTION` where they are not
 * a store's.
 */
export function openEnvironment(path: string, options: EnvironmentOptions): Environment {
  if (!options.readOnly || canLock(path)) return open(path, options)
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false })
  // What opens nothing says so.
  if (stats === undefined) return open(path, options)
  const { dev, ino } = stats
  const file = `${dev}:${ino}`
  const known = unlocked.get(file)
  if (known !== undefined) return known
  const environment = { ...open(path, options), close: async () => {} }
  unlocked.set(file, environment)
  return environment
}

function open(path: string, options: EnvironmentOptions): Environment {
  let root: RootDatabase<Buffer, Uint8Array> | undefined
  let first: NativeEnvironment | undefined
  try {
    const settings = settingsFor(path)
    assertAddressSpace(path, settings.mapSize)
    assertDescriptors(path)
    const forWriting = !options.readOnly || (!(options.alone ?? false) && isWritable(path))
    // Where the table of readers cannot be written, LMDB does without, and nobody is taken for another one.
    if (!options.readOnly || isWritable(path)) first = openFirst(settings, forWriting)
    root = loadLmdb().open<Buffer, Uint8Array>({
      ...settings,
      ...binary,
      readOnly: options.readOnly,
      overlappingSync: false,
    })
    const tables = openTables(root, path, options.create ?? false)
    const opened = { root, anchor: options.readOnly && forWriting ? first : undefined }
    if (opened.anchor === undefined) first?.close()
    return { close: () => closeAll(opened), root, ...tables }
  } catch (cause) {
    // What is open of it would be met by whoever opens the store next in this process.
    void closeAll({ root, anchor: first }).catch(() => {})
    if (isStateError(cause)) throw cause
    const details = { storage: 'lmdb', operation: 'open', reason: `${path}: ${reasonOf(cause)}` }
    throw new StateError('STORAGE_ERROR', details, { cause })
  }
}

interface StoreSettings {
  readonly path: string
  readonly pageSize: number
  readonly mapSize: number
  readonly maxDbs: number
  readonly maxReaders: number
  readonly batchStartThreshold: number
  readonly maxFreeSpaceToLoad: number
  readonly maxFreeSpaceToRetain: number
  readonly noSubdir: boolean
  readonly permissionsMode: number
}

function settingsFor(path: string): StoreSettings {
  const fileBytes = statSync(path).size
  const mapBytes = Math.max(SMALLEST_MAP_BYTES, fileBytes * MAP_GROWTH)
  return {
    path,
    pageSize: STORE_PAGE_BYTES,
    mapSize: Math.ceil(mapBytes / STORE_PAGE_BYTES) * STORE_PAGE_BYTES,
    maxDbs: 8,
    maxReaders: MAX_READERS,
    noSubdir: true,
    // What is written in one turn of the event loop is one transaction (see transaction.ts), however much it is.
    batchStartThreshold: Infinity,
    // The list of free pages: what a commit leaves over of it is loaded and written again by the next one. With the package's
    // 50,000 and 75,000, one large commit makes all later ones slow.
    maxFreeSpaceToLoad: FREE_PAGES_LOADED,
    maxFreeSpaceToRetain: FREE_PAGES_RETAINED,
    // Of a lock table that is made anew; the package's types leave it out.
    permissionsMode: 0o600,
  }
}

/** The package's own view of an open data file; its types leave it out. */
interface NativeEnvironment {
  open(settings: StoreSettings & { readonly keyBytes: Uint8Array }, flags: number, jsFlags: number): void
  close(): void
}

interface NativePackage {
  readonly Env: new () => NativeEnvironment
  readonly Txn: new (environment: NativeEnvironment, flags: number) => { abort(): void }
}

/**
 * Opens a data file before the package does, as a reader that LMDB can tell from all others. While it is open for writing, a
 * writer may come later in this process; nothing is written through it.
 */
function openFirst(settings: StoreSettings, forWriting: boolean): NativeEnvironment {
  // Where nobody else in this process uses the file, closing it clears all lines of the table that have our number.
  openAndRead(settings, forWriting).close()
  return openAndRead(settings, forWriting)
}

function openAndRead(settings: StoreSettings, forWriting: boolean): NativeEnvironment {
  const { nativeAddon } = loadLmdb() as unknown as { nativeAddon: NativePackage }
  const environment = new nativeAddon.Env()
  const flags = forWriting ? NO_SUBDIRECTORY : NO_SUBDIRECTORY | READ_ONLY
  environment.open({ ...settings, keyBytes: Buffer.alloc(STORE_PAGE_BYTES) }, flags, 0)
  try {
    // The package would try it for ten seconds, and then throw from a timer.
    new nativeAddon.Txn(environment, READ_ONLY).abort()
    return environment
  } catch (cause) {
    environment.close()
    throw isLockHeld(cause) ? new StateError('STORAGE_ERROR', sameNumber(settings.path), { cause }) : cause
  }
}

/** Whether a lock of the system is held by another process: POSIX has two numbers for that. */
function isLockHeld(cause: unknown): boolean {
  const code = (cause as { readonly code?: unknown } | null | undefined)?.code
  return code === system.errno.EAGAIN || code === system.errno.EACCES
}

function sameNumber(path: string): { storage: string; operation: string; reason: string } {
  const reason =
    `${path} is open in another process that has the number (pid) of this one, ${pid}, as happens in containers: LMDB tells ` +
    'its readers apart by that number. Let the containers share one numbering (docker run --pid=container:…, ' +
    'shareProcessNamespace in a pod), or start this process so that its number is another one'
  return { storage: 'lmdb', operation: 'open', reason }
}

/** Whether a store was refused because of the number of this process: in another process it may open. */
export function isOfSameNumber(error: unknown): boolean {
  return isStateError(error, 'STORAGE_ERROR') && error.details.operation === 'open' && isLockHeld(error.cause)
}

async function closeAll({ root, anchor }: OpenHandles): Promise<void> {
  try {
    await root?.close()
  } finally {
    anchor?.close()
  }
}

interface OpenHandles {
  readonly root: RootDatabase<Buffer, Uint8Array> | undefined
  readonly anchor: NativeEnvironment | undefined
}

/** Whether the files of a store may be written here, as far as can be told without opening them. */
function isWritable(path: string): boolean {
  try {
    for (const each of [path, lockFileOf(path)]) accessSync(each, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Whether LMDB can open the lock file, or make it. */
function canLock(path: string): boolean {
  const lockFile = lockFileOf(path)
  try {
    accessSync(existsSync(lockFile) ? lockFile : dirname(lockFile), constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

function openTables(
  root: RootDatabase<Buffer, Uint8Array>,
  path: string,
  create: boolean,
): Pick<Environment, 'meta' | 'slots'> {
  const existing = (name: string, options: object): Table => {
    const settings = { name, ...binary, create, ...options }
    const database: Database<Buffer, Uint8Array> | undefined = root.openDB<Buffer, Uint8Array>(settings)
    // Made anew, an empty one would stand for content that is lost.
    if (database === undefined) {
      throw new StateError('CORRUPTION', { what: path, reason: `its database ${name} is missing` })
    }
    return asTable(database)
  }
  const slot = (number: number): Slot => ({
    entries: entriesTable((options) => existing(`entries-${number}`, options)),
    expiry: existing(`expiry-${number}`, {}),
  })
  return { meta: existing('meta', {}), slots: [slot(0), slot(1)] }
}

export function slotOf(environment: Environment, generation: number): Slot {
  return environment.slots[generation % 2 === 0 ? 0 : 1]
}

/** What LMDB may write in one transaction beside the records: lists of free pages, above all. */
const BOOKS_BYTES = 16 * 1024 * 1024

/**
 * `STORAGE_ERROR` where the file may grow beyond its map by so many bytes, and the system would not map a larger one: LMDB
 * maps twice as much as it needs then, beside the old map.
 */
export function assertRoomToGrow({ root }: Environment, path: string, bytes: number): void {
  const { mapSize = 0, lastPageNumber = 0 } = root.getStats() as TableStats
  const neededBytes = (lastPageNumber + 1) * STORE_PAGE_BYTES + bytes + BOOKS_BYTES
  if (neededBytes > mapSize) assertAddressSpace(path, MAP_GROWTH * neededBytes)
}

/** How long the file is with all of its pages, written or not. */
export function bytesToLastPage({ root }: Environment): number {
  const { lastPageNumber = 0 } = root.getStats() as TableStats
  return (lastPageNumber + 1) * STORE_PAGE_BYTES
}

/** Bytes of the pages that a database has in use. */
export function bytesInUse({ treeBranchPageCount, treeLeafPageCount, overflowPages }: TableStats): number {
  return (treeBranchPageCount + treeLeafPageCount + overflowPages) * STORE_PAGE_BYTES
}

/**
 * A database of entries, whose range reads give plain copies of what the package has read into its own buffers: making
 * Node's `Buffer`s instead, as it does by itself, takes longer than the reading. Where a page is being filled, they go there, and nothing
 * is made of them.
 */
function entriesTable(openWith: (options: object) => Table): EntriesTable {
  const values = new PlainCopies()
  const keys = new PlainCopies()
  let target: RecordPage | undefined
  const decode = (bytes: Buffer, size: number) => {
    if (target === undefined) return values.copy(bytes, 0, size)
    return target.addRecord(values.viewed(bytes), 0, size)
  }
  const readKey = (bytes: Buffer, start: number, end: number) => {
    if (target === undefined) return keys.copy(bytes, start + 1, end)
    return target.addKey(keys.viewed(bytes), start + 1, end - start - 1)
  }
  const database = openWith({ decoder: { decode }, decoderCopies: true })
  const fill = (page: RecordPage, options: RangeOptions) => {
    const entries = database.getRange(options)[Symbol.iterator]()
    target = page
    try {
      while (entries.next().done !== true && !page.isFull);
    } finally {
      target = undefined
      entries.return?.()
    }
  }
  return Object.assign(database, { readKey, fill, pages: new SparePages() })
}

/** Copies parts of a buffer that is the same again and again. */
export class PlainCopies {
  #buffer: Buffer | undefined
  #viewed: ViewedBytes = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)) }
  readonly #pool = new ValuePool()

  copy(bytes: Buffer, start: number, end: number): Uint8Array {
    return this.#pool.copyViewed(this.viewed(bytes), start, end - start)
  }

  /** The memory behind a buffer of the package. */
  viewed(bytes: Buffer): ViewedBytes {
    if (bytes !== this.#buffer) {
      this.#buffer = bytes
      // The package gives its buffers a length that is not theirs.
      const { maxLength = bytes.length } = bytes as Buffer & { maxLength?: number }
      this.#viewed = {
        bytes: new Uint8Array(bytes.buffer, bytes.byteOffset, maxLength),
        view: new DataView(bytes.buffer, bytes.byteOffset, maxLength),
      }
    }
    return this.#viewed
  }
}

let lmdb: typeof Lmdb | undefined

/** LMDB's package, loaded with the first store; `INCOMPATIBLE` where it does not load. */
export function loadLmdb(): typeof Lmdb {
  lmdb ??= requirePackage('lmdb', '../node-index.js') as typeof Lmdb
  return lmdb
}

/** The version of LMDB itself; the package's types leave it out. */
export function lmdbVersion(): string {
  const { version } = loadLmdb() as unknown as { version: { major: number; minor: number; patch: number } }
  return `${version.major}.${version.minor}.${version.patch}`
}

function asTable(database: Database<Buffer, Uint8Array>): Table {
  return database as unknown as Table
}

/** Builds LMDB keys in one buffer, without an object per key; each is valid until the next. */
export class KeyScratch {
  readonly #bytes = Buffer.alloc(EXPIRY_KEY_BYTES + 1 + MAX_KEY_BYTES)
  readonly #views: (Uint8Array | undefined)[] = []
  readonly #entryViews: (Uint8Array | undefined)[] = []

  /** The key of an entry. */
  entry(bytes: Uint8Array, start: number, length: number): Uint8Array {
    const scratch = this.#bytes
    scratch[0] = ENTRY_PREFIX
    this.#copy(1, bytes, start, length)
    return this.#view(length + 1)
  }

  /** What the last key of an entry was made of, by its length: a view of the same buffer. */
  sought(length: number): Uint8Array {
    this.#entryViews[length] ??= this.#bytes.subarray(1, length + 1)
    return this.#entryViews[length] as Uint8Array
  }

  /** The key of the expiry index: the time, big-endian, then the key. */
  expiry(expiresAtMs: number, bytes: Uint8Array, start: number, length: number): Uint8Array {
    this.#bytes.writeUInt32BE(Math.floor(expiresAtMs / 2 ** 32), 0)
    this.#bytes.writeUInt32BE(expiresAtMs % 2 ** 32, 4)
    this.#copy(EXPIRY_KEY_BYTES, bytes, start, length)
    return this.#view(length + EXPIRY_KEY_BYTES)
  }

  #copy(at: number, bytes: Uint8Array, start: number, length: number): void {
    const scratch = this.#bytes
    for (let i = 0; i < length; i++) scratch[at + i] = bytes[start + i] as number
  }

  #view(length: number): Uint8Array {
    this.#views[length] ??= this.#bytes.subarray(0, length)
    return this.#views[length] as Uint8Array
  }
}
