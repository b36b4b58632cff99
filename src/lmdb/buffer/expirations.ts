import type { Listeners } from '../../base/events.js'
import type { LmdbStateBackendEvents } from '../types.js'

/** Counts the entries whose time to live ended, and tells of them when the call at hand is done. */
export class Expirations {
  count = 0
  readonly #listeners: Listeners<LmdbStateBackendEvents>
  #keys: Uint8Array[] = []

  constructor(listeners: Listeners<LmdbStateBackendEvents>) {
    this.#listeners = listeners
  }

  add(key: () => Uint8Array): void {
    this.count++
    if (this.#listeners.has('expired')) this.#keys.push(key())
  }

  emit(): void {
    if (this.#keys.length === 0) return
    const keys = this.#keys
    this.#keys = []
    this.#listeners.emit('expired', { keys })
  }

  /** The same when the synchronous step at hand is over, until when what a call has shown in a slot must not move. */
  emitLater(): void {
    if (this.#keys.length > 0) queueMicrotask(() => this.emit())
  }
}
