import { createReadStream } from 'node:fs'
import { CsvError, parse } from 'csv-parse'
import type { FilePosition } from '../events.js'
import { LineCounter } from './line-counter.js'
import { type FileRecord, MAX_RECORD_BYTES } from './record.js'

const LINE_FEED = 10

/**
 * The records of a CSV file (RFC 4180, in UTF-8) from a position on, as they come out of one chunk after the other.
 * Lines end with LF or CRLF, mixed at will; blank lines do not count. After a record whose quotes make no sense,
 * reading goes on with the line behind the one on which it begins: what a quote has swallowed by mistake is not lost.
 */
export async function* csvRecords(
  path: string,
  start: FilePosition,
  delimiter: string,
): AsyncGenerator<FileRecord[]> {
  let from: FilePosition | undefined = start
  while (from !== undefined) from = yield* untilBroken(path, from, delimiter)
}

/** Reads until the end (returns `undefined`) or past a broken record (returns where to go on). */
async function* untilBroken(
  path: string,
  start: FilePosition,
  delimiter: string,
): AsyncGenerator<FileRecord[], FilePosition | undefined> {
  const parser = new PositionedParser(start, delimiter)
  for await (const chunk of createReadStream(path, { start: start.byteOffset })) {
    yield await parser.write(chunk as Buffer)
    if (parser.problem !== undefined) break
  }
  if (parser.problem === undefined) yield await parser.end()
  if (parser.problem === undefined) return undefined
  const { line, byteOffset } = parser.recordStart
  const end = { line: line + 1, byteOffset: await endOfLine(path, byteOffset) }
  yield [{ line, end, values: [], problem: parser.problem }]
  return end
}

/** csv-parse, fed chunk by chunk, with the position behind every record. */
class PositionedParser {
  /** Set once quotes make no sense: no record after that can be trusted. */
  problem: string | undefined
  readonly #lines: LineCounter
  readonly #parser: ReturnType<typeof parse>
  #records: FileRecord[] = []

  constructor(start: FilePosition, delimiter: string) {
    this.#lines = new LineCounter(start)
    this.#parser = parse({
      delimiter,
      record_delimiter: ['\r\n', '\n'],
      skip_empty_lines: true,
      // The number of cells is compared with the header by whoever knows it.
      relax_column_count: true,
      max_record_size: MAX_RECORD_BYTES,
      // Records are taken here and not from the stream, which drops those before an error when it is destroyed by it.
      on_record: (values: string[], { bytes }) => {
        this.#take(values, start.byteOffset + bytes)
        return null
      },
    })
    // Errors reach the callbacks of write and end; unheard, the event would end the process.
    this.#parser.on('error', () => {})
  }

  /** The records that end in this chunk. */
  async write(chunk: Buffer): Promise<FileRecord[]> {
    this.#lines.add(chunk)
    return this.#finish(await new Promise((resolve) => this.#parser.write(chunk, resolve)))
  }

  /** The last record, if no line end follows it. */
  async end(): Promise<FileRecord[]> {
    return this.#finish(await new Promise((resolve) => this.#parser.end(resolve)))
  }

  /** Where the record after the last one begins. */
  get recordStart(): FilePosition {
    this.#lines.skipBlankLines()
    return this.#lines.position
  }

  #take(values: string[], endOffset: number): void {
    const { line } = this.recordStart
    this.#lines.advanceTo(endOffset)
    this.#records.push({ line, end: this.#lines.position, values, problem: undefined })
  }

  #finish(error: unknown): FileRecord[] {
    const records = this.#records
    this.#records = []
    if (error instanceof CsvError) this.problem = describe(error)
    else if (error instanceof Error) throw error
    return records
  }
}

/** Where the line ends on which `byteOffset` lies: the offset of the next one. */
async function endOfLine(path: string, byteOffset: number): Promise<number> {
  let offset = byteOffset
  for await (const chunk of createReadStream(path, { start: byteOffset })) {
    const at = (chunk as Buffer).indexOf(LINE_FEED)
    if (at !== -1) return offset + at + 1
    offset += (chunk as Buffer).length
  }
  return offset
}

function describe(error: CsvError): string {
  switch (error.code) {
    case 'CSV_QUOTE_NOT_CLOSED':
      return 'a quote is opened and never closed'
    case 'CSV_MAX_RECORD_SIZE':
      return 'the record is longer than 1 MiB (is a quote not closed?)'
    default:
      return 'a quote stands where none may be (inside a quoted cell it is written twice)'
  }
}
