import { invalidArgument } from '../../engine.js'
import type { KeyRange } from '../../index.js'

const encoder = new TextEncoder()

/**
 * The keys of one adapter among those of others in one backend: each begins with the adapter's prefix and a zero byte, so that no
 * space holds keys of another one, whatever their prefixes begin with. Without a prefix, a space is the whole backend.
 */
export class KeySpace {
  /** What every stored key begins with. */
  readonly start: Uint8Array

  constructor(prefix: string) {
    if (typeof prefix !== 'string' || prefix.includes('\0') || !prefix.isWellFormed()) {
      throw invalidArgument('options.prefix', 'must be well-formed text without zero bytes')
    }
    this.start = encoder.encode(prefix === '' ? '' : `${prefix}\0`)
  }

  /** Whether it is the whole backend. */
  get isWhole(): boolean {
    return this.start.length === 0
  }

  /** The stored form of a key. */
  stored(key: Uint8Array): Uint8Array {
    const { start } = this
    if (this.isWhole) return key
    const stored = new Uint8Array(start.length + key.length)
    stored.set(start)
    stored.set(key, start.length)
    return stored
  }

  /** The stored form of a key that is text; `INVALID_ARGUMENT` where UTF-8 has none: it would be the same for many keys. */
  storedText(key: string): Uint8Array {
    // Callers without types have keys that are numbers, too.
    if (!String(key).isWellFormed()) {
      throw invalidArgument('key', 'must be well-formed text, without halves of characters (lone surrogates)')
    }
    return this.stored(encoder.encode(key))
  }

  /** The key of a stored one: a view of its bytes. */
  own(stored: Uint8Array): Uint8Array {
    return stored.subarray(this.start.length)
  }

  /** A range of keys of this space as one of the backend's. */
  range({ prefix, gt, gte, lt, lte }: KeyRange = {}): KeyRange {
    return {
      prefix: this.stored(prefix ?? new Uint8Array(0)),
      ...(gt === undefined ? {} : { gt: this.stored(gt) }),
      ...(gte === undefined ? {} : { gte: this.stored(gte) }),
      ...(lt === undefined ? {} : { lt: this.stored(lt) }),
      ...(lte === undefined ? {} : { lte: this.stored(lte) }),
    }
  }
}
