import {
  type InPlaceBackend,
  type LookAheadBackend,
  type SyncStateBackend,
  type WriteBackBackend,
  writesBack,
} from '../../backend/state-backend.js'
import type { Entry, PutOptions, ScanRange } from '../../backend/types.js'
import { copyViewed, type Slot } from '../../base/slot.js'
import type { ByteWriter } from '../codec/bytes.js'
import type { AssembledKey, ScannableEntries } from './entries.js'

/** Entries of a local engine that copies values in and out. */
export class CopiedEntries implements ScannableEntries {
  readonly #backend: SyncStateBackend

  constructor(backend: SyncStateBackend) {
    this.#backend = backend
  }

  peek(key: AssembledKey, slot: Slot): boolean {
    const value = this.#backend.getSync(key.view())
    if (value === undefined) return false
    show(value, slot)
    return true
  }

  put(key: AssembledKey, value: ByteWriter, options: PutOptions): void {
    this.#backend.putSync(key.view(), value.bytes.subarray(0, value.length), options)
  }

  remove(key: AssembledKey): void {
    this.#backend.deleteSync(key.view())
  }

  removeRange(from: Uint8Array, until: Uint8Array): void {
    this.#backend.deleteRangeSync({ gte: from, lt: until })
  }

  list(from: Uint8Array, until: Uint8Array): Iterable<Entry> {
    return this.#backend.scanSync({ gte: from, lt: until })
  }

  scan(range: ScanRange): IterableIterator<Entry> {
    return this.#backend.scanSync(range)
  }
}

/** Called before and after each read, where another process writes. */
export interface ReadWatch {
  beforeRead(): void
  afterRead(): void
}

/** Entries that another process writes. They are copied: the look at what the writer did would make what lies in place void. */
export class WatchedEntries extends CopiedEntries {
  readonly #watch: ReadWatch

  constructor(backend: SyncStateBackend, watch: ReadWatch) {
    super(backend)
    this.#watch = watch
  }

  override peek(key: AssembledKey, slot: Slot): boolean {
    this.#watch.beforeRead()
    const isThere = super.peek(key, slot)
    this.#watch.afterRead()
    return isThere
  }

  override list(from: Uint8Array, until: Uint8Array): Iterable<Entry> {
    this.#watch.beforeRead()
    const entries = Array.from(super.list(from, until))
    this.#watch.afterRead()
    return entries
  }
}

/** Entries of a local engine whose values are read and written where they lie. */
export class InPlaceEntries extends CopiedEntries {
  readonly #backend: InPlaceBackend
  readonly #writeBack: WriteBackBackend | undefined
  readonly #written: Slot

  constructor(backend: InPlaceBackend, written: Slot) {
    super(backend)
    this.#backend = backend
    this.#writeBack = writesBack(backend) ? backend : undefined
    this.#written = written
  }

  override peek(key: AssembledKey, slot: Slot): boolean {
    const { told } = key
    const backend = this.#backend
    return told < 0
      ? backend.peekSync(key.stretch, slot)
      : (backend as InPlaceBackend & LookAheadBackend).peekToldSync(told, key.stretch, slot)
  }

  override put(key: AssembledKey, value: ByteWriter, options: PutOptions, shown?: Slot): void {
    const { length } = value
    if (shown !== undefined && this.#writeBack?.writeBackSync(shown, value, length, options) === true) return
    const slot = this.#written
    this.#backend.updateSync(key.stretch, length, slot, options)
    copyViewed(value, 0, length, slot, slot.offset)
  }
}

/** Points a slot at a whole array. */
export function show(value: Uint8Array, slot: Slot): void {
  slot.bytes = value
  slot.view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  slot.offset = 0
  slot.length = value.length
}
