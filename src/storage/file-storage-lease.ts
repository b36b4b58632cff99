import { systemClock } from '../base/clock.js'
import { compiledModule } from '../base/compiled.js'
import type { DurableDirectory } from '../files/durable-directory.js'
import { afterCleanUp } from '../files/file-failure.js'
import type { FileLease } from '../files/file-lease.js'
import { checkObjectName, isTemporaryName } from '../files/file-names.js'
import { TemporaryFile } from '../files/temporary-file.js'
import type { ObjectWriter, PreparedReplacement, SharedStorage, StorageLease } from './checkpoint-storage.js'
import { createObject, type SharedLease } from './file-objects.js'
import { checkBytes, checkGraceMs } from './object-arguments.js'

/** Writes to the directory of a {@link FileCheckpointStorage}; the lease is checked right before each change of a name. */
export class FileStorageLease implements StorageLease {
  readonly token: number
  readonly #directory: DurableDirectory
  readonly #lease: FileLease

  constructor(directory: DurableDirectory, lease: FileLease) {
    this.token = lease.token
    this.#directory = directory
    this.#lease = lease
  }

  async check(): Promise<void> {
    await this.#lease.check()
  }

  async create(name: string): Promise<ObjectWriter> {
    checkObjectName(name)
    await this.#lease.check()
    return await createObject(this.#directory, name, this.#lease)
  }

  async replace(name: string, bytes: Uint8Array): Promise<void> {
    const prepared = await this.#prepare(name, bytes)
    await prepared.commit()
  }

  async prepareReplace(name: string, bytes: Uint8Array): Promise<PreparedReplacement> {
    return await this.#prepare(name, bytes)
  }

  async #prepare(name: string, bytes: Uint8Array): Promise<PreparedReplacement> {
    checkObjectName(name)
    checkBytes(bytes)
    await this.#lease.check()
    const file = await TemporaryFile.create(this.#directory)
    const attempt = async (step: () => Promise<void>) => {
      try {
        await step()
      } catch (failure) {
        throw await afterCleanUp(failure, this.#directory.storageName, () => file.discard())
      }
    }
    await attempt(async () => {
      await file.write(bytes)
      await file.sync()
    })
    return {
      commit: () => attempt(() => file.replaceAs(name, this.#lease)),
      abort: () => file.discard(),
    }
  }

  async remove(name: string): Promise<boolean> {
    checkObjectName(name)
    await this.#lease.check()
    const removed = await this.#directory.unlink(name, 'remove')
    // Where an earlier removal failed to become durable, this one finds nothing and still completes it.
    if (removed || (await this.#directory.exists('remove'))) await this.#directory.sync('remove')
    return removed
  }

  async discardUncommitted(graceMs: number): Promise<number> {
    checkGraceMs(graceMs)
    await this.#lease.check()
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
    const directory = this.#directory.share()
    const data: SharedLease = { directory, lease: this.#lease.mark }
    const module = compiledModule('#storage/shared-file-storage').href
    return { module, data, release: () => this.#directory.livePrefixes.delete(directory.temporaryPrefix) }
  }

  async release(): Promise<void> {
    await this.#lease.release()
  }
}
