import type { FilePosition } from '../events.js'

const LINE_FEED = 10
const CARRIAGE_RETURN = 13

/**
 * Follows a parser through a file: it is given every chunk that the parser is given, and tells the line number of any
 * later byte by counting line feeds. Chunks are let go as soon as the position has passed them.
 */
export class LineCounter {
  readonly #chunks: Buffer[] = []
  /** Offset of the first chunk's first byte. */
  #chunksStart: number
  #byteOffset: number
  #line: number

  constructor(start: FilePosition) {
    this.#chunksStart = start.byteOffset
    this.#byteOffset = start.byteOffset
    this.#line = start.line
  }

  get position(): FilePosition {
    return { byteOffset: this.#byteOffset, line: this.#line }
  }

  add(chunk: Buffer): void {
    this.#chunks.push(chunk)
  }

  /** Moves on to a byte that was added. */
  advanceTo(byteOffset: number): void {
    for (let chunk = this.#chunks[0]; chunk !== undefined; chunk = this.#chunks[0]) {
      const until = Math.min(byteOffset - this.#chunksStart, chunk.length)
      this.#countLines(chunk, this.#byteOffset - this.#chunksStart, until)
      this.#byteOffset = this.#chunksStart + until
      if (until < chunk.length) return
      this.#chunksStart += chunk.length
      this.#chunks.shift()
    }
  }

  /** Moves past blank lines, if the position is before some. */
  skipBlankLines(): void {
    for (;;) {
      const first = this.#byteAt(this.#byteOffset)
      const second = first === CARRIAGE_RETURN ? this.#byteAt(this.#byteOffset + 1) : undefined
      if (first === LINE_FEED) this.advanceTo(this.#byteOffset + 1)
      else if (second === LINE_FEED) this.advanceTo(this.#byteOffset + 2)
      else return
    }
  }

  #byteAt(byteOffset: number): number | undefined {
    let start = this.#chunksStart
    for (const chunk of this.#chunks) {
      if (byteOffset < start + chunk.length) return chunk[byteOffset - start]
      start += chunk.length
    }
    return undefined
  }

  #countLines(chunk: Buffer, from: number, until: number): void {
    let at = chunk.indexOf(LINE_FEED, from)
    while (at !== -1 && at < until) {
      this.#line++
      at = chunk.indexOf(LINE_FEED, at + 1)
    }
  }
}
