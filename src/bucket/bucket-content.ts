import { reasonOf, StateError } from '../base/errors.js'
import { allObjects, type Bucket, BucketFailure } from './bucket.js'
import {
  DATA_PREFIX,
  decodeRoot,
  encodeRoot,
  MAX_ROOT_BYTES,
  ROOT_KEY,
  type Root,
  type RootEntry,
} from './root-object.js'

/** A root as it was at one moment, and the tag that it had. */
export interface SeenRoot {
  readonly root: Root
  readonly tag: string
}

/** What lies in a bucket, for whoever reads it and for the lease that writes it. */
export class BucketContent {
  readonly bucket: Bucket
  #seen: SeenRoot | undefined

  constructor(bucket: Bucket) {
    this.bucket = bucket
  }

  /** The root as it is now; `undefined` where nobody has written here yet. `CORRUPTION` where only the root is missing. */
  async root(): Promise<SeenRoot | undefined> {
    const seen = this.#seen
    const fetched = await this.attempt('read the root', async () =>
      this.bucket.get(ROOT_KEY, { maxBytes: MAX_ROOT_BYTES, ...(seen && { unlessTag: seen.tag }) }),
    )
    if (fetched === 'unchanged') return seen
    if (fetched === undefined) {
      await this.#rejectOrphans()
      return undefined
    }
    this.#seen = { root: decodeRoot(fetched.bytes, this.#rootName), tag: fetched.tag }
    return this.#seen
  }

  /** Where an object was when the root was last looked at: a guess. */
  lastKnown(name: string): RootEntry | undefined {
    return this.#seen?.root.objects.get(name)
  }

  /** Where an object is; `undefined` where there is none. */
  async entry(name: string): Promise<RootEntry | undefined> {
    return (await this.root())?.root.objects.get(name)
  }

  /** As bytes; `STORAGE_ERROR` where there are more objects than one root can hold. */
  encoded(root: Root): Uint8Array {
    const bytes = encodeRoot(root)
    if (bytes.length <= MAX_ROOT_BYTES) return bytes
    throw this.failed(
      'publish an object',
      `it has ${root.objects.size} objects, and the root no room for more; delete checkpoints or savepoints`,
    )
  }

  /** Makes a call of the bucket; its failure becomes a `STORAGE_ERROR`. */
  async attempt<Result>(operation: string, call: () => Promise<Result>): Promise<Result> {
    try {
      return await call()
    } catch (error) {
      if (!(error instanceof BucketFailure)) throw error
      throw this.failed(operation, reasonOf(error), error)
    }
  }

  failed(operation: string, reason: string, cause?: BucketFailure): StateError<'STORAGE_ERROR'> {
    const details = { storage: this.bucket.name, operation, reason }
    return new StateError('STORAGE_ERROR', details, cause === undefined ? undefined : { cause })
  }

  /** No root and no objects is an empty storage; objects without their root are one that lost it. */
  async #rejectOrphans(): Promise<void> {
    // The first page may have nothing, and another one more.
    const objects = allObjects(this.bucket, DATA_PREFIX)
    const first = await this.attempt('list objects', () => objects.next())
    await objects.return()
    if (first.done === true) return
    // Its first owner may have come and begun between the two looks.
    const reason =
      'it is missing, and there are objects that it named; bring it back from a version or a copy'
    const again = await this.attempt('read the root', () =>
      this.bucket.get(ROOT_KEY, { maxBytes: MAX_ROOT_BYTES }),
    )
    if (again === undefined) throw new StateError('CORRUPTION', { what: this.#rootName, reason })
  }

  get #rootName(): string {
    return `object '${ROOT_KEY}' of ${this.bucket.name}`
  }
}
