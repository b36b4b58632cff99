import { AbstractIterator, type AbstractIteratorOptions, AbstractSnapshot } from 'abstract-level'
import { compareBytes, type SyncStateSnapshot } from '../../engine.js'
import type { Entry, KeyRange } from '../../index.js'
import type { KeySpace } from '../shared/key-space.js'

/** What abstract-level hands on of the options of an iterator, keys encoded. */
export interface EncodedRange {
  readonly gt?: Buffer
  readonly gte?: Buffer
  readonly lt?: Buffer
  readonly lte?: Buffer
  readonly reverse: boolean
  /** -1: none. */
  readonly limit: number
}

/** The bytes of an array as a `Buffer`, without a copy. */
export function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

/**
 * The bounds of a range. Where both a closed and an open bound are named, abstract-level means the closed one, and of that only
 * `undefined` keys are no bounds at all.
 */
export function keyRangeOf({ gt, gte, lt, lte }: EncodedRange): KeyRange {
  return {
    ...(gte === undefined ? (gt === undefined ? {} : { gt }) : { gte }),
    ...(lte === undefined ? (lt === undefined ? {} : { lt }) : { lte }),
  }
}

/** One instant that a user holds: `db.snapshot()`. */
export class LevelSnapshot extends AbstractSnapshot {
  readonly state: SyncStateSnapshot

  constructor(options: object, take: () => SyncStateSnapshot) {
    // First the owner is looked at: what it refuses holds nothing.
    super(...([options] as unknown as []))
    this.state = take()
  }

  async _close(): Promise<void> {
    // Where none could be taken, the database knows this snapshot nevertheless, and closes it with itself.
    this.state?.closeSync()
  }
}

/**
 * Walks through one instant of the backend, in either direction. A seek is another walk through the same instant: nothing that lies
 * between is looked at.
 */
export class LevelIterator<Database, K, V> extends AbstractIterator<Database, K, V> {
  readonly #snapshot: SyncStateSnapshot | undefined
  readonly #ownsSnapshot: boolean
  /** Why there is no instant to walk through: each step rejects with it. */
  readonly #refused: unknown
  readonly #space: KeySpace
  readonly #range: KeyRange
  readonly #reverse: boolean
  #walk: AsyncIterator<Entry> | undefined
  /** Where the walk begins anew. */
  #sought: Buffer | undefined
  /** Settles when walks that were left have let go of the instant. */
  #left: Promise<unknown> = Promise.resolve()

  constructor(
    database: Database,
    options: AbstractIteratorOptions<K, V> & EncodedRange,
    space: KeySpace,
    take: () => SyncStateSnapshot,
  ) {
    super(database, options)
    const held = snapshotOf(options)
    this.#ownsSnapshot = held === undefined
    // Not thrown here: iterators of keys and values that abstract-level has begun around this one could not be closed any more.
    try {
      this.#snapshot = held ?? take()
    } catch (error) {
      this.#refused = error
    }
    this.#space = space
    this.#range = keyRangeOf(options)
    this.#reverse = options.reverse
  }

  async _next(): Promise<[Buffer, Buffer] | undefined> {
    this.#walk ??= this.#begin()
    const step = await this.#walk.next()
    if (step.done === true) return undefined
    const [key, value] = step.value
    return [asBuffer(this.#space.own(key)), asBuffer(value)]
  }

  _seek(target: Buffer): void {
    this.#stop()
    this.#sought = target
  }

  async _close(): Promise<void> {
    this.#stop()
    await this.#left
    if (this.#ownsSnapshot) this.#snapshot?.closeSync()
  }

  #begin(): AsyncIterator<Entry> {
    const snapshot = this.#snapshot
    if (snapshot === undefined) throw this.#refused
    const sought = this.#sought
    const direction = { reverse: this.#reverse }
    if (sought === undefined) return snapshot.scan({ ...this.#space.range(this.#range), ...direction })
    const { gt, gte, lt, lte } = this.#range
    // The target takes the place of the bound that the walk starts from. Where it lies before that one, it is out of range, and
    // so is everything: abstract-level has it that way.
    const isOutside = this.#reverse
      ? (lte !== undefined && compareBytes(sought, lte) > 0) ||
        (lt !== undefined && compareBytes(sought, lt) >= 0)
      : (gte !== undefined && compareBytes(sought, gte) < 0) ||
        (gt !== undefined && compareBytes(sought, gt) <= 0)
    if (isOutside) return snapshot.scan({ limit: 0 })
    const range = this.#reverse
      ? { ...(gt && { gt }), ...(gte && { gte }), lte: sought }
      : { ...(lt && { lt }), ...(lte && { lte }), gte: sought }
    return snapshot.scan({ ...this.#space.range(range), ...direction })
  }

  #stop(): void {
    const walk = this.#walk
    this.#walk = undefined
    if (walk?.return !== undefined) this.#left = Promise.all([this.#left, walk.return()])
  }
}

/** The instant that a read is to see; `undefined`: the present. */
export function snapshotOf(options: object): SyncStateSnapshot | undefined {
  const snapshot = (options as { readonly snapshot?: LevelSnapshot }).snapshot
  return snapshot === undefined || snapshot === null ? undefined : snapshot.state
}
