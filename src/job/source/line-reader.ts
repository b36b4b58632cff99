// The lines of one file, from an offset on.
//
// position := { offset, last }     offset: bytes in front of the next line, uncompressed
//                                  last: what lies in front of it, so that another file of the same name is not taken for this one

import { createReadStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { StateError } from '../../base/errors.js'
import { crc32 } from '../../codec/checksum.js'
import { storageError } from '../../files/file-failure.js'
import { whatBecameOf } from '../../files/named-file.js'

const CHUNK_BYTES = 256 * 1024
const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d
const QUOTE = 0x22
/** So much in front of a position is summed. */
const LAST_BYTES = 128
const STORAGE = 'file source'

/** Where to go on in a file. A type, not an interface, so that it is JSON to the compiler. */
export type LinePosition = {
  readonly offset: number
  readonly last: { readonly bytes: number; readonly crc32: number }
}

export interface LineReaderOptions {
  readonly path: string
  /** The file is compressed by gzip. */
  readonly isGzip: boolean
  /**
   * The file may still grow: a line without its end is not there yet, and the end of the file is not the end of the lines. It is
   * `STORAGE_ERROR` where what was read is changed, or the path comes to mean another file: its lines would be waited for in vain.
   */
  readonly follow: boolean
  /** A longer line is damage, not a line. */
  readonly maxLineBytes: number
  /** Whether a newline between double quotes is a part of its line, as in CSV (RFC 4180). Default false. */
  readonly isQuoted?: boolean
}

/** Lines that were read together. */
export class Lines {
  readonly #bytes: Uint8Array
  /** Offset of `bytes` in the file. */
  readonly #offset: number
  /** Where each line ends in `bytes`, behind its newline. */
  readonly #ends: readonly number[]

  constructor(bytes: Uint8Array, offset: number, ends: readonly number[]) {
    this.#bytes = bytes
    this.#offset = offset
    this.#ends = ends
  }

  get count(): number {
    return this.#ends.length
  }

  /** A line without its newline. */
  text(place: number): string {
    const start = place === 0 ? 0 : (this.#ends[place - 1] as number)
    let end = this.#ends[place] as number
    if (this.#bytes[end - 1] === NEWLINE) end--
    if (end > start && this.#bytes[end - 1] === CARRIAGE_RETURN) end--
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + start, end - start).toString('utf8')
  }

  positionAfter(place: number): LinePosition {
    const end = this.#ends[place] as number
    const start = place === 0 ? 0 : (this.#ends[place - 1] as number)
    const last = this.#bytes.subarray(Math.max(start, end - LAST_BYTES), end)
    return { offset: this.#offset + end, last: { bytes: last.length, crc32: crc32(last) } }
  }
}

/** Gives the lines of a file in order. One call at a time. */
export class LineReader {
  readonly #options: LineReaderOptions
  readonly #chunks: Chunks
  /** What was read and is no whole line yet. */
  #rest: Uint8Array = new Uint8Array(0)
  /** Offset of `rest` in the file. */
  #offset: number
  /** The file has nothing more to read. */
  #isAtEnd = false

  private constructor(options: LineReaderOptions, chunks: Chunks, offset: number) {
    this.#options = options
    this.#chunks = chunks
    this.#offset = offset
  }

  /** Opens a file at its beginning or at a position. `RESTORE_FAILED` where the file does not have the position any more (J6). */
  static async open(options: LineReaderOptions, position: LinePosition | undefined): Promise<LineReader> {
    const { path, follow } = options
    const chunks = options.isGzip ? new GzipChunks(path) : await PlainChunks.open(path, follow)
    try {
      if (position !== undefined) await goTo(chunks, path, position)
      return new LineReader(options, chunks, position?.offset ?? 0)
    } catch (error) {
      await chunks.close()
      throw error
    }
  }

  /** Whether there is nothing more to come. */
  get hasEnded(): boolean {
    return this.#isAtEnd && this.#rest.length === 0
  }

  /** At most so many lines, as far as they are there; `undefined` where there are none now. */
  async next(maxLines: number): Promise<Lines | undefined> {
    for (;;) {
      const found = this.#take(maxLines)
      if (found !== undefined || this.#isAtEnd) return found
      const chunk = await this.#chunks.next()
      if (chunk.length > 0) {
        this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
        continue
      }
      if (this.#options.follow) return undefined
      this.#isAtEnd = true
    }
  }

  async close(): Promise<void> {
    await this.#chunks.close()
  }

  /** Where the newline of the line is that begins at `start`; -1 where it is not there yet. */
  #lineEnd(start: number): number {
    const bytes = this.#rest
    let newline = bytes.indexOf(NEWLINE, start)
    if (this.#options.isQuoted !== true) return newline
    let isOpen = false
    for (let from = start; newline !== -1; newline = bytes.indexOf(NEWLINE, from)) {
      // A quote within quotes is doubled: their number says whether one is open.
      if (countQuotes(bytes, from, newline) % 2 === 1) isOpen = !isOpen
      if (!isOpen) return newline
      from = newline + 1
    }
    return -1
  }

  #take(maxLines: number): Lines | undefined {
    const { maxLineBytes, path } = this.#options
    const ends: number[] = []
    let start = 0
    while (ends.length < maxLines) {
      const newline = this.#lineEnd(start)
      if (newline === -1) break
      start = newline + 1
      ends.push(start)
    }
    // The last line of a file may lack its newline.
    if (this.#isAtEnd && start < this.#rest.length && ends.length < maxLines) {
      start = this.#rest.length
      ends.push(start)
    }
    if (ends.length === 0) {
      if (this.#rest.length <= maxLineBytes) return undefined
      const reason = `${path}: the line at byte ${this.#offset} has more than ${maxLineBytes} bytes`
      throw new StateError('STORAGE_ERROR', { storage: STORAGE, operation: 'read a line', reason })
    }
    const lines = new Lines(this.#rest.subarray(0, start), this.#offset, ends)
    this.#rest = this.#rest.subarray(start)
    this.#offset += start
    return lines
  }
}

/** How many double quotes there are between two places. */
function countQuotes(bytes: Uint8Array, from: number, until: number): number {
  let count = 0
  for (let at = bytes.indexOf(QUOTE, from); at !== -1 && at < until; at = bytes.indexOf(QUOTE, at + 1))
    count++
  return count
}

/** The bytes of a file, piece by piece. */
interface Chunks {
  /** The next piece, which is the receiver's; an empty one where there is none now. */
  next(): Promise<Uint8Array>
  /** The bytes from one offset up to another; fewer where there are no more. What comes next is behind them. */
  seek(from: number, until: number): Promise<Uint8Array>
  close(): Promise<void>
}

class PlainChunks implements Chunks {
  readonly #path: string
  readonly #file: FileHandle
  readonly #follow: boolean
  #offset = 0
  /** Of a file that grows, the end of what was read: it is read again in front of what is new, since files are changed and cut off under their readers. */
  #last: Uint8Array = new Uint8Array(0)

  private constructor(path: string, file: FileHandle, follow: boolean) {
    this.#path = path
    this.#file = file
    this.#follow = follow
  }

  static async open(path: string, follow: boolean): Promise<PlainChunks> {
    const file = await open(path, 'r').catch((error) => fail('open', path, error))
    return new PlainChunks(path, file, follow)
  }

  async next(): Promise<Uint8Array> {
    const last = this.#last
    const read = await this.#read(this.#offset - last.length, last.length + CHUNK_BYTES)
    if (Buffer.compare(read.subarray(0, last.length), last) !== 0) {
      this.#refuse(`what was read up to byte ${this.#offset} is no longer there: it was changed or cut off`)
    }
    const bytes = read.subarray(last.length)
    if (bytes.length === 0) await this.#checkName()
    this.#goOnBehind(read, this.#offset + bytes.length)
    return bytes
  }

  async seek(from: number, until: number): Promise<Uint8Array> {
    const bytes = await this.#read(from, until - from)
    this.#goOnBehind(bytes, until)
    return bytes
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  #goOnBehind(read: Uint8Array, offset: number): void {
    this.#offset = offset
    if (this.#follow) this.#last = read.slice(-LAST_BYTES)
  }

  /** What is written from now on goes to where the path leads. */
  async #checkName(): Promise<void> {
    if (!this.#follow) return
    const change = await whatBecameOf(this.#path, this.#file).catch((error) =>
      fail('read', this.#path, error),
    )
    if (change !== undefined) this.#refuse(`${change}, and a file that is followed keeps its name`)
  }

  #refuse(reason: string): never {
    fail('read', this.#path, new Error(reason))
  }

  async #read(offset: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafeSlow(length)
    const { bytesRead } = await this.#file
      .read(buffer, 0, length, offset)
      .catch((error) => fail('read', this.#path, error))
    return buffer.subarray(0, bytesRead)
  }
}

/** A compressed file can only be read from its beginning. */
class GzipChunks implements Chunks {
  readonly #path: string
  readonly #file: Readable
  readonly #pieces: AsyncIterator<Uint8Array>
  /** What was read beyond the offset that was sought. */
  #ahead: Uint8Array = new Uint8Array(0)

  constructor(path: string) {
    this.#path = path
    this.#file = createReadStream(path)
    const gunzip = createGunzip()
    this.#file.on('error', (error) => gunzip.destroy(error))
    this.#pieces = this.#file.pipe(gunzip)[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
  }

  async next(): Promise<Uint8Array> {
    const ahead = this.#ahead
    if (ahead.length > 0) {
      this.#ahead = new Uint8Array(0)
      return ahead
    }
    const result = await this.#pieces.next().catch((error) => fail('read', this.#path, error))
    return result.done === true ? new Uint8Array(0) : result.value
  }

  async seek(from: number, until: number): Promise<Uint8Array> {
    const kept: Uint8Array[] = []
    for (let offset = 0; offset < until; ) {
      const piece = await this.next()
      if (piece.length === 0) break
      const wanted = Math.min(piece.length, until - offset)
      if (offset + wanted > from) kept.push(piece.subarray(Math.max(0, from - offset), wanted))
      this.#ahead = piece.subarray(wanted)
      offset += wanted
    }
    return Buffer.concat(kept)
  }

  async close(): Promise<void> {
    await this.#pieces.return?.()
    this.#file.destroy()
  }
}

async function goTo(chunks: Chunks, path: string, { offset, last }: LinePosition): Promise<void> {
  const found = await chunks.seek(offset - last.bytes, offset)
  if (found.length === last.bytes && crc32(found) === last.crc32) return
  const there =
    found.length < last.bytes
      ? 'the file ends before that'
      : 'what lies before that is not what was read: it is another file, or it was changed'
  const reason = `${path}: byte ${offset} is wanted, and ${there}`
  throw new StateError('RESTORE_FAILED', { checkpointId: undefined, reason, skipped: [] })
}

function fail(operation: string, path: string, cause: unknown): never {
  throw storageError(STORAGE, operation, path, cause)
}
