import { HashLog } from '../../log/hash-log.js'
import type { ChangeMark } from '../../log/history/change-tracker.js'
import type { HashKey } from '../../log/index/key-hash.js'
import type { SegmentPool } from '../../log/segment-pool.js'
import { Uint32List } from '../../log/uint32-list.js'
import type { LogMark } from '../log/log-identity.js'
import type { Layer } from './merged-scan.js'

const NOTHING = new Uint32Array(0)
const FIRST_ADDRESSES = 16

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
  /** Up to where the store holds the log before it when this is committed: set when it is frozen. */
  mark: LogMark | undefined
  /** What was written up to this base is in the log; undefined: nothing is known to be. */
  #logged: ChangeMark | undefined
  /** Everything in it is in the log, or in the store. */
  #isSafe = false
  /** That everything below it was cleared away is in the log, or in the store. */
  isClearLogged = false
  /** Settled when it is on stable storage, or failed to be: of those that wait for it, and of those that waited for what it has taken over. */
  readonly #waiting: { resolve: () => void; reject: (error: Error) => void }[] = []
  /** Whoever waits for it shares this one. */
  #committed: Promise<void> | undefined

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

  /** The same promise for everybody who asks before it is settled. */
  committed(): Promise<void> {
    this.#committed ??= new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
    })
    return this.#committed
  }

  /** Where the latest versions are of keys that have changed since they were logged last: a few more may be among them. */
  unlogged(): Uint32Array {
    if (this.#isSafe || this.log.keys === 0) return NOTHING
    const { entries, history } = this.log
    const base = this.#logged
    const changed = base === undefined ? undefined : history.changes.since(base)
    if (base === undefined || changed === undefined) {
      const addresses = new Uint32List(FIRST_ADDRESSES)
      const latest = this.log.latestVersions()
      for (let address = latest.next(); address !== 0; address = latest.next()) addresses.push(address)
      return addresses.toArray()
    }
    let listed = 0
    for (const { count } of changed) listed += count
    const addresses = new Uint32Array(listed)
    let length = 0
    for (const { buffer, count } of changed) {
      const list = new Uint32Array(buffer, 0, count)
      for (let i = 0; i < count; i++) {
        const address = list[i] as number
        if (!entries.isBuried(address) && entries.epoch(address) > base.epoch) addresses[length++] = address
      }
    }
    return length === listed ? addresses : addresses.subarray(0, length)
  }

  /** All that is in it now has been logged. `isActive`: it is written to. */
  noteLogged(isActive: boolean): void {
    const { log } = this
    const former = this.#logged
    this.isClearLogged = true
    this.#isSafe = !isActive
    if (isActive) {
      const epoch = log.openSnapshot()
      this.#logged = log.history.trackChanges(epoch)
      log.closeSnapshot(epoch)
    }
    if (former !== undefined) log.history.changes.releaseBase(former)
  }

  /** The store holds it. */
  noteStored(): void {
    this.isClearLogged = true
    this.#isSafe = true
  }

  /** Takes over from `former`, which it makes void: whoever waited for that one now waits for this one. */
  adopt(former: Generation): void {
    this.due = former.due
    this.#waiting.push(...former.#waiting.splice(0))
  }

  settle(error?: Error): void {
    this.#committed = undefined
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
