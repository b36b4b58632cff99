import { StateError } from '../../base/errors.js'
import type { Generation } from '../buffer/generation.js'
import type { WriteBuffer } from '../buffer/write-buffer.js'
import type { StoreStatus } from './store-status.js'

export interface AdmissionOptions {
  readonly maxBytes: number
  /** What a staged write has filled so far; undefined: none is open. */
  readonly aside: () => Generation | undefined
  /** Removes all that has expired. */
  readonly sweep: () => void
  /** Commits all that waits, and has what was committed taken over; false where something waits all the same. */
  readonly drain: () => boolean
}

/** Lets writes in as long as everything that waits, with them, fits in the store. */
export class Admission {
  readonly #buffer: WriteBuffer
  readonly #status: StoreStatus
  readonly #options: AdmissionOptions

  constructor(buffer: WriteBuffer, status: StoreStatus, options: AdmissionOptions) {
    this.#buffer = buffer
    this.#status = status
    this.#options = options
  }

  /** Makes sure that so many keys, with so many bytes of keys and values, fit in the store; throws `BACKEND_FULL`. */
  assertRoom(keys: number, bytes: number): void {
    if (this.#fits(keys, bytes)) return
    const { maxBytes: capacity, sweep, drain } = this.#options
    // What has expired makes room, also where no timer has a turn.
    sweep()
    // What waits, and what the cache has not taken over yet, may take fewer pages than it might have: look again when all of it is
    // there.
    const isKnown = drain()
    // For the moment in which a compacted file is put in service, which cannot be waited for here, nobody knows how much is
    // used: what is written in it may be beyond `maxBytes`, and the next write is told.
    if (!isKnown || this.#fits(keys, bytes)) return
    // Only what was written in that moment, and a range that was replaced by no more than it held, may take more pages.
    throw new StateError('BACKEND_FULL', { used: Math.min(this.#status.usedBytes, capacity), capacity })
  }

  /** Whether so much fits beside what waits. */
  #fits(keys: number, bytes: number): boolean {
    const aside = this.#options.aside()
    const allKeys = this.#buffer.keys + (aside?.keys ?? 0) + keys
    const allBytes = this.#buffer.usedBytes + (aside?.log.usedBytes ?? 0) + bytes
    return this.#status.fits(allKeys, allBytes)
  }
}
