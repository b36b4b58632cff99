import type { MessagePort } from 'node:worker_threads'
import { StateError } from '../../base/errors.js'
import { runSliced, type SlicedWork } from '../../base/slices.js'
import { Entries } from '../entries.js'
import { OFFSET_BITS, OFFSET_MASK } from '../layout.js'
import { KeyOrder } from '../order/key-order.js'
import { unburiedAddresses, type WalkOptions } from '../order/latest-versions.js'
import { SegmentTable } from '../segment-table.js'
import { Uint32List } from '../uint32-list.js'
import type { SharedChanges, SharedLog, ShareReply, ShareRequest } from './log-share.js'
import { joinParts } from './shared-list.js'
import { sortedNumbers } from './sorted-numbers.js'

const NONE = new Uint32Array(0)

/** Addresses looked at between two points where the work may pause. */
const STEP = 4_096

/** Entries that are brought near before they are looked at: there are about as many misses of the cache at a time. */
const TOUCHED_ENTRIES = 32

/** What a reader finds; both in the order of addresses, each once. */
export interface SharedAddresses {
  /** What the snapshot sees and is wanted, of each key one version, tombstones included; or, of changes, those of it that have changed. */
  readonly visible: Uint32Array
  /** What of all that the snapshot sees was replaced or removed before its reader was done. */
  readonly buried: Uint32Array
}

/** The reading thread's end of a shared log (see log-share.ts). What it reads never changes until it has ended. */
export class SharedLogReader {
  readonly entries: Entries
  readonly order: KeyOrder
  readonly #segments: SegmentTable
  readonly #changes: SharedChanges | undefined
  readonly #port: SharedLog['port']
  readonly #closedFlag: Int32Array
  readonly #waiting: { resolve: (reply: ShareReply) => void; reject: (error: StateError) => void }[] = []
  /** Addresses of what may have changed, sorted, until they were looked at. */
  #listed: Uint32Array = NONE
  #hasEnded = false

  private constructor({ segments, changes, port, closedFlag }: SharedLog) {
    this.#segments = SegmentTable.attach(segments)
    this.entries = new Entries(this.#segments)
    this.order = new KeyOrder(this.#segments)
    this.#changes = changes
    this.#port = port
    this.#closedFlag = new Int32Array(closedFlag)
    port.on('message', (reply: ShareReply) => {
      if (reply.kind === 'closed') this.end()
      else this.#waiting.shift()?.resolve(reply)
    })
    port.on('close', () => this.end())
    // It may have closed while this module was being loaded, when nobody listened yet, and says so never again. Listening
    // references an open port only.
    if (!(port as MessagePort & { hasRef(): boolean }).hasRef()) this.end()
  }

  /** Rejects with `CLOSED` where the snapshot has been closed. */
  static async open(shared: SharedLog): Promise<SharedLogReader> {
    const reader = new SharedLogReader(shared)
    reader.assertOpen()
    const opened = reader.#ask('open')
    // While the answer is on its way: the lists do not change any more.
    reader.#sortListed()
    await opened
    return reader
  }

  /** Throws `CLOSED` when nothing may be read any more. To be called after every pause. */
  assertOpen(): void {
    if (Atomics.load(this.#closedFlag, 0) !== 0) this.end()
    if (this.#hasEnded) throw closed()
  }

  /**
   * Once. What is not wanted is not among what is visible; that is asked only where all is read, not only what has changed. `onFound` is told
   * of all that is visible, and of changes maybe of more.
   */
  async addresses(options: WalkOptions = {}): Promise<SharedAddresses> {
    const changes = this.#changes
    const found = await this.run(
      changes === undefined ? this.#walk(options) : this.#changed(this.#listed, changes.sinceEpoch, options),
    )
    this.#listed = NONE
    const reply = await this.#ask('buried')
    this.assertOpen()
    const buried = sortedNumbers(joinParts(reply.kind === 'buried' ? reply.parts : []))
    // The snapshot sees all that was buried after its instant. What changed since a base is only what the lists name: the rest
    // of it was buried lately, and written before the base.
    const more = await this.run(
      changes === undefined ? wantedOf(buried, options) : common(found.buried, buried),
    )
    return { visible: await this.run(union(found.unburied, more)), buried }
  }

  #sortListed(): void {
    if (this.#changes !== undefined) this.#listed = sortedNumbers(joinParts(this.#changes.parts))
  }

  /** Runs work that reads the log in slices; rejects with `CLOSED` when nothing may be read any more. */
  async run<Result>(work: SlicedWork<Result>): Promise<Result> {
    this.assertOpen()
    const result = await runSliced(work, () => this.assertOpen())
    this.assertOpen()
    return result
  }

  /** Nothing is read from here on: the lending thread may reuse the memory. Idempotent. */
  end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    for (const { reject } of this.#waiting.splice(0)) reject(closed())
    this.#port.close()
  }

  *#walk(options: WalkOptions): SlicedWork<{ unburied: Uint32Array; buried: Uint32Array }> {
    const unburied = yield* unburiedAddresses(this.#segments, options)
    return { unburied, buried: new Uint32Array(0) }
  }

  /** Of sorted addresses, those in the shared segments whose entries were written after an epoch, each once. */
  *#changed(
    listed: Uint32Array,
    sinceEpoch: number,
    { onFound }: WalkOptions,
  ): SlicedWork<{ unburied: Uint32Array; buried: Uint32Array }> {
    const unburied = new Uint32List()
    const buried = new Uint32List()
    const found = new Uint32Array(TOUCHED_ENTRIES)
    for (let start = 0; start < listed.length; start += STEP) {
      yield
      const end = Math.min(start + STEP, listed.length)
      for (let from = start; from < end; from += TOUCHED_ENTRIES) {
        const until = Math.min(from + TOUCHED_ENTRIES, end)
        this.#touch(listed, from, until)
        const count = this.#findChanged(listed, from, until, sinceEpoch, found)
        onFound?.(found, count)
        for (let i = 0; i < count; i++) {
          const address = found[i] as number
          if (this.entries.isBuried(address)) buried.push(address)
          else unburied.push(address)
        }
      }
    }
    return { unburied: unburied.toArray(), buried: buried.toArray() }
  }

  /** Those of a stretch of sorted addresses that have changed, into `found`; returns how many. A function: V8 throws compiled generators away. */
  #findChanged(
    listed: Uint32Array,
    from: number,
    until: number,
    sinceEpoch: number,
    found: Uint32Array,
  ): number {
    let count = 0
    for (let i = from; i < until; i++) {
      const address = listed[i] as number
      if (i > 0 && address === listed[i - 1]) continue
      if (this.#isShared(address) && this.entries.epoch(address) > sinceEpoch) found[count++] = address
    }
    return count
  }

  /** Brings near those of some addresses that are in the shared segments. */
  #touch(addresses: Uint32Array, from: number, until: number): void {
    for (let i = from; i < until; i++) if (!this.#isShared(addresses[i] as number)) return
    this.entries.touchKeys(addresses, from, until)
  }

  /** A segment in which nothing lives is not shared, and of the others only what was filled. */
  #isShared(address: number): boolean {
    return (address & OFFSET_MASK) < (this.#segments.usedUnits[address >>> OFFSET_BITS] ?? 0)
  }

  #ask(request: ShareRequest): Promise<ShareReply> {
    return new Promise((resolve, reject) => {
      if (this.#hasEnded) {
        reject(closed())
        return
      }
      this.#waiting.push({ resolve, reject })
      this.#port.postMessage(request)
    })
  }
}

function closed(): StateError {
  return new StateError('CLOSED', { component: 'snapshot' })
}

/** Those of some addresses that are wanted, which are told of as a walk would. */
function* wantedOf(addresses: Uint32Array, { isWanted, onFound }: WalkOptions): SlicedWork<Uint32Array> {
  if (isWanted === undefined && onFound === undefined) return addresses
  const wanted = new Uint32List()
  for (let i = 0; i < addresses.length; i++) {
    if (i % STEP === 0) yield
    const address = addresses[i] as number
    if (isWanted === undefined || isWanted(address)) wanted.push(address)
  }
  const all = wanted.toArray()
  for (let start = 0; start < all.length; start += STEP) {
    const part = all.subarray(start, start + STEP)
    onFound?.(part, part.length)
    yield
  }
  return all
}

/** What is in both of two ascending arrays. */
function* common(left: Uint32Array, right: Uint32Array): SlicedWork<Uint32Array> {
  const both = new Uint32List()
  let l = 0
  for (let r = 0; r < right.length; r++) {
    if (r % STEP === 0) yield
    const item = right[r] as number
    while (l < left.length && (left[l] as number) < item) l++
    if (l < left.length && left[l] === item) both.push(item)
  }
  return both.toArray()
}

/** What is in either of two ascending arrays, each item once: an array of its own. */
export function* union(left: Uint32Array, right: Uint32Array): SlicedWork<Uint32Array> {
  if (right.length === 0) return left.slice()
  const all = new Uint32Array(left.length + right.length)
  let length = 0
  let l = 0
  let r = 0
  while (l < left.length || r < right.length) {
    if (length % STEP === 0) yield
    const fromLeft = l < left.length ? (left[l] as number) : Infinity
    const fromRight = r < right.length ? (right[r] as number) : Infinity
    all[length++] = Math.min(fromLeft, fromRight)
    if (fromLeft <= fromRight) l++
    if (fromRight <= fromLeft) r++
  }
  return all.subarray(0, length)
}
