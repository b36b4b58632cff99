// What was written and is not yet part of the view of the store that reads go to, newest generation first.
//
// (1) Writes go to the active generation. To commit, it is frozen, and a new one takes its place.
// (2) A key's newest version is in the first generation that has the key. A cleared generation hides all below it.
// (3) A frozen generation is dropped only after the view of the store below it shows what it held.

import type { FoundEntry } from './found-entry.js'
import { Generation, type GenerationOptions } from './generation.js'

type BufferOptions = Omit<GenerationOptions, 'cleared' | 'expectedKeys'>

export class WriteBuffer {
  readonly #options: BufferOptions
  #active: Generation
  /** Newest first. */
  #frozen: readonly Generation[] = []
  /** Called before the active generation is frozen. */
  onFreeze: () => void = () => {}

  constructor(options: BufferOptions) {
    this.#options = options
    this.#active = this.#begin(false)
  }

  get active(): Generation {
    return this.#active
  }

  get frozen(): readonly Generation[] {
    return this.#frozen
  }

  get isEmpty(): boolean {
    return this.#active.isEmpty && this.#frozen.length === 0
  }

  /** Keys that await their commit, deleted ones included. */
  get keys(): number {
    let keys = this.#active.log.keys
    for (const { log } of this.#frozen) keys += log.keys
    return keys
  }

  get bytes(): number {
    return this.#frozen.reduce((sum, { bytes }) => sum + bytes, this.#active.bytes)
  }

  /** Bytes of entries: about what the store grows by at most when all of this is written. */
  get usedBytes(): number {
    let bytes = this.#active.log.usedBytes
    for (const { log } of this.#frozen) bytes += log.usedBytes
    return bytes
  }

  /**
   * The generations that a reader looks through, newest first, the active one in any case, and whether the store below them
   * is hidden.
   */
  layers(): { readonly generations: readonly Generation[]; readonly opaque: boolean } {
    const generations: Generation[] = []
    for (const generation of [this.#active, ...this.#frozen]) {
      if (generation.keys > 0 || generation === this.#active) generations.push(generation)
      if (generation.cleared) return { generations, opaque: true }
    }
    return { generations, opaque: false }
  }

  /** No key below the buffer shows through. */
  get opaque(): boolean {
    return this.#active.cleared || this.#frozen.some(({ cleared }) => cleared)
  }

  /** Finds a key's newest version; false where the buffer does not know the key. */
  find(bytes: Uint8Array, start: number, length: number, found: FoundEntry): boolean {
    const { log, cleared } = this.#active
    if (log.keys > 0 && found.at(log, log.seek(bytes, start, length))) return true
    return this.#frozen.length > 0 && !cleared && this.findBelow(bytes, start, length, found)
  }

  /** Like `find`, below the active generation. */
  findBelow(bytes: Uint8Array, start: number, length: number, found: FoundEntry): boolean {
    if (this.#active.cleared) return false
    for (const { log, cleared } of this.#frozen) {
      if (found.at(log, log.seek(bytes, start, length))) return true
      if (cleared) return false
    }
    return false
  }

  /** Ends the active generation and returns it. */
  freeze(): Generation {
    this.onFreeze()
    const frozen = this.#active
    this.#frozen = [frozen, ...this.#frozen]
    this.#active = this.#begin(false, frozen.keys)
    return frozen
  }

  /** A generation that is no part of the buffer until it is adopted. */
  aside(): Generation {
    return this.#begin(false)
  }

  /** Puts a generation that was filled aside above all others; returns what is frozen by that, oldest first. */
  adopt(generation: Generation): readonly Generation[] {
    this.onFreeze()
    const former = this.#active
    const frozen = former.isEmpty ? [generation] : [former, generation]
    this.#frozen = [...frozen.toReversed(), ...this.#frozen]
    if (!former.isEmpty) this.#active = this.#begin(false, former.keys)
    return frozen
  }

  /** Forgets a frozen generation. */
  drop(generation: Generation): void {
    this.#frozen = this.#frozen.filter((each) => each !== generation)
    generation.release()
  }

  /** Begins an active generation below which nothing shows through; whoever waited for the former waits for this one. */
  clear(): void {
    const former = this.#active
    this.#active = this.#begin(true)
    this.#active.adopt(former)
    former.release()
  }

  /** Forgets everything: the store below was replaced, and whoever waited for it to be durable has what was asked for. */
  reset(): void {
    for (const generation of [this.#active, ...this.#frozen]) {
      generation.settle()
      generation.release()
    }
    this.#frozen = []
    this.#active = this.#begin(false)
  }

  #begin(cleared: boolean, expectedKeys = 0): Generation {
    return new Generation({ ...this.#options, cleared, expectedKeys })
  }
}
