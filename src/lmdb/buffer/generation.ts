import { HashLog } from '../../log/hash-log.js'
import type { HashKey } from '../../log/index/key-hash.js'
import type { SegmentPool } from '../../log/segment-pool.js'
import type { Layer } from './merged-scan.js'

export interface GenerationOptions {
  readonly hashKey: HashKey
  readonly now: () => number
  readonly pool: SegmentPool
  /** Told of each entry whose time has come, when it is swept, overwritten or deleted. */
  readonly onExpired: (key: () => Uint8Array) => void
  /** Everything below this generation was cleared away before its first write. */
  readonly cleared: boolean
  /** Sizes the index: growing it key by key would make single writes wait. */
  readonly expectedKeys: number
}

/** What was written between two commits: the latest version of each key written, tombstones included. */
export class Generation {
  readonly log: HashLog
  readonly cleared: boolean
  /** The write buffer, and snapshots that read it. */
  #users = 1
  /** The time has come to commit it: it is, as soon as a commit can begin. */
  due = false
  /** Resolved when it is on stable storage; whoever waits for it shares this one. */
  readonly #waiting: { resolve: () => void; reject: (error: Error) => void }[] = []

  constructor({ hashKey, now, pool, onExpired, cleared, expectedKeys }: GenerationOptions) {
    this.cleared = cleared
    const log: HashLog = new HashLog({
      maxBytes: Infinity,
      hashKey,
      now,
      besideBytes: () => 0,
      covers: true,
      pool,
      onExpired: (address) => onExpired(() => log.entries.copyKey(address)),
    })
    log.reserve(expectedKeys)
    this.log = log
  }

  /** Keys written, deleted ones included. */
  get keys(): number {
    return this.log.keys
  }

  /** Nothing needs to be committed. */
  get isEmpty(): boolean {
    return !this.cleared && this.log.keys === 0
  }

  /** Somebody waits for it to be committed. */
  get awaited(): boolean {
    return this.#waiting.length > 0
  }

  /** Memory of its entries and their index, in bytes. */
  get bytes(): number {
    return this.log.memory.totalBytes
  }

  retain(): void {
    this.#users++
  }

  /** Its memory is used again once nobody needs it. */
  release(): void {
    if (--this.#users === 0) this.log.dispose()
  }

  committed(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
    })
  }

  /** Takes over from `former`, which it makes void: whoever waited for that one now waits for this one. */
  adopt(former: Generation): void {
    this.due = former.due
    this.#waiting.push(...former.#waiting.splice(0))
  }

  settle(error?: Error): void {
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (error === undefined) resolve()
      else reject(error)
    }
  }
}

/** A generation as it is now; one that is written to no more needs no epoch for that. */
export function layerOf(generation: Generation, isActive: boolean): Layer {
  const { log } = generation
  const epoch = isActive ? log.openSnapshot() : Infinity
  const pins: number[] = []
  generation.retain()
  const hold = () => {
    if (isActive) pins.push(log.pin())
  }
  const release = () => {
    for (const pin of pins.splice(0)) log.unpin(pin)
    if (isActive) log.closeSnapshot(epoch)
    generation.release()
  }
  return { log, epoch, hold, retain: () => layerOf(generation, isActive), release }
}
