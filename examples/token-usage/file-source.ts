import { constants } from 'node:fs'
import { access, open, stat } from 'node:fs/promises'
import type { Batch, EventSource, FilePosition, LlmRequest, SourcePosition } from './events.js'
import { ColumnMapping, type ColumnNames } from './input/columns.js'
import { csvRecords } from './input/csv-records.js'
import { ndjsonRecords } from './input/ndjson-records.js'
import type { FileRecord } from './input/record.js'
import { InputError } from './input-error.js'

export type FileFormat = 'csv' | 'ndjson'

export interface FileSourceOptions {
  readonly path: string
  /** Default: NDJSON where the first character is `{`, CSV otherwise. */
  readonly format?: FileFormat
  /** What separates the cells of a CSV file. Default a comma. */
  readonly delimiter?: string
  readonly columns: ColumnNames
  /** Pass over broken lines and count them. Default: stop at the first one. */
  readonly skipBadLines?: boolean
  /** How much later than one with a higher timestamp a request may come. Default: any time later, so that windows stay open to the end. */
  readonly disorderMs?: number
}

/** Longer than what dates can tell. */
const ANY_DISORDER_MS = 8.64e15

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])
const SNIFFED_BYTES = 4_096

/**
 * Requests from a CSV or NDJSON file of any size, read as a stream. A position is the byte at which the next record
 * begins: reading resumes by opening the file there. Whatever is wrong with the file is an `InputError`.
 */
export class FileSource implements EventSource {
  readonly description: string
  readonly details: readonly string[]
  readonly start: SourcePosition
  readonly disorderMs: number
  readonly #options: FileSourceOptions
  readonly #format: FileFormat
  readonly #sizeBytes: number
  readonly #mapping: ColumnMapping

  private constructor(
    options: FileSourceOptions,
    format: FileFormat,
    sizeBytes: number,
    start: SourcePosition,
    mapping: ColumnMapping,
  ) {
    this.#options = options
    this.#format = format
    this.#sizeBytes = sizeBytes
    this.#mapping = mapping
    this.start = start
    this.disorderMs = options.disorderMs ?? ANY_DISORDER_MS
    this.description = `${options.path} (${format}, ${sizeBytes.toLocaleString('en-US')} bytes)`
    this.details = mapping.description
  }

  /** Looks at the file: can it be read, which format is it, which columns has it? */
  static async open(options: FileSourceOptions): Promise<FileSource> {
    const { path } = options
    const sizeBytes = await readableSize(path)
    const head = await readHead(path)
    const format = options.format ?? (head.text.trimStart().startsWith('{') ? 'ndjson' : 'csv')
    const first = { byteOffset: head.markBytes, line: 1 }
    const header = await firstReadable(options, format, first)
    const csv = format === 'csv'
    const columns = csv ? (header.values as string[]).map((name) => name.trim()) : Object.keys(header.values)
    const mapping = new ColumnMapping(path, columns, options.columns, format)
    const start = { events: 0, skippedLines: 0, file: csv ? header.end : first }
    return new FileSource(options, format, sizeBytes, start, mapping)
  }

  async *batches(from: SourcePosition, size: number): AsyncGenerator<Batch> {
    const start = from.file
    if (start === undefined || start.byteOffset > this.#sizeBytes) {
      throw new InputError(
        `${this.#options.path}: is not the file that was read before: it ends before the position`,
      )
    }
    let { events: count, skippedLines } = from
    let events: LlmRequest[] = []
    let ends: SourcePosition[] = []
    let end = start
    for await (const chunk of records(this.#options, this.#format, start)) {
      for (const record of chunk) {
        const request = record.problem ?? this.#mapping.read(record.values)
        end = record.end
        if (typeof request === 'string') {
          if (!this.#options.skipBadLines) throw broken(this.#options.path, record.line, request)
          skippedLines++
        } else {
          ends.push({ events: ++count, skippedLines, file: end })
          if (events.push(request) < size) continue
          yield { events, ends, end: { events: count, skippedLines, file: end } }
          events = []
          ends = []
        }
      }
    }
    yield { events, ends, end: { events: count, skippedLines, file: end } }
  }

  fractionAt(position: SourcePosition): number {
    return (position.file?.byteOffset ?? 0) / this.#sizeBytes
  }
}

async function* records(
  options: FileSourceOptions,
  format: FileFormat,
  start: FilePosition,
): AsyncGenerator<FileRecord[]> {
  const { path, delimiter = ',' } = options
  try {
    yield* format === 'csv' ? csvRecords(path, start, delimiter) : ndjsonRecords(path, start)
  } catch (error) {
    throw asInputError(path, error)
  }
}

/** The CSV header, or the first JSON object: it tells the columns. */
async function firstReadable(
  options: FileSourceOptions,
  format: FileFormat,
  start: FilePosition,
): Promise<FileRecord> {
  const { path, skipBadLines = false } = options
  for await (const chunk of records(options, format, start)) {
    for (const record of chunk) {
      if (record.problem === undefined) return record
      // Without its header no line of a CSV file can be read.
      if (format === 'csv' || !skipBadLines) throw broken(path, record.line, record.problem)
    }
  }
  const nothing = format === 'csv' ? 'there is no line in it' : 'there is no JSON object in it'
  throw new InputError(`${path}: ${nothing}; name another file`)
}

async function readableSize(path: string): Promise<number> {
  try {
    const status = await stat(path)
    if (!status.isFile()) throw new InputError(`${path}: is not a regular file; name a CSV or NDJSON file`)
    await access(path, constants.R_OK)
    if (status.size === 0) throw new InputError(`${path}: is empty; name another file`)
    return status.size
  } catch (error) {
    throw asInputError(path, error)
  }
}

/** The beginning of a file as text, and how long its byte order mark is. Refuses what is not UTF-8 text. */
async function readHead(path: string): Promise<{ text: string; markBytes: number }> {
  const file = await open(path).catch((error: unknown) => {
    throw asInputError(path, error)
  })
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(SNIFFED_BYTES), 0, SNIFFED_BYTES, 0)
    const head = buffer.subarray(0, bytesRead)
    const mark = head.length >= 2 ? head.readUInt16BE(0) : 0
    if (mark === 0x1f8b) throw new InputError(`${path}: is compressed; unpack it first: gunzip --keep`)
    if (mark === 0xfffe || mark === 0xfeff) {
      throw new InputError(`${path}: is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8`)
    }
    if (head.includes(0)) throw new InputError(`${path}: is not a text file; name a CSV or NDJSON file`)
    const markBytes = head.indexOf(BYTE_ORDER_MARK) === 0 ? BYTE_ORDER_MARK.length : 0
    return { text: head.subarray(markBytes).toString(), markBytes }
  } finally {
    await file.close()
  }
}

function broken(path: string, line: number, problem: string): InputError {
  return new InputError(
    `${path}, line ${line}: ${problem}; mend it, or pass over such lines with --skip-bad-lines`,
  )
}

/** Errors of the file system as one line; every other error as it is. */
function asInputError(path: string, error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new InputError(`${path}: there is no such file; check the path`)
    case 'EACCES':
    case 'EPERM':
      return new InputError(`${path}: may not be read; check its permissions`)
    default:
      return typeof code === 'string' && code.startsWith('E') && error instanceof Error
        ? new InputError(`${path}: cannot be read: ${error.message}`)
        : error
  }
}
