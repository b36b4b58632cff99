import { StateError } from '../base/errors.js'
import type { ObjectReader } from '../storage/checkpoint-storage.js'
import { checkRange } from '../storage/object-arguments.js'
import type { BucketContent } from './bucket-content.js'

export interface FetchSettings {
  /** Bytes that one request asks for where an object is read from its beginning to its end. */
  readonly fetchBytes: number
  /** Such requests that are under way, or answered and not yet read, at a time. */
  readonly fetchesInFlight: number
}

/** Reads exactly what it is asked for, one request for each read. */
export class BucketObjectReader implements ObjectReader {
  readonly sizeBytes: number
  readonly #content: BucketContent
  readonly #key: string
  readonly #name: string
  #isClosed = false

  constructor(
    content: BucketContent,
    name: string,
    entry: { readonly key: string; readonly sizeBytes: number },
  ) {
    this.#content = content
    this.#name = name
    this.#key = entry.key
    this.sizeBytes = entry.sizeBytes
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (this.#isClosed) throw new StateError('CLOSED', { component: `the reader of ${this.#name}` })
    checkRange(`object '${this.#name}' of ${this.#content.bucket.name}`, offset, length, this.sizeBytes)
    return length === 0 ? new Uint8Array(0) : await this.#fetch(offset, length)
  }

  async close(): Promise<void> {
    this.#isClosed = true
  }

  async #fetch(offset: number, length: number): Promise<Uint8Array> {
    const options = { range: { offset, length }, maxBytes: length }
    const fetched = await this.#content.attempt('read an object', () =>
      this.#content.bucket.get(this.#key, options),
    )
    if (fetched !== undefined && fetched !== 'unchanged' && fetched.bytes.length === length)
      return fetched.bytes
    const what = `object '${this.#name}' of ${this.#content.bucket.name}`
    const reason = fetched === undefined ? 'its bytes are gone' : 'it is shorter than it was'
    throw new StateError('CORRUPTION', { what, reason })
  }
}

/** A stretch that was asked for, and how much of it was read. */
interface Fetch {
  readonly start: number
  readonly length: number
  readonly bytes: Promise<Uint8Array>
  read: number
}

/**
 * Reads an object that is wanted whole, in order: large requests, several ahead of the reader, so that a link's delay is paid
 * about once. Whoever reads elsewhere gets what was asked for all the same, by a request of its own.
 */
export class SequentialReader implements ObjectReader {
  readonly sizeBytes: number
  readonly #reader: ObjectReader
  readonly #settings: FetchSettings
  #fetches: Fetch[] = []
  #asked = 0

  constructor(reader: ObjectReader, settings: FetchSettings) {
    this.sizeBytes = reader.sizeBytes
    this.#reader = reader
    this.#settings = settings
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const end = offset + length
    const first = this.#fetches[0]?.start ?? this.#asked
    const isWhole = Number.isSafeInteger(offset) && Number.isSafeInteger(length)
    const isAhead = isWhole && length > 0 && offset >= first && end <= this.sizeBytes
    const reach = this.#asked + this.#settings.fetchBytes * this.#settings.fetchesInFlight
    if (!isAhead || end > reach) return await this.#reader.read(offset, length)
    this.#askUntil(end)
    const needed = this.#fetches.filter(({ start, length: size }) => start < end && start + size > offset)
    const parts = await Promise.all(
      needed.map(async (fetch) => {
        const from = Math.max(0, offset - fetch.start)
        const until = Math.min(fetch.length, end - fetch.start)
        const bytes = (await fetch.bytes).slice(from, until)
        fetch.read += bytes.length
        return bytes
      }),
    )
    this.#forgetRead()
    const [only, ...more] = parts
    return only !== undefined && more.length === 0 ? only : new Uint8Array(Buffer.concat(parts))
  }

  async close(): Promise<void> {
    const fetches = this.#fetches
    this.#fetches = []
    this.#asked = this.sizeBytes
    await Promise.allSettled(fetches.map(({ bytes }) => bytes))
    await this.#reader.close()
  }

  /** Asks for what is read now, and for as much beyond as may be under way. */
  #askUntil(end: number): void {
    while (
      this.#asked < this.sizeBytes &&
      (this.#asked < end || this.#fetches.length < this.#settings.fetchesInFlight)
    ) {
      const start = this.#asked
      const length = Math.min(this.#settings.fetchBytes, this.sizeBytes - start)
      const bytes = this.#reader.read(start, length)
      // A failure is met when the stretch is read; until then, and if it never is, it is not unhandled.
      bytes.catch(() => {})
      this.#fetches.push({ start, length, bytes, read: 0 })
      this.#asked += length
    }
  }

  #forgetRead(): void {
    while (this.#fetches[0] !== undefined && this.#fetches[0].read >= this.#fetches[0].length)
      this.#fetches.shift()
    this.#askUntil(0)
  }
}
