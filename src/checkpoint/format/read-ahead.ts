import { unwrittenBytes } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import type { ObjectReader, ReadAheadLimits } from '../../storage/checkpoint-storage.js'

/** What one stream that is read alone asks for: enough for 40 MiB a second from a storage that takes 50 ms to answer. */
export const READ_AHEAD: ReadAheadLimits = { pieceBytes: 512 * 1024, pieces: 4 }

const MIN_PIECE_BYTES = 64 * 1024

/**
 * What one of several streams asks for that are read side by side, by its share of all of their bytes (0 to 1): all of them take about as much
 * as one, and the one that most is read of does so in large pieces.
 */
export function readAheadOf(share: number): ReadAheadLimits {
  const { pieceBytes, pieces } = READ_AHEAD
  return { pieceBytes: Math.max(MIN_PIECE_BYTES, Math.floor(pieceBytes * share)), pieces }
}

/**
 * One stretch of an object, taken from its beginning to its end in lengths that are known only on the way. The object is read in
 * pieces, of which several are under way at a time: a storage far away costs the time of a round trip once, not once a block. The
 * object may say how large they are best, and how many; otherwise that is as given.
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
    this.#limits = object.readAhead ?? limits
    this.#asked = start
    this.position = start
  }

  /** The next bytes, in memory that nobody writes to. The caller asks for no more than the stretch has. */
  async take(length: number): Promise<Uint8Array> {
    if (this.#taken === this.#piece.length && length > 0) await this.#turnToNext(length)
    const isInPiece = this.#piece.length - this.#taken >= length
    const bytes = isInPiece ? this.#takeInPiece(length) : await this.#joined(length)
    this.position += length
    return bytes
  }

  /** The next bytes, as many as lie together, one at least and no more than that; for who needs no certain length. */
  async takeSome(most: number): Promise<Uint8Array> {
    if (this.#taken === this.#piece.length && most > 0) await this.#turnToNext(most)
    const bytes = this.#takeInPiece(most)
    this.position += bytes.length
    return bytes
  }

  /** Resolves when no read is under way any more. Never rejects. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#pieces)
  }

  #takeInPiece(length: number): Uint8Array {
    const bytes = this.#piece.subarray(this.#taken, this.#taken + length)
    this.#taken += bytes.length
    return bytes
  }

  /** Bytes that lie in several pieces, in memory of their own. */
  async #joined(length: number): Promise<Uint8Array> {
    const whole = unwrittenBytes(length)
    let at = 0
    for (;;) {
      const part = this.#takeInPiece(length - at)
      whole.set(part, at)
      at += part.length
      if (at === length) return whole
      await this.#turnToNext(length)
    }
  }

  /** `length`: what the caller wants, for the message where there is no more. */
  async #turnToNext(length: number): Promise<void> {
    this.#ask()
    const next = this.#pieces[0]
    if (next === undefined) throw beyond(this.position + length, this.#end)
    this.#piece = await next
    this.#taken = 0
    this.#pieces.shift()
    this.#ask()
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
