// The directory of a store: who owns it, what it says of itself, and whether LMDB may map its file.
//
// (1) The identity is written before LMDB's files, and says `ready` only after the store was opened once. A crash
//     in between leaves nothing that could be mistaken for lost data.
// (2) Nothing is changed in a directory that is not a store's, or that another process owns.
// (3) LMDB's files are made here, because LMDB would make them readable for everyone. Whether they may be opened is asked
//     before LMDB opens them: where that fails, the package ends the process with a signal. It is asked without opening
//     them: LMDB has POSIX locks on its table of readers, and closing any descriptor of it drops those of the whole process.
// (4) The identity names the data file. A compacted copy takes its place by a new identity, in one durable step; data files
//     that the identity does not name are removed by the owner.

import { constants, readFileSync, statSync } from 'node:fs'
import { access, chmod, mkdtemp, open, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { present } from '../../base/assert.js'
import { isStateError, StateError } from '../../base/errors.js'
import { waitForOwner } from '../../base/wait-for-owner.js'
import { DurableDirectory } from '../../files/durable-directory.js'
import { storageError } from '../../files/file-failure.js'
import { FileLease } from '../../files/file-lease.js'
import { describeOwner } from '../../files/lease-files.js'
import type { LeaseRecord } from '../../files/lease-record.js'
import type { LeaseMark } from '../../files/lease-watch.js'
import { isThisProcess } from '../../files/process-identity.js'
import { type LeaseGuard, TemporaryFile } from '../../files/temporary-file.js'
import { type LogIdentity, logTokenOf } from '../log/log-identity.js'
import { inspectDataFile, isLeftover, lockFileOf, nextDataFile, STORE_PAGE_BYTES } from './data-file.js'
import { MAX_READERS } from './environment.js'
import {
  decodeIdentity,
  encodeIdentity,
  IDENTITY_FILE,
  MAX_IDENTITY_BYTES,
  newIdentity,
  type StoreIdentity,
  withLog,
} from './store-identity.js'
import { isLockHeld, readDataFile } from './verify-process.js'

const PRIVATE_FILE = 0o600
/** LMDB has a line of 64 bytes for each reader, and two of its own; what is more than that it uses for more readers. */
const LOCK_FILE_BYTES = MAX_READERS * 64 + 8_192
/** More than the first commits of an empty store write. */
const NEW_STORE_BYTES = 256 * 1024
/** How often a store may be compacted while it is being opened for reading. */
const READ_ONLY_TRIES = 5

export interface OpenDirectoryOptions {
  readonly readOnly: boolean
  /** How long to wait for another owner to let go, and whether to take over from one that may live. */
  readonly waitForOwnerMs: number
  readonly takeOver: boolean
  /** How long that one may keep LMDB's lock for writers. */
  readonly commitTimeoutMs: number
}

export class StoreDirectory {
  readonly path: string
  readonly #files: DurableDirectory
  readonly #lease: FileLease | undefined
  readonly #isTemporary: boolean
  #identity: StoreIdentity
  /** The data file in use when that was asked for last, which each group does that is logged. */
  #data: { readonly name: string; readonly path: string } | undefined
  /** Changes whenever the identity is replaced; only looked at where another process may do that. */
  #identityMark: string | undefined
  #changing: Promise<void> = Promise.resolve()
  #removing: Promise<void> = Promise.resolve()
  /** The data file that is being made to take the place of the present one. */
  #next: string | undefined
  #ending: Promise<void> | undefined

  private constructor(
    files: DurableDirectory,
    identity: StoreIdentity,
    lease: FileLease | undefined,
    isTemporary: boolean,
  ) {
    this.path = files.path
    this.#files = files
    this.#identity = identity
    this.#lease = lease
    this.#isTemporary = isTemporary
  }

  static async open(path: string, options: OpenDirectoryOptions): Promise<StoreDirectory> {
    const files = new DurableDirectory(resolve(path))
    if (options.readOnly) return await StoreDirectory.#openReadOnly(files)
    const names = await files.names('list the store')
    if (!names.includes(IDENTITY_FILE)) assertEmpty(files, names)
    return await StoreDirectory.#openOwned(files, false, options)
  }

  /** A new store under the system's directory for temporary files; `release` removes it. */
  static async temporary(): Promise<StoreDirectory> {
    const prefix = join(tmpdir(), 'holdfast-lmdb-')
    const path = await mkdtemp(prefix).catch((error: unknown) => {
      throw storageError(`file:${tmpdir()}`, 'create a directory', tmpdir(), error)
    })
    const nobodyElse = { takeOver: false, waitForOwnerMs: 0, commitTimeoutMs: Infinity }
    return await StoreDirectory.#openOwned(new DurableDirectory(path), true, nobodyElse)
  }

  /** The path of the data file that the store in a directory uses now. `CORRUPTION` where that is none by its first pages. */
  static async dataPathIn(path: string): Promise<string> {
    const files = new DurableDirectory(resolve(path))
    const { data } = await readIdentity(files)
    await inspectDataFile(files, data)
    return files.pathOf(data)
  }

  /** The lease under which the store is written; there is one where it was opened for writing. */
  get leaseMark(): LeaseMark {
    return present(this.#lease, 'a store that is written to is owned').mark
  }

  /** Where the content is. */
  get dataPath(): string {
    const { data } = this.#identity
    if (this.#data?.name !== data) this.#data = { name: data, path: this.#files.pathOf(data) }
    return this.#data.path
  }

  /** The log before the tree; undefined: the tree holds everything. */
  get log(): LogIdentity | undefined {
    return this.#identity.log
  }

  /** There is no log, nor files of one that are about to be removed: a copy of a store may give the same names to another one. */
  get isWithoutLog(): boolean {
    return this.#identity.log === undefined && this.#ending === undefined
  }

  /** From now on whoever opens the store must read this log. Its files are there. */
  async beginLog(log: LogIdentity): Promise<void> {
    await this.#changeIdentity((identity) => withLog(identity, log))
  }

  /** The tree holds everything: the log goes. */
  async endLog(): Promise<void> {
    this.#ending ??= this.#endLog().finally(() => {
      this.#ending = undefined
    })
    await this.#ending
  }

  async #endLog(): Promise<void> {
    const { log } = this.#identity
    if (log === undefined) return
    await this.#changeIdentity((identity) => withLog(identity, undefined))
    for (const name of await this.#files.names('list the store')) {
      if (logTokenOf(name) === log.token) await this.#files.unlink(name, 'remove the log')
    }
  }

  /** Looks whether the owner has put another data file in place of the one known here. Cheap where it has not. */
  refresh(): void {
    const what = this.#files.pathOf(IDENTITY_FILE)
    try {
      const mark = markOf(this.#files)
      if (mark === this.#identityMark) return
      this.#identity = decodeIdentity(readFileSync(what), what)
      this.#identityMark = mark
    } catch (error) {
      if (isStateError(error)) throw error
      throw storageError(this.#files.storageName, 'read the identity', what, error)
    }
  }

  /** It was opened before: it has content, if only that it is empty. */
  get isReady(): boolean {
    return this.#identity.ready
  }

  /** The store was opened: from now on, missing data is damage. */
  async markReady(): Promise<void> {
    if (!this.#identity.ready) await this.#changeIdentity((identity) => ({ ...identity, ready: true }))
  }

  /** Where the next data file is to be written, and nothing is yet. It is no leftover until it is adopted or dropped. */
  async nextDataPath(): Promise<string> {
    const next = nextDataFile(this.#identity.data)
    await this.#removeLeftovers(() => {
      this.#next = next
    })
    return this.#files.pathOf(next)
  }

  /** Removes what there is of the next data file: it takes nobody's place. */
  async dropNextData(): Promise<void> {
    this.#next = undefined
    await this.removeLeftovers()
  }

  /** Makes the next data file, which LMDB has written, durable and one of this user alone. */
  async sealNextData(): Promise<void> {
    const operation = 'compact the store'
    const name = nextDataFile(this.#identity.data)
    const path = this.#files.pathOf(name)
    await this.#files.attempt(operation, path, chmod(path, PRIVATE_FILE))
    const handle = await this.#files.attempt(operation, path, open(path, 'r+'))
    try {
      await this.#files.attempt(operation, path, handle.sync())
    } finally {
      await handle.close()
    }
    // A new owner may be about to make a file of the same name.
    await makeLockFile(this.#files, lockFileOf(name), this.#lease)
  }

  /** Puts the next data file in the place of the present one, durably. */
  async adoptNextData(): Promise<void> {
    await this.#changeIdentity((identity) => ({ ...identity, data: nextDataFile(identity.data) }))
    this.#next = undefined
  }

  /** Removes data files that are neither in use nor being made. */
  async removeLeftovers(): Promise<void> {
    await this.#removeLeftovers(() => {})
  }

  /**
   * One removal after the other, each with what follows it at once: one that has listed the files already would take a data file that is
   * begun meanwhile for a leftover.
   */
  async #removeLeftovers(removed: () => void): Promise<void> {
    const before = this.#removing
    const removing = (async () => {
      await before
      // A new owner may have put another data file in place of the one that is known here.
      await this.#lease?.check()
      const keep = { token: this.#lease?.mark.token, next: this.#next }
      await removeLeftovers(this.#files, this.#identity, keep)
      removed()
    })()
    this.#removing = removing.catch(() => {})
    await removing
  }

  /** Bytes that the files take on disk. */
  async sizeOnDisk(): Promise<number> {
    let bytes = 0
    for (const name of await this.#files.names('measure the store')) {
      bytes += (await this.#files.inspect(name, 'measure the store'))?.diskBytes ?? 0
    }
    return bytes
  }

  /** Gives the ownership up, and removes a temporary store. Idempotent. */
  async release(): Promise<void> {
    // Files of the same names may be somebody else's afterwards.
    await this.#ending?.catch(() => {})
    try {
      await this.#lease?.release()
    } finally {
      if (this.#isTemporary) await rm(this.path, { recursive: true, force: true, maxRetries: 3 })
    }
  }

  /** One change after the other. */
  async #changeIdentity(change: (identity: StoreIdentity) => StoreIdentity): Promise<void> {
    const before = this.#changing
    const changed = (async () => {
      await before
      const identity = change(this.#identity)
      await writeIdentity(this.#files, identity, this.#lease)
      this.#identity = identity
    })()
    this.#changing = changed.catch(() => {})
    await changed
  }

  static async #openReadOnly(files: DurableDirectory): Promise<StoreDirectory> {
    for (let tries = 1; ; tries++) {
      const known = (await files.names('list the store')).includes(IDENTITY_FILE)
      const identity = known ? await readIdentity(files) : undefined
      if (identity?.ready !== true) {
        const reason = `${files.path}: there is no store yet; open it for writing first`
        throw new StateError('STORAGE_ERROR', { storage: files.storageName, operation: 'open', reason })
      }
      try {
        await assertMappable(files, identity.data, false)
        // Its identity may have been replaced since it was read: the first look at it reads it again.
        return new StoreDirectory(files, identity, undefined, false)
      } catch (error) {
        // The owner may have put another file in its place just now.
        if (tries === READ_ONLY_TRIES || (await readIdentity(files)).data === identity.data) throw error
      }
    }
  }

  static async #openOwned(
    files: DurableDirectory,
    isTemporary: boolean,
    { takeOver, waitForOwnerMs, commitTimeoutMs }: Omit<OpenDirectoryOptions, 'readOnly'>,
  ): Promise<StoreDirectory> {
    await files.prepare()
    const beforeClaim = (owner: LeaseRecord | undefined) => assertNotStopped(files, owner, commitTimeoutMs)
    const lease = await waitForOwner(
      () => FileLease.acquire(files, { takeOver, beforeClaim }),
      waitForOwnerMs,
    )
    try {
      const known = (await files.names('list the store')).includes(IDENTITY_FILE)
      const identity = known ? await readIdentity(files) : newIdentity()
      if (!known) await writeIdentity(files, identity, lease)
      if (identity.ready) {
        await assertMappable(files, identity.data, true)
        await removeLeftovers(files, identity)
      } else {
        await makeLockFile(files, lockFileOf(identity.data), lease)
        await makeDataFile(files, identity.data)
        await files.sync('create the store')
      }
      return new StoreDirectory(files, identity, lease, isTemporary)
    } catch (error) {
      await lease.release()
      throw error
    }
  }
}

/**
 * `FENCED` where an owner that may live keeps LMDB's lock for writers, as one does that was stopped in the midst of a commit: LMDB waits for the
 * lock without an end, in the thread that opens the store. So a process of its own tries it first, before the lease changes hands: whoever comes
 * next is told the same.
 */
async function assertNotStopped(
  files: DurableDirectory,
  owner: LeaseRecord | undefined,
  commitTimeoutMs: number,
): Promise<void> {
  // Of a process that is stopped, no thread opens anything.
  if (owner === undefined || isThisProcess(owner)) return
  const dataPath = await wholeDataPath(files)
  if (dataPath === undefined || !(await isLockHeld(dataPath, commitTimeoutMs))) return
  const reason =
    `which has kept LMDB's lock for writers for more than ${commitTimeoutMs} ms, as a process does that was stopped in the midst of a commit ` +
    '(SIGSTOP, docker pause); end it, or let it go on'
  throw new StateError('FENCED', {
    resource: files.storageName,
    owner: `${describeOwner(owner)}, ${reason}`,
  })
}

/** Where the data file is in force and whole; what is wrong otherwise is told to the owner. */
async function wholeDataPath(files: DurableDirectory): Promise<string | undefined> {
  try {
    const { data, ready } = await readIdentity(files)
    if (ready && (await inspectDataFile(files, data)).state === 'whole') return files.pathOf(data)
  } catch (error) {
    if (!isStateError(error)) throw error
  }
  return undefined
}

/** Refuses a directory that holds what is not a store's. */
function assertEmpty(files: DurableDirectory, names: readonly string[]): void {
  const foreign = names.find((name) => !name.startsWith('.lease-') && !name.startsWith('.tmp-'))
  if (foreign === undefined) return
  throw new StateError('INCOMPATIBLE', {
    what: files.path,
    found: `a directory with ${foreign} and no ${IDENTITY_FILE}`,
    supported: 'a store, an empty directory or none',
  })
}

/** `STORAGE_ERROR` unless a file may be opened as LMDB will open it; one that is missing is judged elsewhere. */
async function assertOpens(files: DurableDirectory, name: string, writing: boolean): Promise<void> {
  const names = await files.names('list the store')
  if (!names.includes(name)) return
  const path = files.pathOf(name)
  const facts = await files.inspect(name, 'open')
  if (facts === undefined) {
    throw storageError(files.storageName, 'open', path, new Error('not a regular file; move it away'))
  }
  // The lease is one of the directory: under another name in another directory, somebody else could own the same file.
  if (writing && facts.links > 1) {
    const advice =
      'it has another name elsewhere (a hard link); copy the store instead, or remove the other name'
    throw storageError(files.storageName, 'open', path, new Error(advice))
  }
  await files.attempt('open', path, access(path, writing ? constants.R_OK | constants.W_OK : constants.R_OK))
}

async function assertMappable(files: DurableDirectory, name: string, writing: boolean): Promise<void> {
  await assertOpens(files, name, writing)
  await assertOpens(files, lockFileOf(name), writing)
  const { state, sizeBytes, wholeBytes } = await inspectDataFile(files, name)
  if (state === 'whole') return
  const what = files.pathOf(name)
  if (state === 'new') throw new StateError('CORRUPTION', { what, reason: 'it is missing or empty' })
  // Legal where the pages that are missing are free: only reading everything tells, in a process that may die of it.
  const { report, foundAll } = await readDataFile(what)
  // Records that are damaged say nothing about the end of the file, unless a part of a page may be missing there: it is read as zeros.
  const endsWithPage = sizeBytes % STORE_PAGE_BYTES === 0
  if (!report.ok && !(foundAll && endsWithPage))
    throw new StateError('CORRUPTION', { what, reason: 'it is cut off' })
  // Then what only a writer reads is an error of LMDB's, should it be missing, and not a signal. Reading takes long: the last commit of an owner
  // before, which had been stopped in it, may have made the file longer meanwhile.
  if (writing && statSync(what).size < wholeBytes)
    await files.attempt('open', what, truncate(what, wholeBytes))
}

/** What the identity does not name and is no leftover all the same. */
interface KeptFiles {
  /** Of the present owner, who may be about to begin a log. */
  readonly token?: number | undefined
  /** The data file that is being made. */
  readonly next?: string | undefined
}

async function removeLeftovers(
  files: DurableDirectory,
  { data, log }: StoreIdentity,
  { token, next = data }: KeptFiles = {},
): Promise<void> {
  for (const name of await files.names('list the store')) {
    const logToken = logTokenOf(name)
    const isOldLog = logToken !== undefined && logToken !== log?.token && logToken !== token
    const isOldData = isLeftover(name, data) && isLeftover(name, next)
    if (isOldData || isOldLog) await files.unlink(name, 'remove an old file')
  }
}

/** Tells one identity file from the next one in its place. */
function markOf(files: DurableDirectory): string {
  const { ino, ctimeMs, mtimeMs } = statSync(files.pathOf(IDENTITY_FILE))
  return `${ino}:${ctimeMs}:${mtimeMs}`
}

async function readIdentity(files: DurableDirectory): Promise<StoreIdentity> {
  const what = files.pathOf(IDENTITY_FILE)
  const file = await files.openFile(IDENTITY_FILE, 'read the identity')
  if (file === undefined) throw new StateError('CORRUPTION', { what, reason: 'it is gone' })
  try {
    if (file.sizeBytes > MAX_IDENTITY_BYTES) {
      throw new StateError('CORRUPTION', { what, reason: `it is ${file.sizeBytes} bytes long` })
    }
    const bytes = new Uint8Array(file.sizeBytes)
    await files.readFully(file.handle, IDENTITY_FILE, bytes, 0)
    return decodeIdentity(bytes, what)
  } finally {
    await file.handle.close()
  }
}

async function writeIdentity(
  files: DurableDirectory,
  identity: StoreIdentity,
  guard: LeaseGuard | undefined,
): Promise<void> {
  const file = await TemporaryFile.create(files)
  try {
    await file.write(encodeIdentity(identity))
    await file.replaceAs(IDENTITY_FILE, guard)
  } catch (error) {
    await file.discard()
    throw error
  }
}

/**
 * An empty file for this user alone, in the place of whatever a crashed creation left. LMDB's package crashes where it
 * cannot write what a new store begins with: whether there is space for it is found out here.
 */
async function makeDataFile(files: DurableDirectory, name: string): Promise<void> {
  const path = files.pathOf(name)
  await files.unlink(name, 'create the store')
  const probe = await TemporaryFile.create(files)
  try {
    await probe.write(new Uint8Array(NEW_STORE_BYTES))
  } finally {
    await probe.discard()
  }
  const handle = await files.attempt('create the store', path, open(path, 'wx', PRIVATE_FILE))
  await handle.close()
}

/** The table of readers, whole: LMDB maps it, and where a page of it had no space on the disk, using it would be a signal. */
async function makeLockFile(
  files: DurableDirectory,
  name: string,
  guard: LeaseGuard | undefined,
): Promise<void> {
  const file = await TemporaryFile.create(files)
  try {
    await file.write(new Uint8Array(LOCK_FILE_BYTES))
    await file.replaceAs(name, guard)
  } catch (error) {
    await file.discard()
    throw error
  }
}
