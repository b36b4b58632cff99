// Memory for segments that is there when it is first written to. The system gives a process the pages of new memory one by one, when each is
// touched for the first time; for a log that is filled at once, that takes a third of the time. Here a thread of the pool touches
// them, while the segment before is being filled.

import { fillWithZeros } from '../files/zeros.js'
import type { SegmentSource } from '../log/segment-pool.js'

export class WarmSegments implements SegmentSource {
  readonly segmentBytes: number
  #warm: SharedArrayBuffer | undefined
  #isWarming = false

  constructor(segmentBytes: number) {
    this.segmentBytes = segmentBytes
  }

  /** Makes the next segment ready, where none is. Nobody waits for it. */
  prepare(): void {
    if (this.#isWarming || this.#warm !== undefined) return
    this.#isWarming = true
    void this.#warmUp().finally(() => {
      this.#isWarming = false
    })
  }

  /** The segment that is ready, if it is: nobody else touches it any more. */
  take(): SharedArrayBuffer | undefined {
    const warm = this.#warm
    this.#warm = undefined
    return warm
  }

  give(): void {}

  /** Never rejects. */
  async #warmUp(): Promise<void> {
    try {
      const buffer = new SharedArrayBuffer(this.segmentBytes)
      // New memory holds zeros: it is touched, and stays as it is.
      await fillWithZeros(new Uint8Array(buffer))
      this.#warm = buffer
    } catch {
      // It was only to be faster.
    }
  }
}
