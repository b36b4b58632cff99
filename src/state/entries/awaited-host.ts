// Where the states of a store over an asynchronous engine read and write. An operation is written as if everything were at
// hand. It runs over what was fetched so far; where something is missing it stops there, the entry is fetched, and it runs
// again from its beginning. Its writes are collected, and applied as one batch at its end.
//
// (1) What an operation writes is its own until it is done: one that runs again has written nothing yet.
// (2) Two operations that write never work on the same first entry at a time: the second one waits for the first.
// (3) While a batch runs, no other operation that writes does. Which calls belong to it, its asynchronous context tells.

import { AsyncLocalStorage } from 'node:async_hooks'
import { hasSnapshots, type StateBackend } from '../../backend/state-backend.js'
import type { Entry, PutOptions, ScanRange } from '../../backend/types.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { present } from '../../base/assert.js'
import { StateError } from '../../base/errors.js'
import type { Slot } from '../../base/slot.js'
import type { ByteWriter } from '../codec/bytes.js'
import { show } from './backend-entries.js'
import { type AssembledKey, type Entries, Suspension } from './entries.js'
import { type Host, type LaterRunner, mergedLater, rangeOfState, type ScannedEntry } from './host.js'
import { nameOf, Overlay } from './overlay.js'

export class AwaitedHost implements Host, LaterRunner {
  readonly later: LaterRunner = this
  readonly #backend: StateBackend
  readonly #context = new AsyncLocalStorage<Transaction>()
  /** First entries of operations that write, and when each is free again. */
  readonly #locks = new Map<string, Promise<unknown>>()
  readonly #running = new Set<Promise<unknown>>()
  /** Settles when the batch that runs, or the last one that waits, is over. */
  #batchOver: Promise<unknown> | undefined
  #entries: Entries | undefined
  /** The time of events: an operation has the one that was said when it was called, however often it runs. */
  time: { currentMs: number | undefined } = { currentMs: undefined }

  constructor(backend: StateBackend) {
    this.#backend = backend
  }

  get entries(): Entries {
    return present(this.#entries, 'entries are used within an operation')
  }

  async read<Result>(plain: () => Result): Promise<Result> {
    const operation = this.#atItsTime(plain)
    const open = this.#openBatch()
    return this.#attempt(open ?? new Transaction(this.#backend), operation)
  }

  async write<Result>(plain: () => Result): Promise<Result> {
    const operation = this.#atItsTime(plain)
    const open = this.#openBatch()
    if (open !== undefined) return this.#attempt(open, operation)
    while (this.#batchOver !== undefined) await this.#batchOver
    const running = this.#writeAlone(operation)
    return this.#track(running)
  }

  async batch<Result>(body: () => Result | PromiseLike<Result>): Promise<Result> {
    if (this.#openBatch() !== undefined) return body()
    const before = [this.#batchOver, ...this.#running]
    const running = this.#runBatch(before, body)
    const over = Promise.allSettled([running])
    this.#batchOver = over
    try {
      return await running
    } finally {
      if (this.#batchOver === over) this.#batchOver = undefined
    }
  }

  get isInBatch(): boolean {
    return this.#context.getStore() !== undefined
  }

  together(writes: () => void): void {
    writes()
  }

  async inSlices(): Promise<void> {
    throw new Error('a store over an asynchronous engine collects its writes itself')
  }

  refresh(): void {}

  isAtHand(): boolean {
    return false
  }

  unsorted(): undefined {
    return undefined
  }

  async *scan(
    ranges: readonly ScanRange[],
    formerIds: readonly number[] = [],
  ): AsyncIterableIterator<ScannedEntry> {
    const overlay = this.#openBatch()?.overlay
    // Without snapshots, an engine shows each range as it is when the scan comes to it.
    const snapshot = hasSnapshots(this.#backend) ? await this.#backend.snapshot() : undefined
    const source = snapshot ?? this.#backend
    try {
      for (const range of ranges) {
        const own = scanned(source, overlay, range)
        if (formerIds.length === 0) {
          yield* own
          continue
        }
        const formers = formerIds.map((id) => scanned(source, overlay, rangeOfState(range, id)))
        yield* mergedLater([own, ...formers], range.reverse ?? false)
      }
    } finally {
      await snapshot?.close()
    }
  }

  #atItsTime<Result>(operation: () => Result): () => Result {
    const { time } = this
    const { currentMs } = time
    return () => {
      const between = time.currentMs
      time.currentMs = currentMs
      try {
        return operation()
      } finally {
        time.currentMs = between
      }
    }
  }

  #openBatch(): Transaction | undefined {
    const open = this.#context.getStore()
    if (open?.isOver === true) {
      throw new StateError('TRANSACTION_FAILED', {
        operation: 'batch',
        reason: 'it was over before one of its calls was made: await every call in its function',
      })
    }
    return open
  }

  async #runBatch<Result>(
    before: readonly unknown[],
    body: () => Result | PromiseLike<Result>,
  ): Promise<Result> {
    await Promise.allSettled(before)
    const transaction = new Transaction(this.#backend)
    try {
      const result = await this.#context.run(transaction, body)
      transaction.isOver = true
      await transaction.apply()
      return result
    } finally {
      transaction.isOver = true
    }
  }

  async #writeAlone<Result>(operation: () => Result): Promise<Result> {
    const transaction = new Transaction(this.#backend, this.#locks)
    try {
      const result = await this.#attempt(transaction, operation)
      await transaction.apply()
      return result
    } finally {
      transaction.unlock()
    }
  }

  /** Runs an operation until nothing is missing. */
  async #attempt<Result>(transaction: Transaction, operation: () => Result): Promise<Result> {
    for (;;) {
      try {
        return this.#runOnce(transaction, operation)
      } catch (error) {
        if (!(error instanceof Suspension)) throw error
        await error.until
      }
    }
  }

  #runOnce<Result>(transaction: Transaction, operation: () => Result): Result {
    const outer = this.#entries
    this.#entries = transaction
    transaction.begin()
    try {
      const result = operation()
      transaction.keep()
      return result
    } finally {
      this.#entries = outer
    }
  }

  async #track<Result>(running: Promise<Result>): Promise<Result> {
    this.#running.add(running)
    try {
      return await running
    } finally {
      this.#running.delete(running)
    }
  }
}

/** What a range holds, with the writes of the open batch. */
async function* scanned(
  source: Pick<StateBackend, 'scan'>,
  overlay: Overlay | undefined,
  range: ScanRange,
): AsyncGenerator<Entry, void, undefined> {
  const written = overlay?.in(range)
  for await (const entry of source.scan(range)) {
    if (written === undefined) yield entry
    else yield* written.upTo(entry)
  }
  if (written !== undefined) yield* written.rest()
}

/** The entries of one operation, or of one batch: what was fetched, and what is to be written. */
class Transaction implements Entries {
  isOver = false
  /** What operations that are done have written. */
  readonly overlay: Overlay
  readonly #backend: StateBackend
  readonly #locks: Map<string, Promise<unknown>> | undefined
  readonly #fetched = new Map<string, Uint8Array | undefined>()
  readonly #fetchedRanges = new Map<string, Entry[]>()
  /** What the operation at hand has written. */
  #own: Overlay
  #lock: string | undefined
  #release: () => void = () => {}

  constructor(backend: StateBackend, locks?: Map<string, Promise<unknown>>) {
    this.#backend = backend
    this.#locks = locks
    this.overlay = new Overlay({
      peek: (key, slot) => this.#peekFetched(key, slot),
      list: (from, until) => this.#listFetched(from, until),
    })
    this.#own = this.overlay
  }

  /** Before each run of an operation. */
  begin(): void {
    this.#own = new Overlay(this.overlay)
  }

  /** The operation is done: what it has written is kept. */
  keep(): void {
    this.#own.moveTo(this.overlay)
  }

  peek(key: AssembledKey, slot: Slot): boolean {
    this.#take(key)
    return this.#own.peek(key, slot)
  }

  list(from: Uint8Array, until: Uint8Array): Iterable<Entry> {
    return this.#own.list(from, until)
  }

  put(key: AssembledKey, value: ByteWriter, options: PutOptions): void {
    this.#take(key)
    this.#own.put(key, value, options)
  }

  remove(key: AssembledKey): void {
    this.#take(key)
    this.#own.remove(key)
  }

  removeRange(from: Uint8Array, until: Uint8Array): void {
    this.#own.removeRange(from, until)
  }

  async apply(): Promise<void> {
    const { overlay } = this
    if (overlay.isEmpty) return
    const batch = new WriteBatch()
    overlay.addTo(batch)
    await this.#backend.write(batch)
  }

  unlock(): void {
    this.#release()
  }

  /** The first entry that an operation touches is its own until it is done. */
  #take(key: AssembledKey): void {
    const locks = this.#locks
    if (locks === undefined || this.#lock !== undefined) return
    const name = nameOf(key.view())
    const taken = locks.get(name)
    if (taken !== undefined) throw new Suspension(taken)
    this.#lock = name
    const free = new Promise<void>((resolve) => {
      this.#release = () => {
        if (locks.get(name) === free) locks.delete(name)
        resolve()
      }
    })
    locks.set(name, free)
  }

  #peekFetched(key: AssembledKey, slot: Slot): boolean {
    const copy = key.copy()
    const name = nameOf(copy)
    if (!this.#fetched.has(name)) throw new Suspension(this.#fetch(name, copy))
    const value = this.#fetched.get(name)
    if (value === undefined) return false
    show(value, slot)
    return true
  }

  #listFetched(from: Uint8Array, until: Uint8Array): Iterable<Entry> {
    const name = `${nameOf(from)}|${nameOf(until)}`
    const fetched = this.#fetchedRanges.get(name)
    if (fetched === undefined) throw new Suspension(this.#fetchRange(name, { gte: from, lt: until }))
    return fetched
  }

  async #fetch(name: string, key: Uint8Array): Promise<void> {
    this.#fetched.set(name, await this.#backend.get(key))
  }

  async #fetchRange(name: string, range: ScanRange): Promise<void> {
    const entries: Entry[] = []
    for await (const entry of this.#backend.scan(range)) entries.push(entry)
    this.#fetchedRanges.set(name, entries)
  }
}
