import { StateError } from '../base/errors.js'
import type { ObjectReader, ReadAheadLimits } from '../storage/checkpoint-storage.js'
import { checkRange } from '../storage/object-arguments.js'
import type { BucketContent } from './bucket-content.js'

export interface FetchSettings {
  /** Bytes that one request asks for where an object is read from its beginning to its end. */
  readonly fetchBytes: number
  /** Such requests that are under way, or answered and not yet read, at a time. */
  readonly fetchesInFlight: number
}

/** Smaller requests cost more for being requests than for their bytes. */
const MIN_FETCH_BYTES = 256 * 1024
/** Of objects that are read side by side, each has so many requests under way that it need not wait for each of them. */
const MIN_FETCHES = 4

/** How an object is read that is wanted whole, where it is `share` of what is read side by side: together they take what one would. */
export function fetchesOf({ fetchBytes, fetchesInFlight }: FetchSettings, share: number): ReadAheadLimits {
  const bytesAhead = fetchBytes * fetchesInFlight * share
  const fewest = Math.min(MIN_FETCHES, fetchesInFlight)
  const pieceBytes = Math.min(fetchBytes, Math.max(MIN_FETCH_BYTES, Math.ceil(bytesAhead / fewest)))
  return { pieceBytes, pieces: Math.max(1, Math.round(bytesAhead / pieceBytes)) }
}

/** Reads exactly what it is asked for, one request for each read. */
export class BucketObjectReader implements ObjectReader {
  readonly sizeBytes: number
  readonly readAhead: ReadAheadLimits | undefined
  readonly #content: BucketContent
  readonly #key: string
  readonly #name: string
  #isClosed = false

  constructor(
    content: BucketContent,
    name: string,
    entry: { readonly key: string; readonly sizeBytes: number },
    readAhead?: ReadAheadLimits,
  ) {
    this.#content = content
    this.#name = name
    this.#key = entry.key
    this.sizeBytes = entry.sizeBytes
    this.readAhead = readAhead
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
