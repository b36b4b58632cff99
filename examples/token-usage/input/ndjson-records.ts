import { createReadStream } from 'node:fs'
import type { FilePosition } from '../events.js'
import { type FileRecord, MAX_RECORD_BYTES } from './record.js'

const LINE_FEED = 10

/**
 * The objects of a file with one JSON object a line (UTF-8), from a position on, as they come out of one chunk after
 * the other. Blank lines do not count.
 */
export async function* ndjsonRecords(path: string, start: FilePosition): AsyncGenerator<FileRecord[]> {
  const splitter = new LineSplitter(start)
  for await (const chunk of createReadStream(path, { start: start.byteOffset })) {
    yield splitter.write(chunk as Buffer)
  }
  yield splitter.end()
}

class LineSplitter {
  #line: number
  #byteOffset: number
  /** What has come of the current line, as long as it is not too long. */
  #pieces: Buffer[] = []
  #lengthBytes = 0

  constructor(start: FilePosition) {
    this.#line = start.line
    this.#byteOffset = start.byteOffset
  }

  write(chunk: Buffer): FileRecord[] {
    const records: FileRecord[] = []
    let from = 0
    for (let at = chunk.indexOf(LINE_FEED); at !== -1; at = chunk.indexOf(LINE_FEED, from)) {
      this.#add(chunk.subarray(from, at + 1))
      this.#finishLine(records, true)
      from = at + 1
    }
    this.#add(chunk.subarray(from))
    return records
  }

  end(): FileRecord[] {
    const records: FileRecord[] = []
    if (this.#lengthBytes > 0) this.#finishLine(records, false)
    return records
  }

  #add(piece: Buffer): void {
    this.#lengthBytes += piece.length
    if (this.#lengthBytes <= MAX_RECORD_BYTES) this.#pieces.push(piece)
    else this.#pieces = []
  }

  #finishLine(records: FileRecord[], terminated: boolean): void {
    const tooLong = this.#lengthBytes > MAX_RECORD_BYTES
    const text = Buffer.concat(this.#pieces).toString()
    const line = this.#line
    if (terminated) this.#line++
    this.#byteOffset += this.#lengthBytes
    this.#pieces = []
    this.#lengthBytes = 0
    const end = { byteOffset: this.#byteOffset, line: this.#line }
    if (tooLong) records.push({ line, end, values: {}, problem: 'the line is longer than 1 MiB' })
    else if (text.trim() !== '') records.push({ line, end, ...parseObject(text) })
  }
}

function parseObject(text: string): Pick<FileRecord, 'values' | 'problem'> {
  try {
    const values: unknown = JSON.parse(text)
    if (typeof values === 'object' && values !== null && !Array.isArray(values)) {
      return { values: values as FileRecord['values'], problem: undefined }
    }
    return { values: {}, problem: 'the line is JSON, but not an object' }
  } catch {
    return { values: {}, problem: 'the line is not JSON' }
  }
}
