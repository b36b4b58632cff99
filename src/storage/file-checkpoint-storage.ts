import { resolve } from 'node:path'
import { compiledModule } from '../base/compiled.js'
import { invalidArgument } from '../base/options.js'
import { DurableDirectory } from '../files/durable-directory.js'
import { FileLease } from '../files/file-lease.js'
import { isObjectName } from '../files/file-names.js'
import type {
  AcquireOptions,
  CheckpointStorage,
  ObjectReader,
  SharedStorage,
  StorageLease,
  StoredObject,
} from './checkpoint-storage.js'
import { openObject, readObject } from './file-objects.js'
import { FileStorageLease } from './file-storage-lease.js'
import { checkAcquireOptions } from './object-arguments.js'

/** Files that are looked at beside each other: one after the other, a listing of many waits for turns and for threads of the pool more than for the disk. */
const LOOKED_AT_TOGETHER = 16

/**
 * Checkpoints in one directory of a local file system, one file per object; `docs/format/storage.md` specifies it.
 *
 * The directory is created where it does not exist (mode 0700, as are missing parents; files 0600), by the first
 * call that writes. Everything published survives `kill -9` and power loss, on a file system that has hard links
 * and keeps what was fsynced. Files that are not ours are left alone and never listed.
 *
 * The lease of a process or thread that is gone is taken over at once, where that can be seen: in the same pid namespace of the
 * same boot of the same host. Otherwise `acquire` looks on: a lease that is not renewed for 10 s is taken over, and where it is
 * renewed, `FENCED` says what to do. A lease file that cannot be read is `CORRUPTION` with advice.
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

  async acquire(options?: AcquireOptions): Promise<StorageLease> {
    checkAcquireOptions(options)
    return new FileStorageLease(this.#directory, await FileLease.acquire(this.#directory, options))
  }

  async open(name: string): Promise<ObjectReader | undefined> {
    return await openObject(this.#directory, name)
  }

  async read(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    return await readObject(this.#directory, name, maxBytes)
  }

  async list(): Promise<StoredObject[]> {
    const objects: StoredObject[] = []
    const names = (await this.#directory.names('list')).filter(isObjectName)
    for (let at = 0; at < names.length; at += LOOKED_AT_TOGETHER) {
      const group = names.slice(at, at + LOOKED_AT_TOGETHER)
      // A link is not followed. It is told of: what depends on an object that cannot be read is not taken for a leftover.
      const sizes = await Promise.all(group.map((name) => this.#directory.sizeOf(name, 'list')))
      for (const [i, name] of group.entries()) {
        const sizeBytes = sizes[i]
        if (sizeBytes !== undefined) objects.push({ name, sizeBytes })
      }
    }
    return objects
  }

  share(): SharedStorage {
    const module = compiledModule('#storage/shared-file-storage').href
    return { module, data: { path: this.#directory.path }, release: () => {} }
  }
}
