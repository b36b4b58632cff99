import { StateError } from '../../base/errors.js'
import type { ObjectReader } from '../../storage/checkpoint-storage.js'

/** How much of an object is asked for before it is needed. */
export interface ReadAheadLimits {
  /** Bytes that one read asks for. */
  readonly pieceBytes: number
  /** Reads that are under way or waiting to be taken, at a time. */
  readonly pieces: number
}

/** What one stream that is read alone asks for: enough for 40 MiB a second from a storage that takes 50 ms to answer. */
export const READ_AHEAD: ReadAheadLimits = { pieceBytes: 512 * 1024, pieces: 4 }

const MIN_PIECE_BYTES = 64 * 1024

/** What each of several streams asks for that are read side by side, so that all of them take about as much as one. */
export function readAheadOfEach(streams: number): ReadAheadLimits {
  const { pieceBytes, pieces } = READ_AHEAD
  return { pieceBytes: Math.max(MIN_PIECE_BYTES, Math.floor(pieceBytes / Math.max(1, streams))), pieces }
}

/**
 * One stretch of an object, taken from its beginning to its end in lengths that are known only on the way. The object is read in
 * pieces, of which several are under way at a time: a storage far away costs the time of a round trip once, not once a block.
 */
export class ReadAhead {
  readonly #object: ObjectReader
  readonly #end: number
  readonly #limits: ReadAheadLimits
  readonly #pieces: Promise<Uint8Array>[] = []
  #asked: number
  #piece: Uint8Array = new Uint8Array(0)
  #taken = 0
  /** Where in the object the next byte to be taken is. */
  position: number

  constructor(object: ObjectReader, start: number, end: number, limits: ReadAheadLimits = READ_AHEAD) {
    this.#object = object
    this.#end = end
    this.#limits = limits
    this.#asked = start
    this.position = start
  }

  /** The next bytes, in memory that nobody writes to. The caller asks for no more than the stretch has. */
  async take(length: number): Promise<Uint8Array> {
    if (this.#piece.length - this.#taken < length) await this.#collect(length)
    const bytes = this.#piece.subarray(this.#taken, this.#taken + length)
    this.#taken += length
    this.position += length
    return bytes
  }

  /** Resolves when no read is under way any more. Never rejects. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#pieces)
  }

  /** Makes the current piece one that begins with the next `length` bytes. */
  async #collect(length: number): Promise<void> {
    const parts = [this.#piece.subarray(this.#taken)]
    let bytes = parts[0]?.length ?? 0
    this.#ask()
    while (bytes < length) {
      const next = this.#pieces[0]
      if (next === undefined) throw beyond(this.position + length, this.#end)
      const part = await next
      this.#pieces.shift()
      this.#ask()
      parts.push(part)
      bytes += part.length
    }
    const filled = parts.filter((part) => part.length > 0)
    this.#piece = filled.length === 1 && filled[0] !== undefined ? filled[0] : Buffer.concat(filled)
    this.#taken = 0
  }

  #ask(): void {
    while (this.#pieces.length < this.#limits.pieces && this.#asked < this.#end) {
      const length = Math.min(this.#limits.pieceBytes, this.#end - this.#asked)
      const piece = this.#object.read(this.#asked, length)
      // A failure is met when the piece's turn comes; until then, and if it never comes, it is not unhandled.
      piece.catch(() => {})
      this.#pieces.push(piece)
      this.#asked += length
    }
  }
}

function beyond(wanted: number, end: number): StateError<'CORRUPTION'> {
  const reason = `bytes up to ${wanted} were asked for, and the stretch ends at ${end}`
  return new StateError('CORRUPTION', { what: 'stretch of an object', reason })
}
