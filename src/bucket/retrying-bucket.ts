import { randomInt } from 'node:crypto'
import { type Clock, pause, setLongTimer, systemClock } from '../base/clock.js'
import { isErrorLike } from '../base/shapes.js'
import {
  type Bucket,
  BucketFailure,
  type FetchedObject,
  type GetOptions,
  type ListedObject,
  type ListedUpload,
  type ListPage,
  type UploadedPart,
} from './bucket.js'

export interface RetrySettings {
  /** How often a call is made before its failure counts. */
  readonly attempts: number
  /** How long an attempt may take, in milliseconds, beside what its bytes take at {@link SLOWEST_BYTES_PER_MS}. */
  readonly timeoutMs: number
  readonly clock: Clock
  /** Waits between two attempts. */
  readonly wait: (ms: number) => Promise<unknown>
}

export const RETRY_DEFAULTS: RetrySettings = {
  attempts: 6,
  timeoutMs: 20_000,
  clock: systemClock,
  wait: pause,
}

/** A link that is slower than this is taken for one that is down. */
const SLOWEST_BYTES_PER_MS = 50
/** As much as an object that is read whole is likely to have, for its time limit. */
const LIKELY_BYTES = 1024 * 1024
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 5_000

/**
 * A bucket whose calls end, and which makes calls again that got no answer or a passing refusal. A call that was carried out
 * though its answer was lost is so made twice: writes without a condition, parts and deletions come to the same; of a write on a
 * condition the second attempt is refused, and the caller reads back whether it met its own success.
 */
export class RetryingBucket implements Bucket {
  readonly name: string
  readonly store: string
  readonly #bucket: Bucket
  readonly #settings: RetrySettings

  constructor(bucket: Bucket, settings: RetrySettings) {
    this.name = bucket.name
    this.store = bucket.store
    this.#bucket = bucket
    this.#settings = settings
  }

  async put(key: string, bytes: Uint8Array): Promise<string> {
    return await this.#retried(bytes.length, (signal) => this.#bucket.put(key, bytes, signal))
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<string | undefined> {
    return await this.#retried(bytes.length, (signal) => this.#bucket.putIfAbsent(key, bytes, signal))
  }

  async putIfMatch(key: string, bytes: Uint8Array, tag: string): Promise<string | undefined> {
    return await this.#retried(bytes.length, (signal) => this.#bucket.putIfMatch(key, bytes, tag, signal))
  }

  async get(key: string, options: GetOptions): Promise<FetchedObject | 'unchanged' | undefined> {
    const bytes = options.range?.length ?? Math.min(options.maxBytes, LIKELY_BYTES)
    return await this.#retried(bytes, (signal) => this.#bucket.get(key, options, signal))
  }

  async delete(key: string): Promise<void> {
    await this.#retried(0, (signal) => this.#bucket.delete(key, signal))
  }

  async list(prefix: string, after: string | undefined): Promise<ListPage<ListedObject>> {
    return await this.#retried(0, (signal) => this.#bucket.list(prefix, after, signal))
  }

  async startUpload(key: string): Promise<string> {
    return await this.#retried(0, (signal) => this.#bucket.startUpload(key, signal))
  }

  async uploadPart(key: string, uploadId: string, number: number, bytes: Uint8Array): Promise<UploadedPart> {
    return await this.#retried(bytes.length, (signal) =>
      this.#bucket.uploadPart(key, uploadId, number, bytes, signal),
    )
  }

  async completeUpload(
    key: string,
    uploadId: string,
    parts: readonly UploadedPart[],
  ): Promise<'completed' | 'unknown'> {
    return await this.#retried(0, (signal) => this.#bucket.completeUpload(key, uploadId, parts, signal))
  }

  async abortUpload(key: string, uploadId: string): Promise<void> {
    await this.#retried(0, (signal) => this.#bucket.abortUpload(key, uploadId, signal))
  }

  async listUploads(prefix: string): Promise<ListedUpload[]> {
    return await this.#retried(0, (signal) => this.#bucket.listUploads(prefix, signal))
  }

  async #retried<Result>(bytes: number, call: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const { attempts, wait } = this.#settings
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#timed(bytes, call)
      } catch (error) {
        const failure = asFailure(error)
        if (!failure.isTransient || attempt >= attempts) throw failure
        await wait(pauseBefore(attempt))
      }
    }
  }

  async #timed<Result>(bytes: number, call: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const { clock, timeoutMs } = this.#settings
    const controller = new AbortController()
    let cancelTimer = () => {}
    const late = new Promise<never>((_, reject) => {
      const limitMs = timeoutMs + Math.ceil(bytes / SLOWEST_BYTES_PER_MS)
      const giveUp = () => {
        reject(new BucketFailure('timeout', `there was no answer within ${limitMs} ms`))
        controller.abort()
      }
      cancelTimer = setLongTimer(clock, giveUp, limitMs)
    })
    try {
      // A client that does not listen to the signal is not waited for either.
      return await Promise.race([call(controller.signal), late])
    } finally {
      cancelTimer()
    }
  }
}

/** Some time between nothing and twice as much each time, so that callers that were refused together come back apart. */
function pauseBefore(attempt: number): number {
  return randomInt(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (attempt - 1)) + 1)
}

/** Of an error that no bucket has made, nothing but its name: it may tell of a request, and that of credentials. */
function asFailure(error: unknown): BucketFailure {
  if (error instanceof BucketFailure) return error
  const name = isErrorLike(error) && /^\w{1,64}$/.test(error.name) ? error.name : typeof error
  return new BucketFailure('unexpected', `the client failed with ${name}`, 0)
}
