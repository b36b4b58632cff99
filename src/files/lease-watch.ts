// Whether a lease is held: by whom it may be written, from wherever it is looked at.

import { type BigIntStats, lstatSync, utimesSync } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import type { DurableDirectory } from './durable-directory.js'
import { errnoOf, storageError } from './file-failure.js'
import { leaseFileName } from './file-names.js'
import { fenced, fencedByUnknown, leaseTokens, readLease } from './lease-files.js'

/** Tells one file from every other on the machine while somebody has it open. */
export interface FileMark {
  readonly dev: bigint
  readonly ino: bigint
}

/** What tells one lease from every other, in this directory. Structured clone carries it. */
export interface LeaseMark {
  readonly token: number
  readonly nonce: string
  /** The lease file, which its owner keeps open, so that the number is given to no other file. */
  readonly file: FileMark
}

export function markOf({ dev, ino }: BigIntStats): FileMark {
  return { dev, ino }
}

export function isMarked(stats: BigIntStats | undefined, mark: FileMark): boolean {
  return stats !== undefined && stats.dev === mark.dev && stats.ino === mark.ino
}

/**
 * Looks whether a lease is still the one that counts; for any thread of its owner. Whoever takes over removes the lease files
 * before its own, and only then owns: so the lease is held while its own file is there.
 */
export class LeaseWatch {
  readonly #directory: DurableDirectory
  readonly #mark: LeaseMark

  constructor(directory: DurableDirectory, mark: LeaseMark) {
    this.#directory = directory
    this.#mark = mark
  }

  /** `FENCED` where another owner has taken over or the lease file is gone, `STORAGE_ERROR` where the directory is. */
  async check(): Promise<void> {
    const newer = await this.newerOwner()
    if (newer === undefined) return
    if (await this.#directory.exists('check the lease')) throw newer
    const gone = Object.assign(new Error('it is gone'), { code: 'ENOENT' })
    throw storageError(this.#directory.storageName, 'check the lease', this.#directory.path, gone)
  }

  /** The refusal that the present owner deserves us, or `undefined` while that is this lease. */
  async newerOwner(): Promise<StateError<'FENCED'> | undefined> {
    const { token, nonce, file } = this.#mark
    if (isMarked(await this.#stat(), file)) return undefined
    const tokens = await leaseTokens(this.#directory)
    const highest = tokens.at(-1)
    if (highest !== undefined && highest > token) {
      const holder = await readLease(this.#directory, highest)
      return holder === undefined ? fencedByUnknown(this.#directory) : fenced(this.#directory, holder)
    }
    // Some file systems give a file one number today and another tomorrow: then its content tells.
    const own = await readLease(this.#directory, token)
    if (own?.nonce === nonce && !own.released) return undefined
    return own === undefined || own.nonce === nonce
      ? fencedByUnknown(this.#directory)
      : fenced(this.#directory, own)
  }

  async #stat(): Promise<BigIntStats | undefined> {
    const path = this.#directory.pathOf(leaseFileName(this.#mark.token))
    try {
      return await lstat(path, { bigint: true })
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw storageError(this.#directory.storageName, 'check the lease', path, error)
    }
  }
}

/** The same for a thread that must not wait for others: in one step, and without reading. */
export class SyncLeaseWatch {
  readonly #path: string
  readonly #resource: string
  readonly #file: FileMark

  constructor(directory: string, { token, file }: LeaseMark) {
    this.#path = join(directory, leaseFileName(token))
    this.#resource = `file:${directory}`
    this.#file = file
  }

  /** The lease file is there, and no other one in its place. */
  get isHeld(): boolean {
    return isMarked(lstatSync(this.#path, { bigint: true, throwIfNoEntry: false }), this.#file)
  }

  /** `FENCED` where the lease file is gone or another one. */
  check(): void {
    if (this.isHeld) return
    const owner = 'a newer owner, or nobody: the lease file of this one is gone; open it again to own it'
    throw new StateError('FENCED', { resource: this.#resource, owner })
  }

  /** Shows others that the owner lives; see {@link RENEW_LEASE_MS}. */
  renew(): void {
    const nowSeconds = systemClock.now() / 1_000
    utimesSync(this.#path, nowSeconds, nowSeconds)
  }
}
