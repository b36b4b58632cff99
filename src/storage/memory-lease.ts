import { StateError } from '../base/errors.js'
import type { StorageLease } from './checkpoint-storage.js'

/** The refusal of a memory storage that is owned: its owners can only be in this process. */
export function fencedByToken(token: number | undefined): StateError<'FENCED'> {
  const owner =
    token === undefined
      ? 'nobody any more: the owner was forgotten; acquire a new lease'
      : `another lease in this process (${token}); release that one first`
  return new StateError('FENCED', { resource: 'memory', owner })
}

/** Who owns a memory storage. */
export interface MemoryOwnership {
  /** The newest token ever given. */
  lastToken: number
  /** The token that is held; `undefined` while nobody holds one. */
  heldToken: number | undefined
}

export class MemoryLease implements StorageLease {
  readonly token: number
  readonly #ownership: MemoryOwnership
  #released = false

  constructor(ownership: MemoryOwnership) {
    ownership.lastToken++
    ownership.heldToken = ownership.lastToken
    this.token = ownership.lastToken
    this.#ownership = ownership
  }

  async check(): Promise<void> {
    if (this.#released) throw new StateError('CLOSED', { component: `lease ${this.token}` })
    if (this.#ownership.heldToken !== this.token) throw fencedByToken(this.#ownership.heldToken)
  }

  async release(): Promise<void> {
    this.#released = true
    if (this.#ownership.heldToken === this.token) this.#ownership.heldToken = undefined
  }
}
