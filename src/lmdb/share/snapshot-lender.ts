import type { ChangeBase } from '../../backend/state-snapshot.js'
import type { HashKey } from '../../log/index/key-hash.js'
import type { SharedSegment } from '../../log/segment-table.js'
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

  /** The keys of all that was committed since a base, and maybe a few more; `undefined` where they are not known (any more). */
  changedSince(base: ChangeBase | undefined): readonly SharedSegment[] | undefined {
    return base instanceof ChangedKeys && this.#bases.has(base) ? base.share() : undefined
  }

  /**
   * Lends a snapshot that was taken in this very step to another thread: all of it, or what is under these keys and in the
   * write buffer. `undefined` where something was written since.
   */
  share(source: ShareSource, changedKeys: readonly SharedSegment[] | undefined): LentSnapshot | undefined {
    const store = { dataPath: this.#host.dataPath() }
    return LentSnapshot.open(source, store, changedKeys, () => {
      const gate = new ReaderGate()
      this.#host.waitFor(gate)
      return gate
    })
  }
}
