// A snapshot of the memory engine in the thread that it was shared with.

import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../backend/block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'
import type { OpenSharedSnapshot, SharedSnapshotReader } from '../backend/shared-snapshot.js'
import type { BlockOptions } from '../backend/types.js'
import { throwIfAborted } from '../base/abort.js'
import { nextTurn, type SlicedWork } from '../base/slices.js'
import { EntryCursor } from '../log/entry-cursor.js'
import type { KeyBits } from '../log/order/key-bits.js'
import type { SharedLog } from '../log/share/log-share.js'
import { type SharedAddresses, SharedLogReader, union } from '../log/share/shared-log-reader.js'
import { Uint32List } from '../log/uint32-list.js'

/** What `MemorySnapshot.share` sends. */
export interface SharedMemorySnapshotData {
  readonly log: SharedLog
  readonly takenAtMs: number
  /** Entries at the snapshot's instant, tombstones not among them. */
  readonly entries: number
  /** Some of these may have expired by then. */
  readonly someExpired: boolean
  /** Whether only what has changed is shared. */
  readonly changesOnly: boolean
}

/** Entries between two looks at whether the snapshot is still open. */
const TURN_ENTRIES = 4_096

/** Entries that are brought near before they are copied. */
const TOUCHED_ENTRIES = 32

/** Takes what `share` gave, in another thread (or in the same one). Rejects with `CLOSED` where the snapshot was closed. */
export const openSharedSnapshot: OpenSharedSnapshot = async (data) => {
  const shared = data as SharedMemorySnapshotData
  return new SharedMemorySnapshot(await SharedLogReader.open(shared.log), shared)
}

class SharedMemorySnapshot implements SharedSnapshotReader {
  readonly #reader: SharedLogReader
  readonly #cursor: EntryCursor
  readonly #data: SharedMemorySnapshotData
  /** What is known of the keys of all that is visible, and maybe of others, until it was used to sort them. */
  #looks: KeyBits | undefined
  #addresses: Promise<SharedAddresses> | undefined
  #builder: EntryBlockBuilder | undefined

  constructor(reader: SharedLogReader, data: SharedMemorySnapshotData) {
    this.#reader = reader
    this.#cursor = new EntryCursor(reader.entries)
    this.#data = data
    this.#looks = reader.order.looks()
  }

  async count(): Promise<number> {
    this.#reader.assertOpen()
    const { entries, someExpired } = this.#data
    if (!someExpired) return entries
    const { buried } = await this.#read()
    // All that had expired at the instant was removed since: that is why it is among what was buried.
    return entries - (await this.#reader.run(this.#expiredAmong(buried))).length
  }

  async *blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    validateBlockOptions(options)
    const { targetBytes = DEFAULT_BLOCK_BYTES, signal } = options ?? {}
    const check = () => {
      this.#reader.assertOpen()
      throwIfAborted(signal, 'blocks')
    }
    check()
    const { visible, buried } = await this.#read()
    check()
    const addresses = await this.#reader.run(this.#inOrder(visible, buried))
    const builder = new EntryBlockBuilder(targetBytes)
    this.#builder = builder
    for (let next = 0; next < addresses.length; ) {
      next = this.#addSome(builder, addresses, next)
      if (builder.full) {
        yield builder.takeWithMemory()
        check()
      } else {
        await nextTurn()
        check()
      }
    }
    if (builder.entryCount > 0) yield builder.takeWithMemory()
  }

  giveBack(block: EntryBlock): void {
    this.#builder?.giveBack(block)
  }

  async close(): Promise<void> {
    this.#reader.end()
  }

  #read(): Promise<SharedAddresses> {
    this.#addresses ??= this.#reader.addresses({
      ...(!this.#data.changesOnly && { isWanted: (address) => this.#isAlive(address) }),
      // What has just been looked at is in the cache.
      onFound: (addresses, count) => this.#looks?.look(addresses, count),
    })
    return this.#addresses
  }

  /** What goes into blocks, in key order: what is alive, or all that has changed. */
  *#inOrder(visible: Uint32Array, buried: Uint32Array): SlicedWork<Uint32Array> {
    const looks = this.#looks
    this.#looks = undefined
    if (!this.#data.changesOnly) {
      // Those that are visible are wanted, so they are alive.
      const alive = visible.slice()
      yield* this.#reader.order.sort(alive, looks)
      return alive
    }
    // What had expired has changed, whenever it was written.
    const expired = yield* this.#expiredAmong(buried)
    for (let start = 0; start < expired.length; start += TURN_ENTRIES) {
      const part = expired.subarray(start, start + TURN_ENTRIES)
      looks?.look(part, part.length)
      yield
    }
    const changed = yield* union(visible, expired)
    yield* this.#reader.order.sort(changed, looks)
    return changed
  }

  *#expiredAmong(addresses: Uint32Array): SlicedWork<Uint32Array> {
    const expired = new Uint32List()
    for (let i = 0; i < addresses.length; i++) {
      if (i % TURN_ENTRIES === 0) yield
      const address = addresses[i] as number
      if (!this.#reader.entries.isTombstone(address) && !this.#isAlive(address)) expired.push(address)
    }
    return expired.toArray()
  }

  #isAlive(address: number): boolean {
    return this.#reader.entries.livesUntilMs(address) > this.#data.takenAtMs
  }

  /** Adds entries until the block is full, or others have a turn; returns which is next. A function: V8 throws compiled generators away. */
  #addSome(builder: EntryBlockBuilder, addresses: Uint32Array, from: number): number {
    const end = Math.min(addresses.length, from - (from % TURN_ENTRIES) + TURN_ENTRIES)
    let i = from
    for (; i < end && !builder.full; i++) {
      if (i % TOUCHED_ENTRIES === 0) this.#reader.entries.touch(addresses, i, i + TOUCHED_ENTRIES)
      this.#add(builder, addresses[i] as number)
    }
    return i
  }

  #add(builder: EntryBlockBuilder, address: number): void {
    const entry = this.#cursor.goTo(address)
    if (!entry.tombstone && entry.expiresAtMs > this.#data.takenAtMs) return builder.addAligned(entry)
    const { bytes, keyStart, keyLength } = entry
    builder.addTombstone(bytes.subarray(keyStart, keyStart + keyLength))
  }
}
