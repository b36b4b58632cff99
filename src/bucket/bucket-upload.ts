import type { Bucket, UploadedPart } from './bucket.js'
import type { BucketContent } from './bucket-content.js'

export interface UploadSettings {
  /** Size of a part; an object up to this size is written in one request. */
  readonly partBytes: number
  /** Parts that are on their way at a time. */
  readonly partsInFlight: number
}

/** S3 takes no more; others take more. */
const MAX_PARTS = 10_000
const FIRST_BUFFER_BYTES = 64 * 1024

/**
 * The bytes of one object on their way to a key of their own. It holds one part that is being filled and `partsInFlight` that are
 * being sent, however much is written; a small object is one request.
 */
export class BucketUpload {
  readonly key: string
  readonly #content: BucketContent
  readonly #settings: UploadSettings
  readonly #inFlight = new Set<Promise<void>>()
  readonly #parts: UploadedPart[] = []
  #buffer = new Uint8Array(0)
  #filled = 0
  #uploadId: string | undefined
  #partsBegun = 0
  #failure: { readonly error: unknown } | undefined
  /** Something may lie under the key, or be on its way there. */
  #hasBegun = false
  sizeBytes = 0

  constructor(content: BucketContent, key: string, settings: UploadSettings) {
    this.#content = content
    this.key = key
    this.#settings = settings
  }

  /** Resolves when the bytes were copied: that takes as long as there is no room for them. */
  async write(bytes: Uint8Array): Promise<void> {
    let taken = 0
    while (taken < bytes.length) {
      if (this.#filled === this.#settings.partBytes) await this.#sendPart()
      const length = Math.min(bytes.length - taken, this.#settings.partBytes - this.#filled)
      this.#makeRoom(length)
      this.#buffer.set(bytes.subarray(taken, taken + length), this.#filled)
      this.#filled += length
      taken += length
    }
    this.sizeBytes += bytes.length
    this.#throwFailure()
  }

  /** All bytes lie under the key. */
  async finish(): Promise<void> {
    if (this.#uploadId === undefined) {
      this.#hasBegun = true
      await this.#attempt((bucket) => bucket.put(this.key, this.#buffer.subarray(0, this.#filled)))
      this.#buffer = new Uint8Array(0)
      return
    }
    await this.#sendPart()
    await Promise.all(this.#inFlight)
    this.#throwFailure()
    await this.#complete(this.#uploadId)
  }

  /** Nothing is left of it; `STORAGE_ERROR` where that cannot be had: then it is one of the leftovers that are discarded later. */
  async discard(): Promise<void> {
    await Promise.all(this.#inFlight)
    this.#buffer = new Uint8Array(0)
    const uploadId = this.#uploadId
    if (uploadId !== undefined) await this.#attempt((bucket) => bucket.abortUpload(this.key, uploadId))
    if (this.#hasBegun) await this.#attempt((bucket) => bucket.delete(this.key))
    this.#uploadId = undefined
    this.#hasBegun = false
  }

  #makeRoom(length: number): void {
    const needed = this.#filled + length
    if (needed <= this.#buffer.length) return
    const { partBytes } = this.#settings
    // What has more than one part is likely to fill the next one: its memory is there at once, and is not copied as it grows.
    const size =
      this.#partsBegun > 0 ? partBytes : Math.max(FIRST_BUFFER_BYTES, needed, this.#buffer.length * 2)
    const larger = new Uint8Array(Math.min(partBytes, size))
    larger.set(this.#buffer.subarray(0, this.#filled))
    this.#buffer = larger
  }

  async #sendPart(): Promise<void> {
    this.#uploadId ??= await this.#attempt((bucket) => bucket.startUpload(this.key))
    const uploadId = this.#uploadId
    if (this.#partsBegun === MAX_PARTS) {
      const most = MAX_PARTS * this.#settings.partBytes
      throw this.#content.failed('write an object', `it is larger than ${most} bytes; raise partBytes`)
    }
    const number = ++this.#partsBegun
    const bytes = this.#buffer.subarray(0, this.#filled)
    this.#buffer = new Uint8Array(0)
    this.#filled = 0
    const sent = this.#attempt(async (bucket) => {
      this.#parts.push(await bucket.uploadPart(this.key, uploadId, number, bytes))
    })
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#inFlight.delete(sent))
    this.#inFlight.add(sent)
    if (this.#inFlight.size >= this.#settings.partsInFlight) await Promise.race(this.#inFlight)
    this.#throwFailure()
  }

  async #complete(uploadId: string): Promise<void> {
    const parts = this.#parts.sort((left, right) => left.number - right.number)
    this.#hasBegun = true
    const outcome = await this.#attempt((bucket) => bucket.completeUpload(this.key, uploadId, parts))
    this.#uploadId = undefined
    if (outcome === 'completed') return
    // An attempt whose answer was lost may have completed it: the key is nobody else's, so its size tells.
    const range = { offset: this.sizeBytes - 1, length: 1 }
    const last = await this.#attempt((bucket) => bucket.get(this.key, { range, maxBytes: 1 }))
    if (last === undefined)
      throw this.#content.failed('write an object', 'its upload was aborted by somebody else')
  }

  async #attempt<Result>(call: (bucket: Bucket) => Promise<Result>): Promise<Result> {
    return await this.#content.attempt('write an object', () => call(this.#content.bucket))
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }
}
