const WAITING = 0
const BEGUN = 1
const REVOKED = 2

/**
 * Keeps commits from beginning until another thread has begun to read the store as it is now. Whoever waits too long may
 * revoke it: the other thread then learns that it came too late.
 */
export class ReaderGate {
  /** For the other thread, which passes it to {@link passGate}. */
  readonly signal: Int32Array = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  /** Resolves when it is open, or was revoked. */
  readonly opened: Promise<void>
  #resolve: () => void = () => {}

  constructor() {
    this.opened = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  get isOpen(): boolean {
    return Atomics.load(this.signal, 0) !== WAITING
  }

  /** The other thread has told that it has passed. */
  noteOpened(): void {
    this.#resolve()
  }

  /** Opens it without the reader, unless that has passed. */
  revoke(): void {
    Atomics.compareExchange(this.signal, 0, WAITING, REVOKED)
    this.#resolve()
  }
}

/** Called by the reader's thread when its transaction has begun; false: it came too late, and must not read. */
export function passGate(signal: Int32Array): boolean {
  return Atomics.compareExchange(signal, 0, WAITING, BEGUN) === WAITING
}
