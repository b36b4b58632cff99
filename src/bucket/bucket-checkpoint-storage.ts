import { StateError } from '../base/errors.js'
import { checkSmall } from '../files/file-failure.js'
import { checkObjectName } from '../files/file-names.js'
import type {
  AcquireOptions,
  CheckpointStorage,
  ObjectReader,
  OpenOptions,
  StorageLease,
  StoredObject,
} from '../storage/checkpoint-storage.js'
import { MemoryObjectReader } from '../storage/memory-object-reader.js'
import { checkAcquireOptions, checkMaxBytes } from '../storage/object-arguments.js'
import type { Bucket } from './bucket.js'
import { BucketContent } from './bucket-content.js'
import { BucketLease } from './bucket-lease.js'
import { BucketObjectReader, fetchesOf } from './bucket-object-reader.js'
import { type BucketSettings, retried } from './bucket-options.js'
import { BucketStorageLease } from './bucket-storage-lease.js'
import { lacksConditions, type ProbeReport, probeBucket } from './probe.js'
import { type RootEntry, sizeOf } from './root-object.js'

/** How often a read begins anew because its object was replaced or removed between the look at the root and the read. */
const MAX_ATTEMPTS = 20

/**
 * Checkpoints in an object storage. One small object, the root, names all others and says who may write; it is replaced only on the
 * condition that it is as it was read. `docs/format/bucket.md` specifies it, and `docs/object-storage.md` says what this promises.
 */
export class BucketCheckpointStorage implements CheckpointStorage {
  readonly name: string
  readonly #bucket: Bucket
  readonly #content: BucketContent
  readonly #settings: BucketSettings

  constructor(bucket: Bucket, settings: BucketSettings) {
    this.name = bucket.name
    this.#bucket = bucket
    this.#content = new BucketContent(retried(bucket, settings))
    this.#settings = settings
  }

  /**
   * As {@link CheckpointStorage.acquire}. `STORAGE_ERROR`, too, where the store does not keep its conditions: it is asked once, by
   * 275 small requests whose objects are removed again, in each process that is to write there, unless the storage is `exclusive`.
   */
  async acquire(options?: AcquireOptions): Promise<StorageLease> {
    checkAcquireOptions(options)
    if (!this.#settings.exclusive) await this.#requireConditions()
    const lease = await BucketLease.acquire(this.#content, this.#settings, options?.takeOver ?? false)
    return new BucketStorageLease(this.#content, lease, this.#settings)
  }

  async open(name: string, options?: OpenOptions): Promise<ObjectReader | undefined> {
    checkObjectName(name)
    const entry = await this.#content.entry(name)
    if (entry === undefined) return undefined
    if ('inline' in entry) return new MemoryObjectReader(name, entry.inline)
    const { access, share = 1 } = options ?? {}
    const readAhead = access === 'sequential' ? fetchesOf(this.#settings, share) : undefined
    return new BucketObjectReader(this.#content, name, entry, readAhead)
  }

  async read(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    checkObjectName(name)
    checkMaxBytes(maxBytes)
    let missing: RootEntry | undefined
    let guessed = this.#guess(name, maxBytes)
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const entry = await this.#content.entry(name)
      if (entry === undefined) return undefined
      checkSmall(`object '${name}' of ${this.name}`, sizeOf(entry), maxBytes)
      if ('inline' in entry) return new Uint8Array(entry.inline)
      if (missing !== undefined && 'key' in missing && missing.key === entry.key) break
      const bytes = await (guessed?.key === entry.key ? guessed.bytes : this.#whole(entry))
      guessed = undefined
      if (bytes !== undefined) return bytes
      missing = entry
    }
    const reason = 'it is named, and its bytes are not there as they were written'
    throw new StateError('CORRUPTION', { what: `object '${name}' of ${this.name}`, reason })
  }

  async list(): Promise<StoredObject[]> {
    const seen = await this.#content.root()
    return Array.from(seen?.root.objects ?? [], ([name, entry]) => ({ name, sizeBytes: sizeOf(entry) }))
  }

  /**
   * Whether the store keeps what this rests on: conditions under many callers at once, reads after writes, ranges, uploads in
   * parts, digests. It writes some objects of its own under the prefix and removes them. It takes no lease and does not disturb one.
   */
  async probe(): Promise<ProbeReport> {
    return await this.#content.attempt('probe the store', () => probeBucket(this.#bucket, this.#settings))
  }

  async #requireConditions(): Promise<void> {
    const { bucket } = this.#content
    const lacks = await this.#content.attempt('probe the store', () => conditionsOf(bucket))
    if (lacks.length === 0) return
    const advice = 'use a store that keeps them, or exclusive: true where nobody else ever writes'
    throw this.#content.failed('acquire the lease', `the store cannot fence: ${lacks.join('; ')}; ${advice}`)
  }

  /**
   * Begins to read an object where it was when the root was last looked at: most objects never change, so that the look that proves it
   * costs no round trip of its own.
   */
  #guess(
    name: string,
    maxBytes: number,
  ): { readonly key: string; readonly bytes: Promise<Uint8Array | undefined> } | undefined {
    const entry = this.#content.lastKnown(name)
    if (entry === undefined || 'inline' in entry || entry.sizeBytes > maxBytes) return undefined
    const bytes = this.#whole(entry)
    // Where the guess was wrong, nobody asks what became of it.
    bytes.catch(() => {})
    return { key: entry.key, bytes }
  }

  async #whole(entry: { readonly key: string; readonly sizeBytes: number }): Promise<Uint8Array | undefined> {
    const fetched = await this.#content.attempt('read an object', () =>
      this.#content.bucket.get(entry.key, { maxBytes: entry.sizeBytes }),
    )
    const isWhole =
      fetched !== undefined && fetched !== 'unchanged' && fetched.bytes.length === entry.sizeBytes
    return isWhole ? fetched.bytes : undefined
  }
}

/** What each store lacks that this process has asked: the next partition in it need not ask again. */
const lacking = new Map<string, Promise<readonly string[]>>()

function conditionsOf(bucket: Bucket): Promise<readonly string[]> {
  const known = lacking.get(bucket.store)
  if (known !== undefined) return known
  const asked = lacksConditions(bucket)
  lacking.set(bucket.store, asked)
  asked.catch(() => lacking.delete(bucket.store))
  return asked
}
