// One writer at a time, by files named after growing tokens; the highest one names the owner.
//
// acquire: read the highest lease t; unless it is released or its owner is dead → FENCED
//          link lease t+1, whole and fsynced; where it exists someone was faster → start over
//          list: a higher one than t+1 means that the reading of t was outdated → withdraw, start over
//          remove the lower ones, ascending
// check:   list, no higher one; then read the own file: it is there, with the own nonce
// release: replace the own file by one that says released, so that tokens go on growing
//
// (1) A lease file is published by link: two processes that saw the same t cannot both get t+1.
// (2) Lower leases go in ascending order, and only by the owner of a higher one. So a listing that runs while
//     leases come and go may miss a higher one only after the own file was removed, which check sees afterwards.
// (3) No two leases share a nonce: a token that returns because somebody removed a lease file is not mistaken.
// (4) A lease file that cannot be read lets nobody in: CORRUPTION names the file and what to do with it.
//
// What it cannot do: stop a system call that a fenced owner had already begun. Objects are published by link,
// so the worst of it is one whole object more. Two machines that share a directory need different host names.

import { randomUUID } from 'node:crypto'
import { StateError } from '../base/errors.js'
import type { DurableDirectory } from './durable-directory.js'
import { afterCleanUp, storageError } from './file-failure.js'
import { leaseFileName } from './file-names.js'
import { fenced, fencedByUnknown, leaseTokens, readLease } from './lease-files.js'
import { encodeLease, type LeaseRecord } from './lease-record.js'
import { mayBeAlive, thisProcess } from './process-identity.js'
import { TemporaryFile } from './temporary-file.js'

/** How often an acquisition starts over because others were faster. Each of them would have to vanish at once. */
const MAX_ATTEMPTS = 100

/**
 * Nonces of leases that this process let go of while the medium failed, so that the file still says otherwise.
 * Without it the process would lock itself out until it ends. Grows by one per such failure.
 */
const givenUp = new Set<string>()

export interface AcquireLeaseOptions {
  readonly takeOver?: boolean
}

/** What tells one lease from every other, in this directory. */
export interface LeaseMark {
  readonly token: number
  readonly nonce: string
}

/** Looks whether a lease is still the one that counts; for any thread of its owner. */
export class LeaseWatch {
  readonly #directory: DurableDirectory
  readonly #mark: LeaseMark

  constructor(directory: DurableDirectory, mark: LeaseMark) {
    this.#directory = directory
    this.#mark = mark
  }

  /** `FENCED` where another owner has taken over, `STORAGE_ERROR` where the directory is gone. */
  async check(): Promise<void> {
    const newer = await this.newerOwner()
    if (newer === undefined) return
    if (await this.#directory.exists('check the lease')) throw newer
    const { storageName, path } = this.#directory
    throw storageError(
      storageName,
      'check the lease',
      path,
      Object.assign(new Error('it is gone'), { code: 'ENOENT' }),
    )
  }

  /** The refusal that the present owner deserves us, or `undefined` while that is this lease. */
  async newerOwner(): Promise<StateError<'FENCED'> | undefined> {
    const tokens = await leaseTokens(this.#directory)
    const highest = tokens.at(-1)
    if (highest !== undefined && highest > this.#mark.token) {
      const holder = await readLease(this.#directory, highest)
      return holder === undefined ? fencedByUnknown(this.#directory) : fenced(this.#directory, holder)
    }
    const own = await readLease(this.#directory, this.#mark.token)
    if (own?.nonce === this.#mark.nonce) return undefined
    return own === undefined ? fencedByUnknown(this.#directory) : fenced(this.#directory, own)
  }
}

/** What a storage hands out as its lease, and what an LMDB store holds while it is open for writing. */
export class FileLease {
  readonly token: number
  readonly #directory: DurableDirectory
  readonly #record: LeaseRecord
  readonly #watch: LeaseWatch
  #releasing: Promise<void> | undefined
  #letGo = false

  private constructor(directory: DurableDirectory, record: LeaseRecord) {
    this.token = record.token
    this.#directory = directory
    this.#record = record
    this.#watch = new LeaseWatch(directory, record)
  }

  /** `FENCED` while another owner lives, unless it is to be taken over. */
  static async acquire(
    directory: DurableDirectory,
    { takeOver = false }: AcquireLeaseOptions = {},
  ): Promise<FileLease> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const tokens = await leaseTokens(directory)
      const highest = tokens.at(-1)
      if (highest !== undefined) {
        const holder = await readLease(directory, highest)
        // Removed since the listing: a newer one exists.
        if (holder === undefined) continue
        if (!takeOver && (await isHeld(holder))) throw fenced(directory, holder)
      }
      const lease = await FileLease.#claim(directory, (highest ?? 0) + 1)
      if (lease !== undefined) return lease
    }
    throw new StateError('FENCED', {
      resource: directory.storageName,
      owner: 'other processes that keep taking it; use one directory per writer',
    })
  }

  /** Becomes the owner with this token; `undefined` where someone else was faster. */
  static async #claim(directory: DurableDirectory, token: number): Promise<FileLease | undefined> {
    const record = { token, ...(await thisProcess()), nonce: randomUUID(), released: false }
    const file = await TemporaryFile.create(directory)
    try {
      await file.write(encodeLease(record))
      if (!(await file.publishAs(leaseFileName(token), undefined))) {
        await file.discard()
        return undefined
      }
      const tokens = await leaseTokens(directory)
      if (tokens.some((other) => other > token)) {
        await directory.unlink(leaseFileName(token), 'withdraw a lease')
        return undefined
      }
      for (const lower of tokens) {
        if (lower < token) await directory.unlink(leaseFileName(lower), 'remove an old lease')
      }
    } catch (failure) {
      givenUp.add(record.nonce)
      throw await afterCleanUp(failure, directory.storageName, async () => {
        await file.discard()
        await withdraw(directory, record)
      })
    }
    return new FileLease(directory, record)
  }

  async check(): Promise<void> {
    if (this.#letGo) throw new StateError('CLOSED', { component: `lease ${this.token}` })
    await this.#watch.check()
  }

  /** For a {@link LeaseWatch} in another thread. */
  get mark(): LeaseMark {
    return { token: this.token, nonce: this.#record.nonce }
  }

  async release(): Promise<void> {
    this.#letGo = true
    // A failed release is tried again by the next call, one that succeeded is not.
    this.#releasing ??= this.#writeReleased().catch((error: unknown) => {
      this.#releasing = undefined
      throw error
    })
    await this.#releasing
  }

  async #writeReleased(): Promise<void> {
    givenUp.add(this.#record.nonce)
    if ((await this.#watch.newerOwner()) === undefined) {
      const file = await TemporaryFile.create(this.#directory)
      try {
        await file.write(encodeLease({ ...this.#record, released: true }))
        await file.replaceAs(leaseFileName(this.token), undefined)
      } catch (failure) {
        throw await afterCleanUp(failure, this.#directory.storageName, () => file.discard())
      }
    }
    givenUp.delete(this.#record.nonce)
  }
}

async function isHeld(record: LeaseRecord): Promise<boolean> {
  return !record.released && !givenUp.has(record.nonce) && (await mayBeAlive(record))
}

/** Removes the file of a lease that was never handed out, if it is there and its own. */
async function withdraw(directory: DurableDirectory, record: LeaseRecord): Promise<void> {
  const present = await readLease(directory, record.token)
  if (present?.nonce !== record.nonce) return
  await directory.unlink(leaseFileName(record.token), 'withdraw a lease')
}
