import { isStateError, StateError } from '../../base/errors.js'
import { waitForOwner } from '../../base/wait-for-owner.js'
import type { CheckpointCatalog } from '../archive/checkpoint-catalog.js'
import { LeasedStorage, releaseOwner } from '../archive/leased-storage.js'
import type { Logger, OwnershipOptions } from '../types.js'

/**
 * A coordinator's standing in its storage: not yet the owner, the owner, or one that was and is fenced off.
 *
 * (1) The lease is taken when it is first needed, and kept.
 * (2) Who has lost it never takes it back by itself: two coordinators would push each other out for ever.
 */
export class LeaseKeeper {
  readonly #catalog: CheckpointCatalog
  readonly #logger: Logger
  readonly #onLost: () => void
  #owner: LeasedStorage | undefined
  #fenced: StateError<'FENCED'> | undefined
  #everOwned = false
  #releasing: Promise<void> | undefined

  constructor(catalog: CheckpointCatalog, logger: Logger, onLost: () => void) {
    this.#catalog = catalog
    this.#logger = logger
    this.#onLost = onLost
  }

  /** The owner, where it is at hand without waiting. */
  get held(): LeasedStorage | undefined {
    return this.#fenced === undefined ? this.#owner : undefined
  }

  /** It has become the owner, and has not let go of it; another one may have taken over. */
  get holds(): boolean {
    return this.#owner !== undefined
  }

  /** It was the owner, and another one has taken over. */
  get lost(): boolean {
    return this.#fenced !== undefined && this.#everOwned
  }

  /** It asked and was turned away, and has never been the owner. */
  get refused(): boolean {
    return this.#fenced !== undefined && !this.#everOwned
  }

  /** Resolves while the lease is held, as the storage says now. */
  async check(): Promise<void> {
    const owner = this.#owner
    if (this.#fenced !== undefined) throw new StateError('FENCED', this.#fenced.details)
    if (owner === undefined) {
      const resource = this.#catalog.storage.name
      throw new StateError('FENCED', { resource, owner: 'nobody: it was not acquired' })
    }
    await this.guard(owner, () => owner.check())
  }

  /** The owner, which this becomes where it is not. `FENCED` while somebody else is, and after the lease was lost. */
  async acquire(options: OwnershipOptions = {}): Promise<LeasedStorage> {
    const { waitForOwnerMs = 0, takeOver = false } = options
    if (this.#fenced !== undefined && this.#everOwned) throw new StateError('FENCED', this.#fenced.details)
    if (this.#owner !== undefined) return this.#owner
    // Until the storage has heard that the former lease is let go of, it is a living owner's.
    await this.#releasing
    try {
      const acquire = () => LeasedStorage.acquire(this.#catalog, this.#logger, { takeOver })
      this.#owner = await waitForOwner(acquire, waitForOwnerMs)
    } catch (error) {
      if (isStateError(error, 'FENCED')) this.#fenced = error
      throw error
    }
    this.#fenced = undefined
    this.#everOwned = true
    return this.#owner
  }

  /** As {@link acquire}, also after the lease was lost: somebody decided that this one shall own it again. */
  async acquireAgain(options: OwnershipOptions | undefined): Promise<LeasedStorage> {
    if (this.lost) {
      await this.release()
      this.#fenced = undefined
    }
    return await this.acquire(options)
  }

  /** Does something as the owner. Where it fails because the lease is lost, it says so, and nothing is written from then on. */
  async guard<T>(owner: LeasedStorage, action: () => Promise<T>): Promise<T> {
    try {
      return await action()
    } catch (error) {
      const failure = await owner.reasonFor(error)
      if (isStateError(failure, 'FENCED')) await this.#noteIfLost(owner)
      throw failure
    }
  }

  /** Lets the next owner in. A lease that cannot be released is only logged: it must not hide what happened before. */
  async release(): Promise<void> {
    const owner = this.#owner
    this.#owner = undefined
    if (owner === undefined) return await this.#releasing
    const releasing = releaseOwner(owner, this.#logger).finally(() => {
      if (this.#releasing === releasing) this.#releasing = undefined
    })
    this.#releasing = releasing
    await releasing
  }

  /** FENCED may also mean that a name was taken; the lease decides. */
  async #noteIfLost(owner: LeasedStorage): Promise<void> {
    try {
      await owner.check()
    } catch (error) {
      if (!isStateError(error, 'FENCED')) return
      // It was let go of meanwhile: what is lost of it says nothing of the one that came after.
      if (this.#owner !== owner) return
      this.#fenced = error
      const fields = { storage: this.#catalog.storage.name, owner: error.details.owner }
      this.#logger.error(fields, 'another owner has taken over the storage: no more checkpoints')
      this.#onLost()
    }
  }
}
