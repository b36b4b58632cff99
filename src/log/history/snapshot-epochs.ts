import { assert } from '../../base/assert.js'
import { StateError } from '../../base/errors.js'

/** Epochs end where they would no longer fit the 31 bits that an entry has for them. */
const LAST_EPOCH = 2 ** 31 - 1
/** From here on, epochs start again at the first moment without open snapshots. */
const RENUMBER_FROM = 2 ** 30

/** The current epoch, and the epochs that open snapshots see. */
export class SnapshotEpochs {
  /** Stamped on every write; at least 1. */
  current = 1
  /** Epoch of the newest open snapshot; 0: none is open. What was written in it or before must not change. */
  newest = 0
  /** Epoch of the oldest open snapshot; Infinity: none is open. */
  oldest: number = Infinity
  /** Something was written in the current epoch: the next snapshot must end it. */
  dirty = false
  /** Epochs of all open snapshots, ascending; an epoch is there once for each. */
  readonly #open: number[] = []

  get openCount(): number {
    return this.#open.length
  }

  /** Few epochs are left, and no snapshot depends on their numbers. */
  get shouldRenumber(): boolean {
    return this.current >= RENUMBER_FROM && this.#open.length === 0
  }

  /** Starts again, after every entry was stamped with epoch 1. */
  renumbered(): void {
    this.current = 2
    this.dirty = false
  }

  /**
   * Opens a snapshot of what was written so far and returns its epoch. Throws `TRANSACTION_FAILED` where no epoch is left
   * and an open snapshot keeps them from starting again.
   */
  open(): number {
    if (this.current >= LAST_EPOCH) {
      throw new StateError('TRANSACTION_FAILED', {
        operation: 'a snapshot',
        reason: 'a snapshot has been open for two billion others; close it first',
      })
    }
    const epoch = this.dirty ? this.current : this.current - 1
    if (this.dirty) {
      this.current++
      this.dirty = false
    }
    this.#open.push(epoch)
    this.#update()
    return epoch
  }

  /** Opens one more snapshot of an epoch that one is open of. */
  openAgain(epoch: number): void {
    const place = this.#open.indexOf(epoch)
    assert(place >= 0, 'a snapshot of the epoch is open')
    this.#open.splice(place, 0, epoch)
  }

  /** The newest open snapshot of an epoch below this one; 0: there is none. */
  newestBelow(epoch: number): number {
    for (let place = this.#open.length - 1; place >= 0; place--) {
      if ((this.#open[place] as number) < epoch) return this.#open[place] as number
    }
    return 0
  }

  isOpen(epoch: number): boolean {
    return this.#open.includes(epoch)
  }

  close(epoch: number): void {
    const place = this.#open.indexOf(epoch)
    if (place >= 0) this.#open.splice(place, 1)
    this.#update()
  }

  #update(): void {
    this.newest = this.#open.at(-1) ?? 0
    this.oldest = this.#open[0] ?? Infinity
  }
}
