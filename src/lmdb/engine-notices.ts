import { diagnostics } from '../base/diagnostics.js'
import type { StateError } from '../base/errors.js'
import type { Listeners } from '../base/events.js'
import type { CommitResult } from './commit/store-writer.js'
import type { LmdbStateBackendEvents } from './types.js'

/** What an engine tells those who listen: to the backend, or to the channels of diagnostics. */
export class EngineNotices {
  readonly #listeners: Listeners<LmdbStateBackendEvents>
  /** What tells this engine from others. */
  readonly #names: { readonly backend: string; readonly path: string }

  constructor(listeners: Listeners<LmdbStateBackendEvents>, backend: string, path: string) {
    this.#listeners = listeners
    this.#names = { backend, path }
  }

  failed(error: StateError): void {
    this.#listeners.emit('failed', { error })
    const heard = diagnostics['holdfast:engine.failed']
    if (heard.hasSubscribers) heard.publish({ ...this.#names, error })
  }

  logUnavailable(error: Error): void {
    this.#listeners.emit('logUnavailable', { error })
    const heard = diagnostics['holdfast:engine.logUnavailable']
    if (heard.hasSubscribers) heard.publish({ ...this.#names, error })
  }

  /** A write has stopped the thread. */
  held(durationMs: number): void {
    const heard = diagnostics['holdfast:engine.held']
    if (heard.hasSubscribers) heard.publish({ ...this.#names, durationMs })
  }

  committed({ records, recordBytes }: CommitResult, durationMs: number): void {
    const heard = diagnostics['holdfast:engine.commit']
    if (heard.hasSubscribers) heard.publish({ ...this.#names, records, recordBytes, durationMs })
  }
}
