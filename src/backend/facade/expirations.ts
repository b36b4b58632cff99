import { nextTurn } from '../../base/slices.js'
import type { ExpiryEvents } from '../types.js'

/** Of `Listeners`, what telling takes. */
export interface ExpiryListeners {
  has(name: 'expired'): boolean
  emit(name: 'expired', event: ExpiryEvents['expired']): void
}

/**
 * Counts the entries whose time to live ended, and tells listeners of them as {@link ExpiryEvents} promises. The engine adds them
 * as it removes or overwrites them, and calls `tell` where a listener may use the backend: after a write (`afterWrite`), or
 * between the slices of a sweep. What no `tell` has told by then goes out when the synchronous step at hand is over.
 */
export class Expirations {
  count = 0
  readonly #listeners: ExpiryListeners
  #keys: Uint8Array[] = []
  #isTelling = false
  #isDue = false

  constructor(listeners: ExpiryListeners) {
    this.#listeners = listeners
  }

  /** An entry was removed or overwritten after its time; `key` makes a copy of its key, where somebody listens. */
  add(key: () => Uint8Array): void {
    this.count++
    if (!this.#listeners.has('expired')) return
    this.#keys.push(key())
    if (this.#isDue || this.#isTelling) return
    this.#isDue = true
    queueMicrotask(() => {
      this.#isDue = false
      this.tell()
    })
  }

  /** Tells what was added. What is added in calls of the listeners is told later, so that these are never nested. */
  tell(): void {
    if (this.#keys.length === 0 || this.#isTelling) return
    const keys = this.#keys
    this.#keys = []
    this.#isTelling = true
    // Listeners throw nothing here: their errors surface later.
    this.#listeners.emit('expired', { keys })
    this.#isTelling = false
    if (this.#keys.length > 0) void this.#tellNextTurn()
  }

  /** Others have their turn first: a listener whose calls let something expire each time would never end otherwise. */
  async #tellNextTurn(): Promise<void> {
    await nextTurn()
    this.tell()
  }
}
