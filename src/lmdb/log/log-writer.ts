// The files of the log before the tree, as the thread that writes them has them.
//
// (1) Both files are filled with zeros when the log begins: a group changes no length, a full disk is met before anything is promised, and
//     small writes leave the page cache in pieces that syncs do not have to carry around.
// (2) One group is written at a time, and is on stable storage before the next one begins: only the last one can be torn.
// (3) The lease is looked at before each write, and behind it the lease and the names of the files: what was written past a new owner, or to
//     files that nobody finds any more, is not acknowledged.
// (4) After a failure nothing is written any more: a group behind one that is not there, or in a file that was not begun, would never be read.

import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { errnoOf, storageError } from '../../files/file-failure.js'
import { type LeaseMark, markOf } from '../../files/lease-watch.js'
import { StoreGuard } from '../store/store-guard.js'
import { encodeLogHeader, FIRST_GROUP_AT, sealGroup } from './log-format.js'
import { LOG_FILES, type LogIdentity, logFileName } from './log-identity.js'

const FILL_BYTES = 8 * 1024
/** So many times what a log takes must be free on the disk before it is begun. */
const SPACE_FACTOR = 4
const PRIVATE_FILE = 0o600
/** Elsewhere the flag is missing, or promises less than a sync does. */
const SYNCS_ITSELF = process.platform === 'linux'
const WRITE_FLAGS = constants.O_WRONLY | (constants.O_NOFOLLOW ?? 0) | (SYNCS_ITSELF ? constants.O_DSYNC : 0)

export interface LogWriterOptions {
  readonly directory: string
  readonly log: LogIdentity
  /** Of each file. */
  readonly fileBytes: number
  readonly lease: LeaseMark
  /** The data file of the store. */
  readonly dataPath: string
}

/** What is to be written, and the data file of the store by then. */
export interface LogJob {
  readonly dataPath: string
}

/** A group on its way to the file in use. */
export interface GroupJob extends LogJob {
  readonly group: Uint8Array
}

/** The group that ends the file in use, and what the next one begins with. */
export interface FileChange extends LogJob {
  readonly end: Uint8Array
  readonly number: number
  readonly firstSequence: number
}

export class LogWriter {
  readonly #options: LogWriterOptions
  readonly #paths: readonly string[]
  readonly #descriptors: number[]
  #dataPath: string
  #guard: StoreGuard
  /** It has just been looked at whether a group may be written. */
  #isReady = false
  #place = 0
  #position = FIRST_GROUP_AT
  #salt: number
  /** The first one. */
  #failure: Error | undefined

  /** Makes the files, durably. Where that fails there are none. */
  constructor(options: LogWriterOptions) {
    const { directory, log, fileBytes } = options
    this.#options = options
    this.#dataPath = options.dataPath
    this.#paths = Array.from({ length: LOG_FILES }, (_, place) => logFileName(directory, log, place))
    this.#salt = newSalt()
    try {
      assertSpace(directory, fileBytes)
      this.#descriptors = this.#paths.map((path, place) => {
        makeFile(path, this.#header(place === 0 ? 1 : 0, 1, this.#salt), fileBytes)
        return openSync(path, WRITE_FLAGS)
      })
      syncDirectory(directory)
    } catch (error) {
      for (const path of this.#paths) removeFile(path)
      throw storageError('lmdb', 'make the log', directory, error)
    }
    this.#guard = this.#newGuard()
  }

  /** Somebody is making a group: it is looked at meanwhile whether it may be written. */
  getReady(): void {
    try {
      this.#guard.checkOwner()
      this.#isReady = true
    } catch {
      // It is looked at again, and told, when there is a group.
    }
  }

  /** The group does not come at once: it is looked at again before it is written. */
  endReadiness(): void {
    this.#isReady = false
  }

  append(job: GroupJob): void {
    this.#attempt(job, () => this.#append(job))
  }

  /** Goes on in the other file, of which nothing is needed any more. */
  change(change: FileChange): void {
    this.#attempt(change, () => this.#change(change))
  }

  /** Looks whether what was written before is still to be found, where there is nothing new for somebody who hears that it is durable. */
  check(job: LogJob): void {
    this.#attempt(job, () => this.#guard.check())
  }

  #attempt({ dataPath }: LogJob, write: () => void): void {
    if (this.#failure !== undefined) throw this.#failure
    try {
      // The store has been compacted.
      if (dataPath !== this.#dataPath) {
        this.#dataPath = dataPath
        this.#guard = this.#newGuard()
      }
      write()
    } catch (error) {
      this.#failure = error as Error
      throw error
    }
  }

  #append({ group }: GroupJob): void {
    if (!this.#isReady) this.#guard.checkOwner()
    this.#isReady = false
    const bytes = Buffer.from(group.buffer, group.byteOffset, group.length)
    sealGroup(bytes, this.#salt)
    this.#write(bytes, this.#position)
    this.#guard.check()
    this.#position += bytes.length
  }

  #change({ end, number, firstSequence }: FileChange): void {
    this.#isReady = false
    this.#guard.check()
    const former = { place: this.#place, position: this.#position, salt: this.#salt }
    this.#place = (this.#place + 1) % LOG_FILES
    this.#position = FIRST_GROUP_AT
    this.#salt = newSalt()
    this.#write(this.#header(number, firstSequence, this.#salt), 0)
    const bytes = Buffer.from(end.buffer, end.byteOffset, end.length)
    sealGroup(bytes, former.salt)
    this.#write(bytes, former.position, former.place)
    this.#guard.check()
  }

  close(): void {
    for (const descriptor of this.#descriptors.splice(0)) closeSync(descriptor)
  }

  #header(number: number, firstSequence: number, salt: number): Buffer {
    return encodeLogHeader({ id: this.#options.log.id, number, firstSequence, salt })
  }

  #newGuard(): StoreGuard {
    const logFiles = this.#paths.map((path, place) => {
      const opened = fstatSync(this.#descriptors[place] as number, { bigint: true })
      return { path, mark: markOf(opened) }
    })
    return new StoreGuard(this.#dataPath, this.#options.lease, logFiles)
  }

  #write(bytes: Buffer, position: number, place = this.#place): void {
    const descriptor = this.#descriptors[place] as number
    try {
      writeFully(descriptor, bytes, position)
      if (!SYNCS_ITSELF) fdatasyncSync(descriptor)
    } catch (error) {
      throw storageError('lmdb', 'write the log', this.#paths[place] as string, error)
    }
  }
}

/** On a disk that is nearly full, the tree needs what is left. */
function assertSpace(directory: string, fileBytes: number): void {
  const { bavail, bsize } = statfsSync(directory)
  if (bavail * bsize >= SPACE_FACTOR * LOG_FILES * fileBytes) return
  throw Object.assign(new Error('the disk is nearly full'), { code: 'ENOSPC' })
}

function newSalt(): number {
  return randomBytes(4).readUInt32LE(0)
}

/** Makes a file of zeros with a header, durably but for its name, in the place of one that a crash has left. */
function makeFile(path: string, header: Buffer, fileBytes: number): void {
  removeFile(path)
  const descriptor = openSync(path, 'wx', PRIVATE_FILE)
  try {
    writeFully(descriptor, header, 0)
    const zeros = Buffer.alloc(FILL_BYTES)
    for (let at = header.length; at < fileBytes; at += FILL_BYTES) {
      writeFully(descriptor, zeros.subarray(0, Math.min(FILL_BYTES, fileBytes - at)), at)
    }
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function writeFully(descriptor: number, bytes: Buffer, position: number): void {
  for (let written = 0; written < bytes.length; ) {
    const count = writeSync(descriptor, bytes, written, bytes.length - written, position + written)
    // A disk that fills up may take nothing, and say nothing.
    if (count === 0) throw new Error('nothing was written and no error given; check the free space')
    written += count
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

function syncDirectory(path: string): void {
  // Windows cannot open a directory to sync it; NTFS logs changes of names itself.
  if (process.platform === 'win32') return
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
