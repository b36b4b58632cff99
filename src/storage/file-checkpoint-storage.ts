import { resolve } from 'node:path'
import { systemClock } from '../base/clock.js'
import { compiledModule } from '../base/compiled.js'
import { invalidArgument } from '../base/options.js'
import { DurableDirectory } from '../files/durable-directory.js'
import { afterCleanUp, checkSmall } from '../files/file-failure.js'
import { FileLease } from '../files/file-lease.js'
import { checkObjectName, isObjectName, isTemporaryName } from '../files/file-names.js'
import { TemporaryFile } from '../files/temporary-file.js'
import type {
  CheckpointStorage,
  ObjectReader,
  ObjectWriter,
  SharedStorage,
  StorageLease,
  StoredObject,
} from './checkpoint-storage.js'
import { createObject, openObject } from './file-objects.js'
import { checkBytes, checkGraceMs, checkMaxBytes } from './object-arguments.js'

/**
 * Checkpoints in one directory of a local file system, one file per object; `docs/format/storage.md` specifies it.
 *
 * The directory is created where it does not exist (mode 0700, as are missing parents; files 0600), by the first
 * call that writes. Everything published survives `kill -9` and power loss, on a file system that has hard links
 * and keeps what was fsynced. Files that are not ours are left alone and never listed.
 *
 * The lease of a process that is gone is taken over at once. A process on another host counts as alive, since
 * nothing here could tell; `FENCED` then says which file to remove once that host is known to be gone. A lease file
 * that cannot be read is `CORRUPTION` with the same advice. Machines that share a directory need different host
 * names.
 *
 * Several objects may use one directory, in several threads or processes: it is the lease that makes one the writer.
 *
 * @example
 * const storage = new FileCheckpointStorage('/var/lib/app/checkpoints')
 * const lease = await storage.acquire()
 */
export class FileCheckpointStorage implements CheckpointStorage {
  readonly name: string
  readonly #directory: DurableDirectory

  /**
   * `directory` is resolved against the working directory now, so that a later change of it does not matter.
   * Nothing is touched yet. `INVALID_ARGUMENT` where it is not a path.
   */
  constructor(directory: string) {
    if (typeof directory !== 'string' || directory === '' || directory.includes('\0')) {
      throw invalidArgument('directory', 'must be a path: a non-empty string without NUL')
    }
    this.#directory = new DurableDirectory(resolve(directory))
    this.name = this.#directory.storageName
  }

  async acquire(): Promise<StorageLease> {
    return await FileLease.acquire(this.#directory)
  }

  async create(name: string): Promise<ObjectWriter> {
    return await createObject(this.#directory, name)
  }

  async open(name: string): Promise<ObjectReader | undefined> {
    return await openObject(this.#directory, name)
  }

  async read(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    checkMaxBytes(maxBytes)
    const reader = await this.open(name)
    if (reader === undefined) return undefined
    try {
      checkSmall(this.#directory.pathOf(name), reader.sizeBytes, maxBytes)
      return await reader.read(0, reader.sizeBytes)
    } finally {
      await reader.close()
    }
  }

  async replace(name: string, bytes: Uint8Array): Promise<void> {
    checkObjectName(name)
    checkBytes(bytes)
    const file = await TemporaryFile.create(this.#directory)
    try {
      await file.write(bytes)
      await file.replaceAs(name)
    } catch (failure) {
      throw await afterCleanUp(failure, this.name, () => file.discard())
    }
  }

  async list(): Promise<StoredObject[]> {
    const objects: StoredObject[] = []
    for (const name of await this.#directory.names('list')) {
      if (!isObjectName(name)) continue
      const file = await this.#directory.inspect(name, 'list')
      if (file !== undefined) objects.push({ name, sizeBytes: file.sizeBytes })
    }
    return objects
  }

  async remove(name: string): Promise<boolean> {
    checkObjectName(name)
    const removed = await this.#directory.unlink(name, 'remove')
    // Where an earlier removal failed to become durable, this one finds nothing and still completes it.
    if (removed || (await this.#directory.exists('remove'))) await this.#directory.sync('remove')
    return removed
  }

  async discardUncommitted(graceMs: number): Promise<number> {
    checkGraceMs(graceMs)
    const operation = 'discard uncommitted files'
    const untouchedSinceMs = systemClock.now() - graceMs
    let discarded = 0
    for (const name of await this.#directory.names(operation)) {
      if (!isTemporaryName(name) || this.#directory.isLive(name)) continue
      const file = await this.#directory.inspect(name, operation)
      // The one place where the time of a file counts: nothing else tells how old a temporary file is.
      if (file === undefined || file.modifiedAtMs > untouchedSinceMs) continue
      if (await this.#directory.unlink(name, operation)) discarded++
    }
    return discarded
  }

  share(): SharedStorage {
    const data = this.#directory.share()
    const module = compiledModule('#storage/shared-file-storage').href
    return { module, data, release: () => this.#directory.livePrefixes.delete(data.temporaryPrefix) }
  }
}
