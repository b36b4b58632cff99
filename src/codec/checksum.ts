import { createHash, type Hash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { crc32 as zlibCrc32 } from 'node:zlib'

/** How many bytes are summed without letting the event loop run: about half a millisecond of work. */
const SLICE_BYTES = 1024 * 1024

/** CRC-32 as in gzip and PNG (polynomial 0xEDB88320), optionally continued from the sum of what came before. */
export function crc32(bytes: Uint8Array, before = 0): number {
  return zlibCrc32(bytes, before)
}

/** {@link crc32} of bytes of any length, in slices, so that the event loop goes on. */
export async function crc32Sliced(bytes: Uint8Array): Promise<number> {
  if (bytes.length <= SLICE_BYTES) return crc32(bytes)
  let sum = 0
  for (let start = 0; start < bytes.length; start += SLICE_BYTES) {
    sum = crc32(bytes.subarray(start, start + SLICE_BYTES), sum)
    await nextTurn()
  }
  return sum
}

/** SHA-256 of a small byte string, hexadecimal. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** SHA-256 over a file that is seen piece by piece. */
export class RunningSha256 {
  readonly #hash: Hash = createHash('sha256')

  /** Adds bytes, long ones in slices, so that the event loop goes on. They must not change before it resolves. */
  async update(bytes: Uint8Array): Promise<void> {
    if (bytes.length <= SLICE_BYTES) {
      this.#hash.update(bytes)
      return
    }
    for (let start = 0; start < bytes.length; start += SLICE_BYTES) {
      this.#hash.update(bytes.subarray(start, start + SLICE_BYTES))
      await nextTurn()
    }
  }

  /** The digest, hexadecimal; nothing can be added afterwards. */
  digest(): string {
    return this.#hash.digest('hex')
  }
}
