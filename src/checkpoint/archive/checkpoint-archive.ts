import type { EntryBlock } from '../../backend/entry-block.js'
import { capturedInterval, type KeyInterval } from '../../backend/scan-range.js'
import type { Entry, ScanRange } from '../../backend/types.js'
import { validateKey } from '../../backend/validate.js'
import { throwIfAborted } from '../../base/abort.js'
import { isStateError, reasonOf, type SkippedCheckpoint } from '../../base/errors.js'
import { hasMethods, invalidArgument, rejectViolations, rules, violationsOf } from '../../base/options.js'
import { blockCodec, type CodecOf, threadCodec } from '../../codec/block-codec.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { type Manifest, metadataOf } from '../format/manifest.js'
import { checkedSequence, checkpointId } from '../format/object-names.js'
import {
  type CheckpointId,
  type CheckpointMetadata,
  type CheckpointOptions,
  isolatedLogger,
  type Logger,
  type VerificationReport,
} from '../types.js'
import { CheckpointCatalog, checkStorage, missingManifest } from './checkpoint-catalog.js'
import { CheckpointReader } from './checkpoint-reader.js'
import { copyCheckpoint } from './copy-checkpoint.js'
import { type CheckpointDifference, differences } from './differences.js'
import { asTemporaryOwner, type LeasedStorage } from './leased-storage.js'
import type { Access } from './open-segments.js'
import { removeCheckpoint, removeCheckpoints } from './remove-checkpoint.js'
import { type SalvageOptions, salvaged } from './salvage.js'

/** How an archive reads. */
export interface ArchiveOptions {
  /** Default: nothing is logged. */
  readonly logger?: Logger
  /**
   * Whether blocks are decompressed in the thread pool, so that the calling thread has its turns for other work. Default true. A program that
   * only reads does as well without, and takes a hundred megabytes less: each thread of the pool keeps memory for itself. `gzip` and `zstd`
   * stay in the pool.
   */
  readonly offThread?: boolean
}

/** What a copy does beyond the checkpoint itself. */
export interface CopyOptions extends CheckpointOptions {
  /**
   * Where the copy fails, segments that were copied whole stay in the other storage, and the next attempt copies only what is missing. A
   * coordinator that owns that storage removes them after its `graceMs`. Default false: then nothing is left of a copy that failed.
   */
  readonly resumable?: boolean
}

/** Who is told of what cannot be listed. */
export interface ArchiveListOptions extends CheckpointOptions {
  /**
   * Told about each checkpoint that is not listed, because its manifest is damaged (`CORRUPTION`), cannot be read
   * (`STORAGE_ERROR`) or was written by a newer version (`INCOMPATIBLE`); also about the newest one where even its manifest is missing
   * (`CORRUPTION`). What it throws rejects the list.
   */
  readonly onSkipped?: (skipped: SkippedCheckpoint) => void
}

/** Who is told of what is removed. */
export interface ArchiveDeleteOptions extends CheckpointOptions {
  /** Told about each checkpoint once it is gone. What it throws ends the removal. */
  readonly onDeleted?: (id: CheckpointId) => void
}

/** How long what an unfinished copy has left behind is not touched. */
const LEFTOVER_GRACE_MS = 3_600_000

const archiveRules = { logger: hasMethods('debug', 'info', 'warn', 'error'), offThread: rules.boolean }
const callRules = { signal: rules.signal }
const salvageRules = { signal: rules.signal, onLost: rules.function }
const copyRules = { signal: rules.signal, resumable: rules.boolean }
const deleteRules = { signal: rules.signal, onDeleted: rules.function }
const listRules = { signal: rules.signal, onSkipped: rules.function }

/**
 * Reads the checkpoints in a storage, without an engine, and without the lease: also beside a coordinator that writes there.
 *
 * What it reads is of one instant, that of the checkpoint: an entry is there if it had not expired by the time that the
 * backend had when the checkpoint was made (the manifest's `clockMs`), whatever time it is now.
 *
 * Reads by key or range fetch only the blocks of the segments that may hold them. Each block is verified by its checksums and
 * against the index, and that by its own; the digest over a whole file is compared only where all of it is read: by `verify`,
 * by `copyTo`, and by `scan`, `blocks` and `diff` without a range.
 *
 * Errors: `INVALID_ARGUMENT` where there is no such checkpoint, also where it was removed while it was being read;
 * `CORRUPTION` where it is damaged; `INCOMPATIBLE` where a newer version wrote it; `ABORTED`; `STORAGE_ERROR`. A
 * checkpoint that is removed meanwhile gives what it held, or one of these, never anything else.
 *
 * @example
 * const archive = new CheckpointArchive(new FileCheckpointStorage('checkpoints'))
 * const [newest, ...older] = await archive.list()
 * for await (const [key, value] of archive.scan(newest.id, { prefix: Buffer.from('window:') })) …
 */
export class CheckpointArchive {
  readonly #storage: CheckpointStorage
  readonly #logger: Logger
  readonly #catalog: CheckpointCatalog
  readonly #codecOf: CodecOf

  /**
   * Touches nothing. `INVALID_ARGUMENT` where it is no storage. The logger is told what could not be cleaned up by `delete` and
   * `copyTo`; default: nobody.
   */
  constructor(storage: CheckpointStorage, options?: ArchiveOptions) {
    checkStorage(storage)
    rejectViolations(violationsOf(options, archiveRules))
    this.#logger = isolatedLogger(options?.logger)
    this.#storage = storage
    this.#catalog = new CheckpointCatalog(storage)
    this.#codecOf = options?.offThread === false ? (name) => threadCodec(name, false) : blockCodec
  }

  /**
   * The checkpoints and savepoints, newest first. Those whose manifest cannot be understood are left out, and told to
   * `onSkipped`. That a checkpoint is listed does not say that its segments are intact: `verify` does.
   */
  async list(options?: ArchiveListOptions): Promise<CheckpointMetadata[]> {
    rejectViolations(violationsOf(options, listRules))
    const listed: CheckpointMetadata[] = []
    const onSkipped = options?.onSkipped
    // Before the names: what is published after it is no newest one that is missing.
    const newest = onSkipped === undefined ? 0 : await this.#newestPublished()
    const { manifests, largestManifest } = await this.#catalog.listing()
    // Somebody may have deleted it on purpose since.
    if (newest > largestManifest && (await this.#newestPublished()) === newest) {
      const { code, message } = missingManifest(newest)
      onSkipped?.({ id: checkpointId(newest), code, reason: message })
    }
    for (const sequence of manifests) {
      throwIfAborted(options?.signal, 'list checkpoints')
      const stored = await this.#catalog.tryManifest(sequence)
      if (!isStateError(stored)) listed.push(metadataOf(stored))
      // Retention may have removed it since the storage was listed.
      else if (!(await this.#catalog.isGone(sequence))) {
        onSkipped?.({ id: checkpointId(sequence), code: stored.code, reason: stored.message })
      }
    }
    return listed
  }

  /** What a checkpoint says of itself: the names, sizes and digests of its segments, its time, its source's position. */
  async manifest(id: string): Promise<Manifest> {
    return (await this.#catalog.requiredManifest(checkedSequence(id))).manifest
  }

  /** Reads all of a checkpoint, as a restore would. `CORRUPTION` says what is damaged or missing. */
  async verify(id: string, options?: CheckpointOptions): Promise<VerificationReport> {
    rejectViolations(violationsOf(options, callRules))
    const signal = options?.signal
    const reader = await this.#open(id, 'sequential')
    try {
      for await (const _ of reader.blocks({ ...(signal && { signal }) })) {
        // That the stream comes to its end is all that is wanted.
      }
    } finally {
      await reader.close()
    }
    const { checkpoint, manifest } = reader
    const { entryCount, sizeBytes } = checkpoint
    return { checkpoint, segments: manifest.segments.length, entryCount, bytesRead: sizeBytes }
  }

  /** The value of a key in a checkpoint; `undefined` where it has none. For many keys, `open` the checkpoint once. */
  async get(id: string, key: Uint8Array, options?: CheckpointOptions): Promise<Uint8Array | undefined> {
    validateKey(key)
    rejectViolations(violationsOf(options, callRules))
    const reader = await this.open(id)
    try {
      return await reader.get(key, options)
    } finally {
      await reader.close()
    }
  }

  /** The entries of a checkpoint in range, in key order or, with `reverse`, from the largest key down. */
  scan(id: string, range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#reading(id, capturedInterval(range), (reader, within) => reader.scan(within))
  }

  /**
   * The entries of a checkpoint in range as packed blocks in key order, expiry included: what a backend's `replaceAll` takes. A
   * stream without a range ends normally only if all of the checkpoint verified. `INVALID_ARGUMENT` for `reverse` and `limit`.
   */
  blocks(id: string, range?: ScanRange): AsyncIterableIterator<EntryBlock> {
    return this.#reading(id, capturedInterval(range), (reader, within) => reader.blocks(within))
  }

  /**
   * Opens a checkpoint to read from it several times: its segments are then opened once. Close it; until then its files stay
   * readable on most storages, also when it is removed.
   */
  async open(id: string): Promise<CheckpointReader> {
    return await this.#open(id, 'random')
  }

  /**
   * What has changed from one checkpoint to another, in key order: keys that only the other one has are `added`, those that
   * only the first one has are `removed`, and those with another value or another expiry are `changed`. Both are read
   * side by side, a few blocks at a time. `INVALID_ARGUMENT` for `reverse` and `limit`.
   */
  diff(id: string, otherId: string, range?: ScanRange): AsyncIterableIterator<CheckpointDifference> {
    return this.#diff(id, otherId, capturedInterval(range))
  }

  /**
   * What can still be read of a damaged checkpoint, as blocks in key order; what cannot is told to `onLost`. Where changes of a delta
   * are lost, older entries come out in their stretch. It is for people who decide what to do with it: a restore takes all or
   * nothing. `CORRUPTION` where the manifest is damaged.
   */
  salvage(id: string, options: SalvageOptions = {}): AsyncIterableIterator<EntryBlock> {
    rejectViolations(violationsOf(options, salvageRules))
    return this.#salvage(checkedSequence(id), options)
  }

  async *#salvage(sequence: number, options: SalvageOptions): AsyncGenerator<EntryBlock, void, undefined> {
    const { manifest } = await this.#catalog.requiredManifest(sequence)
    yield* salvaged(this.#storage, manifest, this.#codecOf, options)
  }

  /**
   * Copies a checkpoint into another storage, under its id, and verifies all of it there: first the segments that are missing
   * there, then the manifest, so that nobody sees half a checkpoint. Where it is there already, that is verified and nothing is
   * written. A coordinator on that storage restores it, retains it and deletes it like its own. It takes that storage's lease
   * for as long as it runs: `FENCED` while a coordinator owns it. `INVALID_ARGUMENT` where another checkpoint has that id there;
   * `CORRUPTION` where it is damaged on either side. What copies that were killed have begun there and never finished is
   * removed after an hour, by the next one.
   */
  async copyTo(storage: CheckpointStorage, id: string, options?: CopyOptions): Promise<CheckpointMetadata> {
    checkStorage(storage)
    const sequence = checkedSequence(id)
    rejectViolations(violationsOf(options, copyRules))
    const { bytes: manifestBytes, stored } = await this.#catalog.requiredManifestBytes(sequence)
    const copy = async (to: LeasedStorage) => {
      const { signal, resumable = false } = options ?? {}
      await copyCheckpoint({
        from: this.#storage,
        stored,
        manifestBytes,
        to,
        signal,
        resumable,
        logger: this.#logger,
        codecOf: this.#codecOf,
      })
      await this.#discardLeftovers(to)
      return metadataOf(stored)
    }
    try {
      return await asTemporaryOwner(storage, this.#logger, copy)
    } catch (error) {
      throw await this.#explained(sequence, error)
    }
  }

  /**
   * Removes a checkpoint or savepoint, also a damaged one, and the segments that no other one needs. It takes the storage's lease
   * for that: `FENCED` while a coordinator owns it, whose `deleteCheckpoint` is then the way. Resolves to false where there is none.
   */
  async delete(id: string): Promise<boolean> {
    const sequence = checkedSequence(id)
    const remove = (owner: LeasedStorage) => removeCheckpoint(owner, sequence)
    return await asTemporaryOwner(this.#storage, this.#logger, remove)
  }

  /**
   * Removes many, as `delete` does each. It takes the lease once, and looks once at what is there, where `delete` does so each time. Those that
   * are not there are passed over. `signal` is looked at behind each hundred; what is removed by then stays so.
   */
  async deleteAll(ids: readonly string[], options?: ArchiveDeleteOptions): Promise<void> {
    if (!Array.isArray(ids)) throw invalidArgument('ids', 'must be an array')
    rejectViolations(violationsOf(options, deleteRules))
    const sequences = ids.map(checkedSequence).sort((left, right) => left - right)
    const { signal, onDeleted } = options ?? {}
    const onRemoved = (sequence: number) => onDeleted?.(checkpointId(sequence))
    await asTemporaryOwner(this.#storage, this.#logger, (owner) =>
      removeCheckpoints(owner, sequences, { signal, onRemoved }),
    )
  }

  async *#diff(
    id: string,
    otherId: string,
    captured: () => KeyInterval,
  ): AsyncGenerator<CheckpointDifference, void, undefined> {
    const interval = captured()
    const access = accessFor(interval)
    const range = rangeOf(interval)
    const before = await this.#open(id, access)
    try {
      const after = await this.#open(otherId, access)
      try {
        yield* differences(before.blocks(range), after.blocks(range))
      } finally {
        await after.close()
      }
    } finally {
      await before.close()
    }
  }

  async *#reading<Item>(
    id: string,
    captured: () => KeyInterval,
    read: (reader: CheckpointReader, range: ScanRange) => AsyncIterable<Item>,
  ): AsyncGenerator<Item, void, undefined> {
    const interval = captured()
    const reader = await this.#open(id, accessFor(interval))
    try {
      yield* read(reader, rangeOf(interval))
    } finally {
      await reader.close()
    }
  }

  async #open(id: string, access: Access): Promise<CheckpointReader> {
    const sequence = checkedSequence(id)
    const stored = await this.#catalog.requiredManifest(sequence)
    return await CheckpointReader.open(this.#storage, stored, access, this.#codecOf, (error) =>
      this.#explained(sequence, error),
    )
  }

  /** The number of the newest checkpoint that nobody deleted on purpose; 0 where there is none, or that cannot be told. */
  async #newestPublished(): Promise<number> {
    try {
      return (await this.#catalog.sequence())?.newest ?? 0
    } catch (error) {
      if (isStateError(error)) return 0
      throw error
    }
  }

  /** There may never be a coordinator on that storage, which would do so. A failure here is none of the copy. */
  async #discardLeftovers(to: LeasedStorage): Promise<void> {
    try {
      await to.discardUncommitted(LEFTOVER_GRACE_MS)
    } catch (error) {
      const fields = { storage: to.storage.name, reason: reasonOf(error) }
      this.#logger.warn(fields, 'could not remove what unfinished copies have left behind')
    }
  }

  /** The error, or that there is no such checkpoint, where it was removed while it was being read. */
  async #explained(sequence: number, error: unknown): Promise<unknown> {
    const mayBeGone = isStateError(error, 'CORRUPTION') || isStateError(error, 'STORAGE_ERROR')
    return mayBeGone && (await this.#catalog.isGone(sequence)) ? this.#catalog.noSuchCheckpoint(error) : error
  }
}

/** Without bounds, everything is read. */
function accessFor({ from, until }: KeyInterval): Access {
  return from.length === 0 && until === undefined ? 'sequential' : 'random'
}

function rangeOf({ from, until, reverse, limit, signal }: KeyInterval): ScanRange {
  return { gte: from, reverse, limit, ...(until && { lt: until }), ...(signal && { signal }) }
}
