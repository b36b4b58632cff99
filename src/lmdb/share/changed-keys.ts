import type { ChangeBase } from '../../backend/state-snapshot.js'
import { HashLog } from '../../log/hash-log.js'
import type { HashKey } from '../../log/index/key-hash.js'
import type { SharedSegment } from '../../log/segment-table.js'

const NO_VALUE = new Uint8Array(0)
/** What the index takes for a key, about. */
const INDEX_BYTES = 12

/**
 * The keys of everything committed since an instant, and maybe a few more, in bounded memory: where they would need more, it
 * forgets them all and is no base any longer.
 */
export class ChangedKeys implements ChangeBase {
  /** What was written before the instant and is not committed yet. */
  readonly #earlier: ReadonlySet<object>
  readonly #maxBytes: number
  readonly #onReleased: (base: ChangedKeys) => void
  #log: HashLog | undefined

  constructor(
    earlier: readonly object[],
    maxBytes: number,
    hashKey: HashKey,
    onReleased: (base: ChangedKeys) => void,
  ) {
    this.#earlier = new Set(earlier)
    this.#maxBytes = maxBytes
    this.#onReleased = onReleased
    this.#log = new HashLog({
      maxBytes: Infinity,
      hashKey,
      now: () => 0,
      besideBytes: () => 0,
      onExpired: () => {},
    })
  }

  /** It can still tell. */
  get isKnown(): boolean {
    return this.#log !== undefined
  }

  /** A key of a generation was committed. */
  add(generation: object, bytes: Uint8Array, start: number, length: number): void {
    const log = this.#log
    if (log === undefined || this.#earlier.has(generation) || log.seek(bytes, start, length) !== 0) return
    log.write(0, NO_VALUE, 0, 0, Infinity)
    if (log.usedBytes + log.keys * INDEX_BYTES > this.#maxBytes) this.forget()
  }

  /** The keys so far, for another thread; undefined where they are not known. */
  share(): SharedSegment[] | undefined {
    return this.#log?.share()
  }

  /** What has changed cannot be told any more. */
  forget(): void {
    this.#log = undefined
  }

  release(): void {
    this.forget()
    this.#onReleased(this)
  }
}
