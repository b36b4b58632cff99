import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StateError } from '../base/errors.js'
import { errnoOf, storageError } from './file-failure.js'
import { newTemporaryPrefix } from './file-names.js'

// A symbolic link is not followed, and a planted FIFO does not hang the opening. Windows has neither flag.
const READ_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

/** Bytes of a disk block as `stat` counts them. */
const STAT_BLOCK_BYTES = 512

export interface FileFacts {
  readonly sizeBytes: number
  /** What it takes on disk, which for a sparse file is less than its size. */
  readonly diskBytes: number
  readonly modifiedAtMs: number
  /** How many names it has, in whichever directories. */
  readonly links: number
}

/** What another thread needs to work on the same directory. */
export interface SharedDirectory {
  readonly path: string
  readonly temporaryPrefix: string
  readonly unsyncedParents: readonly string[]
}

/** The directory of a {@link FileCheckpointStorage}, as durable steps that fail with `STORAGE_ERROR`. */
export class DurableDirectory {
  readonly path: string
  /** For messages: `'file:/var/lib/app/checkpoints'`. */
  readonly storageName: string
  /** Temporary files that a writer of this object is still using. */
  readonly liveTemporaries: Set<string> = new Set()
  /** Beginnings of the names of temporary files that other threads of this process are using. */
  readonly livePrefixes: Set<string> = new Set()
  /** How the names of this object's temporary files begin, where that was agreed. */
  readonly temporaryPrefix: string | undefined
  /** Directories above this one whose newest entry may not be durable. */
  readonly #unsyncedParents: Set<string>

  /** `path` is absolute. */
  constructor(path: string, shared?: Omit<SharedDirectory, 'path'>) {
    this.path = path
    this.storageName = `file:${path}`
    this.temporaryPrefix = shared?.temporaryPrefix
    this.#unsyncedParents = new Set(shared?.unsyncedParents ?? [dirname(path)])
  }

  /** This directory for another thread: its temporary files have names that this object knows as being in use. */
  share(): SharedDirectory {
    const temporaryPrefix = newTemporaryPrefix()
    this.livePrefixes.add(temporaryPrefix)
    return { path: this.path, temporaryPrefix, unsyncedParents: [...this.#unsyncedParents] }
  }

  /** Whether a writer of this object, or of a thread that it was shared with, uses a temporary file of that name. */
  isLive(name: string): boolean {
    return this.liveTemporaries.has(name) || [...this.livePrefixes].some((prefix) => name.startsWith(prefix))
  }

  pathOf(name: string): string {
    return join(this.path, name)
  }

  /** Waits for a step of the operating system and turns its failure into `STORAGE_ERROR`. */
  async attempt<T>(operation: string, path: string, step: Promise<T>): Promise<T> {
    try {
      return await step
    } catch (error) {
      throw storageError(this.storageName, operation, path, error)
    }
  }

  /** It was there, durably, when this object last looked; somebody may have removed it since. */
  get isPrepared(): boolean {
    return this.#unsyncedParents.size === 0
  }

  /** Creates the directory, durably, where it does not exist. */
  async prepare(): Promise<void> {
    const operation = 'create the directory'
    const created = await this.attempt(operation, this.path, createDirectories(this.path))
    for (const level of created) this.#unsyncedParents.add(dirname(level))
    for (const parent of this.#unsyncedParents) {
      try {
        await syncDirectory(parent)
      } catch (error) {
        // Syncing needs read permission, which the directory above one that already exists need not give us.
        if (created.length > 0 || errnoOf(error) !== 'EACCES') {
          throw storageError(this.storageName, operation, parent, error)
        }
      }
      this.#unsyncedParents.delete(parent)
    }
  }

  /** Makes the names in the directory durable: those added, replaced and removed. */
  async sync(operation: string): Promise<void> {
    await this.attempt(operation, this.path, syncDirectory(this.path))
  }

  /** Every name in the directory; none where it does not exist. */
  async names(operation: string): Promise<string[]> {
    try {
      return await readdir(this.path)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return []
      throw storageError(this.storageName, operation, this.path, error)
    }
  }

  async exists(operation: string): Promise<boolean> {
    try {
      await lstat(this.path)
      return true
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false
      throw storageError(this.storageName, operation, this.path, error)
    }
  }

  /** Sizes and age of a regular file; `undefined` for anything else and where there is nothing. */
  async inspect(name: string, operation: string): Promise<FileFacts | undefined> {
    try {
      const stats = await lstat(this.pathOf(name))
      if (!stats.isFile()) return undefined
      // Whole milliseconds, as the clock has them: a file written this instant is not from the future.
      const modifiedAtMs = Math.floor(stats.mtimeMs)
      const { size: sizeBytes, nlink: links } = stats
      return { sizeBytes, diskBytes: stats.blocks * STAT_BLOCK_BYTES, modifiedAtMs, links }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw storageError(this.storageName, operation, this.pathOf(name), error)
    }
  }

  /**
   * Bytes of a regular file, or of a symbolic link itself, which may stand for a file that somebody has moved away; `undefined` for
   * anything else and where there is nothing.
   */
  async sizeOf(name: string, operation: string): Promise<number | undefined> {
    try {
      const stats = await lstat(this.pathOf(name))
      return stats.isFile() || stats.isSymbolicLink() ? stats.size : undefined
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw storageError(this.storageName, operation, this.pathOf(name), error)
    }
  }

  /** Opens a regular file for reading; `undefined` where there is none. */
  async openFile(
    name: string,
    operation: string,
  ): Promise<{ readonly handle: FileHandle; readonly sizeBytes: number } | undefined> {
    const path = this.pathOf(name)
    let handle: FileHandle
    try {
      handle = await open(path, READ_FLAGS)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw storageError(this.storageName, operation, path, error)
    }
    try {
      const stats = await this.attempt(operation, path, handle.stat())
      if (!stats.isFile()) {
        throw storageError(this.storageName, operation, path, new Error('not a regular file; move it away'))
      }
      return { handle, sizeBytes: stats.size }
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** Fills `target` from `position`; `CORRUPTION` where the file ends before. */
  async readFully(handle: FileHandle, name: string, target: Uint8Array, position: number): Promise<void> {
    const path = this.pathOf(name)
    let filled = 0
    while (filled < target.length) {
      const length = Math.min(target.length - filled, MAX_TRANSFER_BYTES)
      const { bytesRead } = await this.attempt(
        'read',
        path,
        handle.read(target, filled, length, position + filled),
      )
      if (bytesRead === 0) {
        const reason = `it ends at byte ${position + filled}, before what it had when it was opened`
        throw new StateError('CORRUPTION', { what: path, reason })
      }
      filled += bytesRead
    }
  }

  /** Removes a name, not yet durably. Resolves to false where there is none. */
  async unlink(name: string, operation: string): Promise<boolean> {
    try {
      await unlink(this.pathOf(name))
      return true
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false
      throw storageError(this.storageName, operation, this.pathOf(name), error)
    }
  }
}

/** The most that one call of the operating system is asked to move: Node takes less than 2 GiB. */
export const MAX_TRANSFER_BYTES: number = 64 * 1024 * 1024

/**
 * Creates a directory and those above it that are missing; returns the new ones. (Node's own recursive `mkdir`
 * reports a full or failing disk as ENOENT.)
 */
async function createDirectories(path: string): Promise<string[]> {
  try {
    await mkdir(path, { mode: 0o700 })
    return [path]
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && dirname(path) !== path) {
      const above = await createDirectories(dirname(path))
      // Once more, and no further: some file systems say ENOENT whatever lies above.
      await mkdir(path, { mode: 0o700 })
      return [...above, path]
    }
    if (errnoOf(error) === 'EEXIST' && (await stat(path)).isDirectory()) return []
    throw error
  }
}

async function syncDirectory(path: string): Promise<void> {
  // Windows cannot open a directory to sync it; NTFS logs changes of names itself.
  if (process.platform === 'win32') return
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
