/** Where memory of segments comes from that are all of one size. */
export interface SegmentSource {
  readonly segmentBytes: number
  /** Memory that nobody else uses; `undefined`: there is none at hand, and new one is made. */
  take(): SharedArrayBuffer | undefined
  /** Nobody reads or writes it any more, in any thread. */
  give(buffer: SharedArrayBuffer): void
}

/**
 * Memory of logs that are gone, for logs that come: shared memory that nobody uses any more is only given back when the
 * garbage collector of every thread that has seen it happens to run, and nothing makes them hurry. Logs of one pool have
 * segments of one size.
 */
export class SegmentPool implements SegmentSource {
  readonly segmentBytes: number
  readonly #most: number
  readonly #free: SharedArrayBuffer[] = []

  /** Keeps at most `maxBytes`; what is more is left to the garbage collector. `segmentBytes` is a power of two. */
  constructor(maxBytes: number, segmentBytes: number) {
    this.segmentBytes = segmentBytes
    this.#most = Math.floor(maxBytes / segmentBytes)
  }

  /** Its bytes are what they were before. */
  take(): SharedArrayBuffer | undefined {
    return this.#free.pop()
  }

  /** Nobody reads or writes it any more, in any thread. */
  give(buffer: SharedArrayBuffer): void {
    if (buffer.byteLength === this.segmentBytes && this.#free.length < this.#most) this.#free.push(buffer)
  }
}
