// The directory of a store: who owns it, what it says of itself, and whether LMDB may map its file.
//
// (1) The identity is written before LMDB's files, and says `ready` only after the store was opened once. A crash
//     in between leaves nothing that could be mistaken for lost data.
// (2) Nothing is changed in a directory that is not a store's, or that another process owns.
// (3) LMDB's files are made here, because LMDB would make them readable for everyone, and opened here once before LMDB
//     opens them: where that fails, the package ends the process with a signal.

import { mkdtemp, open, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { StateError } from '../base/errors.js'
import { FileLease } from '../storage/file-lease.js'
import { StorageDirectory } from '../storage/storage-directory.js'
import { TemporaryFile } from '../storage/temporary-file.js'
import { DATA_FILE, inspectDataFile } from './data-file.js'
import {
  decodeIdentity,
  encodeIdentity,
  IDENTITY_FILE,
  MAX_IDENTITY_BYTES,
  newIdentity,
  type StoreIdentity,
} from './store-identity.js'
import { verifyStore } from './verify-process.js'

const LOCK_FILE = 'lock.mdb'
const PRIVATE_FILE = 0o600
/** Bytes of a disk block as `stat` counts them. */
const STAT_BLOCK_BYTES = 512

export class StoreDirectory {
  readonly path: string
  readonly identity: StoreIdentity
  readonly #files: StorageDirectory
  readonly #lease: FileLease | undefined
  readonly #isTemporary: boolean

  private constructor(
    files: StorageDirectory,
    identity: StoreIdentity,
    lease: FileLease | undefined,
    isTemporary: boolean,
  ) {
    this.path = files.path
    this.identity = identity
    this.#files = files
    this.#lease = lease
    this.#isTemporary = isTemporary
  }

  static async open(path: string, { readOnly }: { readonly readOnly: boolean }): Promise<StoreDirectory> {
    const files = new StorageDirectory(resolve(path))
    const names = await files.names('list the store')
    if (readOnly) return await StoreDirectory.#openReadOnly(files, names)
    if (!names.includes(IDENTITY_FILE)) assertEmpty(files, names)
    return await StoreDirectory.#openOwned(files, false)
  }

  /** A new store under the system's directory for temporary files; `release` removes it. */
  static async temporary(): Promise<StoreDirectory> {
    const path = await mkdtemp(join(tmpdir(), 'holdfast-lmdb-'))
    return await StoreDirectory.#openOwned(new StorageDirectory(path), true)
  }

  /** The store was opened: from now on, missing data is damage. */
  async markReady(): Promise<void> {
    if (!this.identity.ready) await writeIdentity(this.#files, { ...this.identity, ready: true })
  }

  /** Bytes that the files take on disk. */
  async sizeOnDisk(): Promise<number> {
    let bytes = 0
    for (const name of await this.#files.names('measure the store')) {
      const path = this.#files.pathOf(name)
      bytes += (await this.#files.attempt('measure the store', path, stat(path))).blocks * STAT_BLOCK_BYTES
    }
    return bytes
  }

  /** Gives the ownership up, and removes a temporary store. Idempotent. */
  async release(): Promise<void> {
    if (this.#isTemporary) await rm(this.path, { recursive: true, force: true })
    else await this.#lease?.release()
  }

  static async #openReadOnly(files: StorageDirectory, names: readonly string[]): Promise<StoreDirectory> {
    const identity = names.includes(IDENTITY_FILE) ? await readIdentity(files) : undefined
    if (identity?.ready !== true) {
      const reason = `${files.path}: there is no store yet; open it for writing first`
      throw new StateError('STORAGE_ERROR', { storage: files.storageName, operation: 'open', reason })
    }
    await assertOpens(files, DATA_FILE, 'r')
    await assertOpens(files, LOCK_FILE, 'r+')
    await assertMappable(files, false)
    return new StoreDirectory(files, identity, undefined, false)
  }

  static async #openOwned(files: StorageDirectory, isTemporary: boolean): Promise<StoreDirectory> {
    await files.prepare()
    const lease = await FileLease.acquire(files)
    try {
      const known = (await files.names('list the store')).includes(IDENTITY_FILE)
      const identity = known ? await readIdentity(files) : newIdentity()
      if (!known) await writeIdentity(files, identity)
      if (identity.ready) {
        await assertOpens(files, DATA_FILE, 'r+')
        await assertOpens(files, LOCK_FILE, 'r+')
        await assertMappable(files, true)
      } else {
        for (const name of [DATA_FILE, LOCK_FILE]) await makeEmpty(files, name)
        await files.sync('create the store')
      }
      return new StoreDirectory(files, identity, lease, isTemporary)
    } catch (error) {
      await lease.release()
      throw error
    }
  }
}

/** Refuses a directory that holds what is not a store's. */
function assertEmpty(files: StorageDirectory, names: readonly string[]): void {
  const foreign = names.find((name) => !name.startsWith('.lease-') && !name.startsWith('.tmp-'))
  if (foreign === undefined) return
  throw new StateError('INCOMPATIBLE', {
    what: files.path,
    found: `a directory with ${foreign} and no ${IDENTITY_FILE}`,
    supported: 'a store, an empty directory or none',
  })
}

/** `STORAGE_ERROR` unless a file can be opened as LMDB will open it; one that is missing is judged elsewhere. */
async function assertOpens(files: StorageDirectory, name: string, flags: 'r' | 'r+'): Promise<void> {
  const names = await files.names('list the store')
  if (!names.includes(name)) return
  const path = files.pathOf(name)
  const handle = await files.attempt('open', path, open(path, flags))
  await handle.close()
}

async function assertMappable(files: StorageDirectory, mayExtend: boolean): Promise<void> {
  const state = await inspectDataFile(files)
  if (state === 'whole') return
  const what = files.pathOf(DATA_FILE)
  if (state === 'new') throw new StateError('CORRUPTION', { what, reason: 'it is missing or empty' })
  // Legal where the pages that are missing are free: only reading everything tells, in a process that may die of it.
  const { ok } = await verifyStore(files.path)
  if (!ok) throw new StateError('CORRUPTION', { what, reason: 'it is cut off' })
  if (mayExtend) {
    const { size } = await stat(what)
    await truncate(what, size)
  }
}

async function readIdentity(files: StorageDirectory): Promise<StoreIdentity> {
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

async function writeIdentity(files: StorageDirectory, identity: StoreIdentity): Promise<void> {
  const file = await TemporaryFile.create(files)
  try {
    await file.write(encodeIdentity(identity))
    await file.replaceAs(IDENTITY_FILE)
  } catch (error) {
    await file.discard()
    throw error
  }
}

/** An empty file for this user alone, in the place of whatever a crashed creation left. */
async function makeEmpty(files: StorageDirectory, name: string): Promise<void> {
  const path = files.pathOf(name)
  await files.unlink(name, 'create the store')
  const handle = await files.attempt('create the store', path, open(path, 'wx', PRIVATE_FILE))
  await handle.close()
}
