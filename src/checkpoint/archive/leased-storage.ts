import { equalBytes } from '../../base/bytes.js'
import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import type {
  AcquireOptions,
  CheckpointStorage,
  ObjectReader,
  ObjectStorage,
  ObjectWriter,
  OpenOptions,
  PreparedReplacement,
  SharedStorage,
  StorageLease,
} from '../../storage/checkpoint-storage.js'
import type { ManifestSegment, StoredManifest } from '../format/manifest.js'
import { SEQUENCE_NAME } from '../format/object-names.js'
import { formatSequence, reconcileSequence, type SequenceState } from '../format/sequence-file.js'
import type { Logger } from '../types.js'
import { CheckpointCatalog, type StorageListing } from './checkpoint-catalog.js'
import { StorageContents } from './storage-contents.js'

/** A number of a checkpoint that is being reserved. */
export interface Reservation {
  readonly sequence: number
  /** Resolves when no owner will ever give the number out again; rejects with why it could not be reserved. */
  readonly durable: Promise<void>
}

/** What {@link LeasedStorage.notePublished} writes, written ahead. */
export interface PreparedNote {
  readonly bytes: Uint8Array
  readonly replacement: PreparedReplacement
}

type ContentsChange = (contents: StorageContents) => void

/**
 * The one writer of a storage: it holds the lease, and gives out the numbers of checkpoints.
 *
 * A number is reserved in the storage before anything bears it, and remembered here whether or not that worked,
 * so it is never given out again. A publication is noted after the manifest; if that note fails or the process dies
 * before it, the next owner finds the manifest by its name.
 */
export class LeasedStorage implements ObjectStorage {
  readonly storage: CheckpointStorage
  readonly #catalog: CheckpointCatalog
  readonly #lease: StorageLease
  readonly #logger: Logger
  #sequence: SequenceState
  #contents: StorageContents | undefined
  /** Of each listing that is under way and to be relied on, what was noted since it began: it may tell that or not. */
  readonly #listings = new Set<ContentsChange[]>()

  /** Takes the lease (`FENCED` while somebody else has it), lists the storage, and reads where the sequence stands. */
  static async acquire(
    catalog: CheckpointCatalog,
    logger: Logger,
    options?: AcquireOptions,
  ): Promise<LeasedStorage> {
    const { storage } = catalog
    const lease = await storage.acquire(options)
    try {
      const listing = await catalog.listing()
      const sequence = await currentSequence(catalog, listing, logger)
      return new LeasedStorage(catalog, lease, logger, sequence, new StorageContents(catalog, listing))
    } catch (error) {
      await lease.release().catch((failure: unknown) => {
        logger.warn({ storage: storage.name, reason: reasonOf(failure) }, 'could not release the lease')
      })
      throw error
    }
  }

  private constructor(
    catalog: CheckpointCatalog,
    lease: StorageLease,
    logger: Logger,
    sequence: SequenceState,
    contents: StorageContents,
  ) {
    this.storage = catalog.storage
    this.#catalog = catalog
    this.#contents = contents
    this.#lease = lease
    this.#logger = logger
    this.#sequence = sequence
  }

  /** Whether a checkpoint was ever published here, as far as anything still tells. */
  get everPublished(): boolean {
    return this.#sequence.published > 0
  }

  /** Resolves while the lease is held; `FENCED` afterwards. */
  async check(): Promise<void> {
    await this.#lease.check()
  }

  /**
   * Why work in the storage has failed. A new owner removes files that this one has written or reads: what seems to be damage then is none, but
   * that the lease is lost, which is `FENCED`.
   */
  async reasonFor(error: unknown): Promise<unknown> {
    if (!tellsOfDamage(error)) return error
    try {
      await this.check()
      return error
    } catch (failure) {
      return isStateError(failure, 'FENCED')
        ? new StateError('FENCED', failure.details, { cause: error })
        : error
    }
  }

  /** What lies in the storage: as it is known, or listed anew where that is not to be relied on. */
  async contents(): Promise<StorageContents> {
    while (this.#contents === undefined) {
      const noted: ContentsChange[] = []
      this.#listings.add(noted)
      try {
        const contents = new StorageContents(this.#catalog, await this.#catalog.listing())
        for (const change of noted) change(contents)
        if (this.#listings.has(noted)) this.#contents ??= contents
      } finally {
        this.#listings.delete(noted)
      }
    }
    return this.#contents
  }

  /** Something is not as it was known to be, or failed and may have left something behind: the storage is listed before it is swept. */
  distrustContents(): void {
    this.#listings.clear()
    this.#contents = undefined
  }

  /** A segment was written that no manifest names yet. */
  noteSegment({ name, sizeBytes }: ManifestSegment): void {
    this.#note((contents) => contents.noteSegment(name, sizeBytes))
  }

  #note(change: ContentsChange): void {
    if (this.#contents !== undefined) change(this.#contents)
    for (const noted of this.#listings) noted.push(change)
  }

  /** The next number. Nothing may bear it before it is `durable`; no other one is reserved before that has settled. */
  reserve(): Reservation {
    const reserved = this.#sequence.reserved + 1
    if (!Number.isSafeInteger(reserved)) {
      throw new StateError('STORAGE_ERROR', {
        storage: this.storage.name,
        operation: 'reserve a number',
        reason: `number ${reserved - 1} is taken and there is none above it; remove the file of that name, and '${SEQUENCE_NAME}'`,
      })
    }
    this.#sequence = { ...this.#sequence, reserved }
    const durable = this.#lease.replace(SEQUENCE_NAME, formatSequence(this.#sequence))
    // Whoever waits for it is told.
    durable.catch(() => {})
    return { sequence: reserved, durable }
  }

  /** No number up to that one is given out any more: durably, where that is news. */
  async reserveUpTo(sequence: number): Promise<void> {
    if (sequence <= this.#sequence.reserved) return
    this.#sequence = { ...this.#sequence, reserved: sequence }
    await this.#lease.replace(SEQUENCE_NAME, formatSequence(this.#sequence))
  }

  /** Writes the note of a publication that is to come, without its name; `undefined` where the storage cannot. */
  async prepareNote(sequence: number): Promise<PreparedNote | undefined> {
    const bytes = formatSequence(withPublished(this.#sequence, sequence))
    const replacement = await this.#lease.prepareReplace?.(SEQUENCE_NAME, bytes)
    return replacement && { bytes, replacement }
  }

  /**
   * Notes a publication, with a note that was prepared for it where that says the same. It counts also where the note could not be written: that
   * is logged, and made up for later.
   */
  async notePublished(stored: StoredManifest, prepared?: Promise<PreparedNote | undefined>): Promise<void> {
    this.#note((contents) => contents.notePublished(stored))
    this.#sequence = withPublished(this.#sequence, stored.manifest.sequence)
    const bytes = formatSequence(this.#sequence)
    try {
      const ahead = await prepared?.catch((error: unknown) => {
        this.#warn(error, 'the sequence was not written ahead of publishing; it is written now')
      })
      if (ahead !== undefined && equalBytes(ahead.bytes, bytes)) {
        await ahead.replacement.commit()
      } else {
        await ahead?.replacement.abort()
        await this.#lease.replace(SEQUENCE_NAME, bytes)
      }
    } catch (error) {
      this.#warn(error, 'the sequence was not updated after publishing; the next checkpoint does it')
    }
  }

  #warn(error: unknown, what: string): void {
    this.#logger.warn({ storage: this.storage.name, reason: reasonOf(error) }, what)
  }

  /** Notes, before a checkpoint is removed on purpose, which one is the newest without it: it will not count as lost. */
  async noteRemoval(sequence: number, contents: StorageContents): Promise<void> {
    if (sequence < this.#sequence.newest) return
    const newest = contents.manifests.find((other) => other < sequence) ?? 0
    const next = { ...this.#sequence, newest }
    await this.#lease.replace(SEQUENCE_NAME, formatSequence(next))
    this.#sequence = next
  }

  /** As {@link StorageLease.create}. */
  async create(name: string): Promise<ObjectWriter> {
    return await this.#lease.create(name)
  }

  async open(name: string, options?: OpenOptions): Promise<ObjectReader | undefined> {
    return await this.storage.open(name, options)
  }

  async read(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    return await this.storage.read(name, maxBytes)
  }

  /** As {@link StorageLease.remove}. */
  async remove(name: string): Promise<boolean> {
    const removed = await this.#lease.remove(name)
    if (removed) this.#note((contents) => contents.noteRemoved(name))
    // Somebody else has removed it, and who knows what besides.
    else this.distrustContents()
    return removed
  }

  /** As {@link StorageLease.discardUncommitted}. */
  async discardUncommitted(graceMs: number): Promise<number> {
    return await this.#lease.discardUncommitted(graceMs)
  }

  /** This storage for a job of the worker, under this lease; `undefined` where it must be called here. */
  share(): SharedStorage | undefined {
    return this.#lease.share?.()
  }

  /** Lets the next owner in. Idempotent. */
  async release(): Promise<void> {
    await this.#lease.release()
  }
}

function withPublished(state: SequenceState, sequence: number): SequenceState {
  // One that was copied here may be older than others.
  const { published, newest } = state
  return { ...state, published: Math.max(published, sequence), newest: Math.max(newest, sequence) }
}

/** Whether an error says that something stored is not what was written, or that nothing was restored for that reason. */
function tellsOfDamage(error: unknown): boolean {
  if (isStateError(error, 'CORRUPTION')) return true
  if (!isStateError(error, 'RESTORE_FAILED')) return false
  return (
    isStateError(error.cause, 'CORRUPTION') || error.details.skipped.some(({ code }) => code === 'CORRUPTION')
  )
}

async function currentSequence(
  catalog: CheckpointCatalog,
  listing: StorageListing,
  logger: Logger,
): Promise<SequenceState> {
  let stored: SequenceState | undefined
  let damage: string | undefined
  try {
    stored = await catalog.sequence()
    if (stored === undefined && listing.largest > 0) damage = 'it is missing'
  } catch (error) {
    if (!isStateError(error, 'CORRUPTION')) throw error
    damage = error.message
  }
  const sequence = reconcileSequence(stored, listing)
  if (damage !== undefined) {
    logger.warn(
      { storage: catalog.storage.name, reason: damage, ...sequence },
      'the sequence of checkpoints was derived from the names of the files',
    )
    return atLeastOnePublished(sequence)
  }
  return sequence
}

/** A lost sequence proves that there was a writer; what it published is unknown, so it counts as something. */
function atLeastOnePublished(sequence: SequenceState): SequenceState {
  if (sequence.published > 0) return sequence
  return { reserved: Math.max(sequence.reserved, 1), published: 1, newest: sequence.newest }
}

/** Runs an action as the owner of a storage that is owned only for it. */
export async function asTemporaryOwner<T>(
  storage: CheckpointStorage,
  logger: Logger,
  action: (owner: LeasedStorage) => Promise<T>,
): Promise<T> {
  const owner = await LeasedStorage.acquire(new CheckpointCatalog(storage), logger)
  try {
    return await action(owner)
  } catch (error) {
    throw await owner.reasonFor(error)
  } finally {
    await releaseOwner(owner, logger)
  }
}

/** Lets the next owner in. A failure is only logged: it must not hide what happened before. */
export async function releaseOwner(owner: LeasedStorage, logger: Logger): Promise<void> {
  try {
    await owner.release()
  } catch (error) {
    logger.warn({ storage: owner.storage.name, reason: reasonOf(error) }, 'could not release the lease')
  }
}
