import { throwIfAborted } from '../../base/abort.js'
import { equalBytes } from '../../base/bytes.js'
import { reasonOf, StateError } from '../../base/errors.js'
import type { ObjectWriter } from '../../storage/checkpoint-storage.js'
import type { LeasedStorage, PreparedNote } from '../archive/leased-storage.js'
import { MAX_MANIFEST_BYTES } from '../format/manifest.js'
import { checkpointId, manifestName } from '../format/object-names.js'
import type { Logger } from '../types.js'
import { logLeftover, removeAfterFailure } from './checkpoint-failure.js'

/** A manifest that was written, durably where the storage can do that before it is committed, and that has no name yet. */
interface WrittenManifest {
  readonly output: ObjectWriter
  readonly bytes: Uint8Array
}

/** Whether work has settled before nothing was heard of the storage for a while. */
export type IsHeardUntil = (work: Promise<unknown>) => Promise<boolean>

/**
 * The manifest of one checkpoint on its way into the storage. It may be written while its segment is still being committed and read
 * back; what makes a checkpoint of it, its commit, comes after that. The note behind it (sequence-file.ts) is written ahead as well.
 */
export class ManifestPublication {
  readonly #owner: LeasedStorage
  readonly #sequence: number
  readonly #logger: Logger
  readonly #isHeardUntil: IsHeardUntil
  #written: Promise<WrittenManifest> | undefined
  #note: Promise<PreparedNote | undefined> | undefined
  #isDiscarded = false

  constructor(owner: LeasedStorage, sequence: number, logger: Logger, isHeardUntil: IsHeardUntil) {
    this.#owner = owner
    this.#sequence = sequence
    this.#logger = logger
    this.#isHeardUntil = isHeardUntil
  }

  /** Begins to write it, ahead, and the note behind it. What fails is met by {@link publish}, and by who notes the publication. */
  begin(manifest: () => Uint8Array): void {
    if (this.#isDiscarded) return
    this.#written = this.#write(manifest)
    this.#written.catch(() => {})
    this.#note = this.#owner.prepareNote(this.#sequence)
    this.#note.catch(() => {})
  }

  /** The note of what was published, where it was written ahead. */
  get preparedNote(): Promise<PreparedNote | undefined> | undefined {
    return this.#note
  }

  /**
   * Commits it, and reads it back. What fails leaves no checkpoint: a manifest whose commit failed is taken back, and so is the
   * segment that only it would name.
   */
  async publish(bytes: Uint8Array, segment: string, signal: AbortSignal | undefined): Promise<void> {
    const name = manifestName(this.#sequence)
    let attempted = false
    try {
      const output = await this.#outputOf(bytes)
      throwIfAborted(signal, 'checkpoint')
      attempted = true
      await output.commit()
      const published = await this.#owner.storage.read(name, MAX_MANIFEST_BYTES)
      if (published === undefined || !equalBytes(published, bytes)) {
        const reason = 'it does not read back as it was written'
        throw new StateError('CORRUPTION', { what: `manifest of ${checkpointId(this.#sequence)}`, reason })
      }
    } catch (failure) {
      const error = await this.#owner.reasonFor(failure)
      await this.discard(error)
      // A commit that failed may have published all the same. This checkpoint failed: take it back if it is there.
      // Only when the manifest is gone for certain may its segment go. FENCED means that the name is somebody else's.
      const names = attempted ? [name, segment] : [segment]
      await removeAfterFailure(this.#owner, names, error, this.#logger)
      throw error
    }
  }

  /**
   * What was written and not committed is thrown away, and nothing is begun any more. Never rejects, and does not wait for a storage that
   * is silent: why there is no checkpoint is to be told also where the manifest hangs, which is then thrown away once it comes to an end.
   */
  async discard(after: unknown): Promise<void> {
    this.#isDiscarded = true
    if (await this.#isHeardUntil(this.#throwAway(after))) return
    this.#logLeftover('the storage does not answer', after)
  }

  async #throwAway(after: unknown): Promise<void> {
    await Promise.all([this.#throwManifestAway(after), this.#throwNoteAway(after)])
  }

  async #throwNoteAway(after: unknown): Promise<void> {
    const note = await this.#note?.catch(() => undefined)
    this.#note = undefined
    if (note !== undefined) await this.#abort(note.replacement, after)
  }

  async #throwManifestAway(after: unknown): Promise<void> {
    const written = await this.#written?.catch(() => undefined)
    this.#written = undefined
    if (written !== undefined) await this.#abort(written.output, after)
  }

  /** The writer of a manifest of these bytes: of the one that was begun, if it has them. */
  async #outputOf(bytes: Uint8Array): Promise<ObjectWriter> {
    const ahead = await this.#written
    if (ahead !== undefined && equalBytes(ahead.bytes, bytes)) return ahead.output
    if (ahead !== undefined) await this.#abort(ahead.output, 'it was begun with other bytes')
    this.#written = this.#write(() => bytes)
    return (await this.#written).output
  }

  async #write(manifest: () => Uint8Array): Promise<WrittenManifest> {
    const bytes = manifest()
    const output = await this.#owner.create(manifestName(this.#sequence))
    try {
      await output.write(bytes)
      await output.prepare?.()
      return { output, bytes }
    } catch (error) {
      await this.#abort(output, error)
      throw error
    }
  }

  async #abort(output: Pick<ObjectWriter, 'abort'>, after: unknown): Promise<void> {
    try {
      await output.abort()
    } catch (failure) {
      this.#logLeftover(reasonOf(failure), after)
    }
  }

  #logLeftover(failure: string, after: unknown): void {
    logLeftover(this.#logger, { what: 'discard an uncommitted file', failure, after: reasonOf(after) })
  }
}
