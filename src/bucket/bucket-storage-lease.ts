import { systemClock } from '../base/clock.js'
import { isStateError } from '../base/errors.js'
import { checkObjectName } from '../files/file-names.js'
import type { ObjectWriter, StorageLease } from '../storage/checkpoint-storage.js'
import { checkBytes, checkGraceMs, publishedBefore } from '../storage/object-arguments.js'
import { StepwiseWriter } from '../storage/stepwise-writer.js'
import { allObjects } from './bucket.js'
import type { BucketContent } from './bucket-content.js'
import type { BucketLease } from './bucket-lease.js'
import { BucketUpload, type UploadSettings } from './bucket-upload.js'
import { DATA_PREFIX, newDataKey, type RootEntry, tokenOfDataKey } from './root-object.js'

/** A replaced object up to this size lies in the root: it takes one request less, and there is nothing to remove. */
const MAX_INLINE_BYTES = 4_096

/** What an object that is being written is to be: one that was not there, or another one in its place. */
type WriteKind = 'new' | 'replacement'

/** Writes to a bucket; every change of a name is conditional on the lease, in the request that makes it. */
export class BucketStorageLease implements StorageLease {
  readonly token: number
  readonly #content: BucketContent
  readonly #lease: BucketLease
  readonly #settings: UploadSettings
  /** Keys that are being written, and those whose name is in doubt. */
  readonly #living = new Set<string>()
  /** Keys that no root names any more and that could not be deleted yet. */
  readonly #doomed = new Set<string>()

  constructor(content: BucketContent, lease: BucketLease, settings: UploadSettings) {
    this.token = lease.token
    this.#content = content
    this.#lease = lease
    this.#settings = settings
  }

  async check(): Promise<void> {
    await this.#lease.check()
  }

  async create(name: string): Promise<ObjectWriter> {
    checkObjectName(name)
    this.#lease.requireHeld()
    return this.#begin(name, 'new', (objects) => {
      if (objects.has(name)) throw publishedBefore(`object '${name}' of ${this.#content.bucket.name}`)
    })
  }

  async replace(name: string, bytes: Uint8Array): Promise<void> {
    checkObjectName(name)
    checkBytes(bytes)
    this.#lease.requireHeld()
    if (bytes.length <= MAX_INLINE_BYTES) {
      const inline = new Uint8Array(bytes)
      await this.#changeEntry(name, { inline })
      return
    }
    const writer = this.#begin(name, 'replacement', () => {})
    await writer.write(bytes)
    await writer.commit()
  }

  async remove(name: string): Promise<boolean> {
    checkObjectName(name)
    this.#lease.requireHeld()
    await this.#lease.settle()
    if (!this.#lease.objects.has(name)) {
      await this.#lease.check()
      return false
    }
    let removed = false
    await this.#changeEntry(name, undefined, (before) => {
      removed = before !== undefined
    })
    return removed
  }

  async discardUncommitted(graceMs: number): Promise<number> {
    checkGraceMs(graceMs)
    await this.#lease.settle()
    await this.#lease.check()
    // The one place where the time of an object counts: nothing else tells how old one is that nobody has named.
    const untouchedSinceMs = systemClock.now() - graceMs
    let discarded = 0
    const listed = allObjects(this.#content.bucket, DATA_PREFIX)
    for (;;) {
      const next = await this.#attempt(() => listed.next())
      if (next.done === true) break
      const { key, changedAtMs } = next.value
      if (this.#isLeftover(key) && changedAtMs <= untouchedSinceMs) {
        await this.#attempt(() => this.#content.bucket.delete(key))
        this.#doomed.delete(key)
        discarded++
      }
    }
    const uploads = await this.#attempt(() => this.#content.bucket.listUploads(DATA_PREFIX))
    for (const { key, uploadId, startedAtMs } of uploads) {
      if (this.#isLeftover(key) && startedAtMs <= untouchedSinceMs) {
        await this.#attempt(() => this.#content.bucket.abortUpload(key, uploadId))
        discarded++
      }
    }
    return discarded
  }

  async release(): Promise<void> {
    await this.#lease.release()
  }

  #begin(
    name: string,
    kind: WriteKind,
    allow: (objects: ReadonlyMap<string, RootEntry>) => void,
  ): ObjectWriter {
    const upload = new BucketUpload(this.#content, newDataKey(name, this.token), this.#settings)
    this.#living.add(upload.key)
    return new StepwiseWriter(this.#content.bucket.name, name, {
      write: async (bytes) => {
        this.#lease.requireHeld()
        await upload.write(bytes)
      },
      publish: () => this.#publish(name, upload, allow),
      discard: () => this.#discard(name, upload, kind),
    })
  }

  async #publish(
    name: string,
    upload: BucketUpload,
    allow: (objects: ReadonlyMap<string, RootEntry>) => void,
  ): Promise<void> {
    const { key } = upload
    this.#lease.requireHeld()
    allow(this.#lease.objects)
    await upload.finish()
    await this.#changeEntry(name, { key, sizeBytes: upload.sizeBytes }, (before) => {
      const isOwn = before !== undefined && 'key' in before && before.key === key
      if (!isOwn) allow(this.#lease.objects)
    })
    this.#living.delete(key)
  }

  async #discard(name: string, upload: BucketUpload, kind: WriteKind): Promise<void> {
    const { key } = upload
    if (!this.#living.has(key)) return
    try {
      // Whether the root names it may be in doubt: it is taken out before its bytes go.
      await this.#lease.settle()
      if (this.#names(name, key)) {
        if (kind === 'replacement') {
          // What was there before has no name any more: without this one there would be neither.
          this.#living.delete(key)
          return
        }
        await this.#lease.change((objects) => {
          objects.delete(name)
        })
      }
    } catch (error) {
      // Whoever owns the storage now has the last word on what is left; it deletes what its root does not name.
      if (!isStateError(error, 'FENCED') && !isStateError(error, 'CLOSED')) throw error
      if (this.#lease.isInDoubt || this.#names(name, key)) return
    }
    await upload.discard()
    this.#living.delete(key)
  }

  #names(name: string, key: string): boolean {
    const entry = this.#lease.objects.get(name)
    return entry !== undefined && 'key' in entry && entry.key === key
  }

  /** Gives a name to an entry, or takes it away; then deletes the bytes that it had before. `allow` may throw. */
  async #changeEntry(
    name: string,
    entry: RootEntry | undefined,
    allow: (before: RootEntry | undefined) => void = () => {},
  ): Promise<void> {
    let replaced: RootEntry | undefined
    await this.#lease.change((objects) => {
      const before = objects.get(name)
      allow(before)
      if (entry === undefined) objects.delete(name)
      else objects.set(name, entry)
      if (before !== entry) replaced = before
    })
    const isSame = replaced !== undefined && entry !== undefined && keyOf(replaced) === keyOf(entry)
    const key = replaced === undefined || isSame ? undefined : keyOf(replaced)
    if (key !== undefined) this.#doomed.add(key)
    await this.#deleteDoomed()
  }

  /** What is named no more is gone for every reader; that its bytes go as well is tried again with the next change. */
  async #deleteDoomed(): Promise<void> {
    for (const key of this.#doomed) {
      try {
        await this.#content.bucket.delete(key)
        this.#doomed.delete(key)
      } catch {
        return
      }
    }
  }

  /** Whether a key is ours, nobody names it, and nobody will: what a newer owner has written is none of this one's. */
  #isLeftover(key: string): boolean {
    const token = tokenOfDataKey(key)
    if (token === undefined || token > this.token || this.#living.has(key)) return false
    for (const entry of this.#lease.objects.values()) if (keyOf(entry) === key) return false
    return true
  }

  async #attempt<Result>(call: () => Promise<Result>): Promise<Result> {
    return await this.#content.attempt('discard uncommitted objects', call)
  }
}

function keyOf(entry: RootEntry): string | undefined {
  return 'key' in entry ? entry.key : undefined
}
