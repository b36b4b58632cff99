// How bytes get a name. Every file in the directory, object or lease, takes this road:
//
// create (wx, 0600) → write* → fsync → close, guard → link or rename to the final name → fsync the directory
//
// (1) A final name only ever names a whole file whose bytes were fsynced before.
// (2) link fails where the name exists: of two writers of one name exactly one publishes.
// (3) A file whose fsync failed is never synced again. The kernel may have marked its pages clean, so a second,
//     successful fsync would prove nothing (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
// (4) When the directory cannot be synced after link, the final name is taken back: what was not acknowledged is
//     not listed. Should that fail too, the name stands for a whole file.
// (5) The guard is the owner's lease: it is checked last of all. An owner that takes over removes the temporary files of
//     the one before, so that link and rename fail for whoever was checked before that.

import { type FileHandle, link, open, rename } from 'node:fs/promises'
import { assert, present } from '../base/assert.js'
import { isStateError } from '../base/errors.js'
import { type DurableDirectory, MAX_TRANSFER_BYTES } from './durable-directory.js'
import { afterCleanUp, errnoOf, storageError } from './file-failure.js'
import { newTemporaryName } from './file-names.js'

/** Says whether the lease under which a file is written is still held. */
export interface LeaseGuard {
  /** Rejects with `FENCED` or `CLOSED` where it is not. */
  check(): Promise<void>
}

/** A file without a final name. After any failure the only thing left to do is `discard`. */
export class TemporaryFile {
  readonly #directory: DurableDirectory
  readonly #name: string
  #handle: FileHandle | undefined
  #isSynced = false

  private constructor(directory: DurableDirectory, name: string, handle: FileHandle) {
    this.#directory = directory
    this.#name = name
    this.#handle = handle
  }

  static async create(directory: DurableDirectory): Promise<TemporaryFile> {
    const name = newTemporaryName(directory.temporaryPrefix)
    directory.liveTemporaries.add(name)
    try {
      return new TemporaryFile(directory, name, await openNew(directory, name))
    } catch (error) {
      directory.liveTemporaries.delete(name)
      throw error
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    const handle = present(this.#handle, 'a temporary file is written before it is sealed')
    assert(!this.#isSynced, 'a temporary file is written before it is synced')
    let written = 0
    while (written < bytes.length) {
      const length = Math.min(bytes.length - written, MAX_TRANSFER_BYTES)
      const { bytesWritten } = await this.#attempt('write', handle.write(bytes, written, length))
      // A disk that fills up shows as a short write without an error; the next write says why, or takes nothing.
      if (bytesWritten === 0) {
        const cause = new Error('nothing was written and no error given; check the free space, then retry')
        throw storageError(this.#directory.storageName, 'write', this.#path, cause)
      }
      written += bytesWritten
    }
  }

  /** Makes what was written durable, once and for all: nothing is written behind it. */
  async sync(): Promise<void> {
    const handle = present(this.#handle, 'a temporary file is synced before it is sealed')
    assert(!this.#isSynced, 'a temporary file is synced once')
    await this.#attempt('sync', handle.sync())
    this.#isSynced = true
  }

  /** Gives the file its final name. Resolves to false where that name exists; then `discard` is due. */
  async publishAs(name: string, guard: LeaseGuard | undefined): Promise<boolean> {
    await this.#seal(guard)
    const finalPath = this.#directory.pathOf(name)
    try {
      await link(this.#path, finalPath)
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false
      await guard?.check()
      throw storageError(this.#directory.storageName, 'publish', finalPath, error)
    }
    // The object is there already. A temporary name that cannot be removed is a second name of the same file,
    // costs no space, and goes with the next discardUncommitted.
    await this.discard().catch(() => undefined)
    try {
      await this.#directory.sync('publish')
    } catch (failure) {
      throw await afterCleanUp(failure, this.#directory.storageName, async () => {
        await this.#directory.unlink(name, 'take back')
      })
    }
    return true
  }

  /**
   * As {@link publishAs}, for a lease, which needs no other. False also where a new owner has removed this file meanwhile, with
   * everything else that others had begun.
   */
  async publishLease(name: string): Promise<boolean> {
    try {
      return await this.publishAs(name, undefined)
    } catch (error) {
      if (isStateError(error) && errnoOf(error.cause) === 'ENOENT') return false
      throw error
    }
  }

  /** Gives the file its final name in place of the file that has it. */
  async replaceAs(name: string, guard: LeaseGuard | undefined): Promise<void> {
    await this.#seal(guard)
    const finalPath = this.#directory.pathOf(name)
    try {
      await rename(this.#path, finalPath)
    } catch (error) {
      await guard?.check()
      const culprit = errnoOf(error) === 'EISDIR' ? finalPath : this.#path
      throw storageError(this.#directory.storageName, 'replace', culprit, error)
    }
    this.#directory.liveTemporaries.delete(this.#name)
    await this.#directory.sync('replace')
  }

  /** Removes the temporary name. Idempotent; nothing happens where the file has moved to its final name. */
  async discard(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    this.#directory.liveTemporaries.delete(this.#name)
    // What closing would report concerns bytes that are thrown away.
    await handle?.close().catch(() => undefined)
    await this.#directory.unlink(this.#name, 'remove a temporary file')
  }

  get #path(): string {
    return this.#directory.pathOf(this.#name)
  }

  #attempt<T>(operation: string, step: Promise<T>): Promise<T> {
    return this.#directory.attempt(operation, this.#path, step)
  }

  /** Resolves when the bytes are durable and, after that, the lease was seen to be held. */
  async #seal(guard: LeaseGuard | undefined): Promise<void> {
    const handle = present(this.#handle, 'a temporary file is sealed once')
    if (!this.#isSynced) await this.sync()
    this.#handle = undefined
    const closed = this.#attempt('close', handle.close())
    // Met below.
    closed.catch(() => {})
    await guard?.check()
    await closed
  }
}

/** Each step is a trip to the thread pool: once the directory is known to be there, it is looked for only where the file cannot be made. */
async function openNew(directory: DurableDirectory, name: string): Promise<FileHandle> {
  const path = directory.pathOf(name)
  const create = () => open(path, 'wx', 0o600)
  if (directory.isPrepared) {
    try {
      return await create()
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw storageError(directory.storageName, 'create a file', path, error)
    }
  }
  await directory.prepare()
  return await directory.attempt('create a file', path, create())
}
