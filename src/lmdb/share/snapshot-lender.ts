import type { ChangeBase } from '../../backend/shared-snapshot.js'
import type { HashKey } from '../../log/index/key-hash.js'
import type { Generation } from '../buffer/generation.js'
import { ChangedKeys } from './changed-keys.js'
import { LentSnapshot, type ShareSource } from './lent-snapshot.js'
import { ReaderGate } from './reader-gate.js'

export interface SharingHost {
  readonly hashKey: HashKey
  /** Memory for the keys that changed since a base, in bytes. */
  readonly maxBytes: number
  dataPath(): string
  /** Keeps what was written so far apart from what comes; returns all of it that is not committed yet. */
  seal(): readonly Generation[]
  /** No commit may begin until the gate is open. */
  waitFor(gate: ReaderGate): void
}

/** What an engine does for snapshots that are read in other threads, and for telling what has changed between them. */
export class SnapshotLender {
  readonly #host: SharingHost
  readonly #bases = new Set<ChangedKeys>()

  constructor(host: SharingHost) {
    this.#host = host
  }

  trackChanges(): ChangedKeys {
    const { hashKey, maxBytes } = this.#host
    const base = new ChangedKeys(this.#host.seal(), maxBytes, hashKey, () => this.#bases.delete(base))
    this.#bases.add(base)
    return base
  }

  /** A key was committed. */
  noteChanged(generation: Generation, bytes: Uint8Array, start: number, length: number): void {
    for (const base of this.#bases) base.add(generation, bytes, start, length)
  }

  /** Everything has changed. */
  forgetBases(): void {
    for (const base of this.#bases) base.forget()
  }

  /**
   * Lends a snapshot that was taken in this very step to another thread: all of it, or what has changed since a base;
   * `undefined` where that cannot be done.
   */
  share(source: ShareSource, since: ChangeBase | undefined): LentSnapshot | undefined {
    const changedKeys = since instanceof ChangedKeys ? since.share() : undefined
    if (since !== undefined && changedKeys === undefined) return undefined
    const store = { dataPath: this.#host.dataPath() }
    return LentSnapshot.open(source, store, changedKeys, () => {
      const gate = new ReaderGate()
      this.#host.waitFor(gate)
      return gate
    })
  }
}
