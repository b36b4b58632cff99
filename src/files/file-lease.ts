// One writer at a time, by files named after growing tokens; the highest one names the owner.
//
// acquire: read the highest lease t; unless it is released, its owner is dead or silent, or is to be taken over → FENCED
//          link lease t+1, whole and fsynced; where it exists someone was faster → start over
//          list: a higher one than t+1 means that the reading of t was outdated → withdraw, start over
//          remove the lower ones, ascending; then the temporary files of whoever wrote here before
// check:   the own file is there, the very one; where it is another, the one with the own nonce
// renew:   set the time of the own file anew, every RENEW_LEASE_MS
// release: replace the own file by one that says released, so that tokens go on growing
//
// (1) A lease file is published by link: two processes that saw the same t cannot both get t+1.
// (2) Lower leases go in ascending order, and only by the owner of a higher one. So a listing that runs while
//     leases come and go may miss a higher one only after the own file was removed, which check sees afterwards.
// (3) No two leases share a nonce: a token that returns because somebody removed a lease file is not mistaken.
// (4) A lease file that cannot be read lets nobody in: CORRUPTION names the file and what to do with it.
// (5) Death is evidence where the owner's numbers mean something here (livenessOf). Everywhere else silence is: whose file has
//     not changed over LEASE_MS, by the observer's own time, has lost its lease. No clock is compared with another one.
// (6) An owner that was taken over from though it lives changes nothing more: it checks its lease after it has made a temporary
//     file and before it gives that a name, and those made before are removed, so that naming them fails.
//
// What it cannot do: stop a removal, or a write to LMDB's file on another machine, that a fenced owner had already begun.

import { randomUUID } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { type CancelTimer, type Clock, pause, systemClock } from '../base/clock.js'
import { isStateError, StateError } from '../base/errors.js'
import type { DurableDirectory } from './durable-directory.js'
import { afterCleanUp } from './file-failure.js'
import { isTemporaryName, leaseFileName } from './file-names.js'
import { fenced, fencedByUnknown, leaseTokens, readLease, type Sighting, sightLease } from './lease-files.js'
import { encodeLease, type LeaseRecord } from './lease-record.js'
import { type LeaseMark, LeaseWatch, markOf } from './lease-watch.js'
import { type Liveness, livenessOf, thisThread } from './process-identity.js'
import { TemporaryFile } from './temporary-file.js'

/** A lease that nobody renews for so long is lost to whoever asks for it, where no evidence tells whether its owner lives. */
export const LEASE_MS = 10_000
/** How often an owner renews its lease. */
export const RENEW_LEASE_MS = 2_000
/** How often somebody who wants a lease looks whether it is renewed. */
const LOOK_MS = 250
/** How often an acquisition starts over because others were faster. Each of them would have to vanish at once. */
const MAX_ATTEMPTS = 100

/** Nonces of leases that are held in this thread. */
const held = new Set<string>()
/**
 * Nonces of leases that this thread let go of while the medium failed, or the file was away, so that the file still says otherwise
 * (where a directory was moved or a disk unmounted, once it is back).
 * Without it the thread would have to wait until they have aged, or for ever, as it lives. Grows by one per such failure.
 */
const givenUp = new Set<string>()

export interface AcquireLeaseOptions {
  /** Also from an owner that lives. Default false. */
  readonly takeOver?: boolean
  /** Waits so many milliseconds. Default: the machine's time. */
  readonly wait?: (ms: number) => Promise<unknown>
  /** For the renewal. Default: the machine's clock. */
  readonly clock?: Pick<Clock, 'setTimer'>
  /**
   * Called once it is known whose lease is to be followed, with what that says where its owner may live: what it rejects with ends the
   * acquiring. Whoever has taken the lease meanwhile keeps it.
   */
  readonly beforeClaim?: (owner: LeaseRecord | undefined) => Promise<void>
}

/** What a storage hands out as its lease, and what an LMDB store holds while it is open for writing. */
export class FileLease {
  readonly token: number
  /** For watches in other threads. */
  readonly mark: LeaseMark
  readonly #directory: DurableDirectory
  readonly #record: LeaseRecord
  readonly #watch: LeaseWatch
  readonly #file: FileHandle
  readonly #clock: Pick<Clock, 'setTimer'>
  #renewedAtMs = performance.now()
  #cancelRenewal: CancelTimer = () => {}
  #releasing: Promise<void> | undefined
  #letGo = false
  /** The own file is open, so that its number is given to no other. */
  #isOpen = true

  private constructor(
    directory: DurableDirectory,
    record: LeaseRecord,
    opened: { readonly file: FileHandle; readonly mark: LeaseMark },
    clock: Pick<Clock, 'setTimer'>,
  ) {
    this.token = record.token
    this.mark = opened.mark
    this.#directory = directory
    this.#record = record
    this.#file = opened.file
    this.#watch = new LeaseWatch(directory, opened.mark)
    this.#clock = clock
    held.add(record.nonce)
    this.#renewLater()
  }

  /**
   * `FENCED` while another owner lives, unless it is to be taken over. Where no evidence tells, that takes as long as the owner
   * needs to renew its lease, or {@link LEASE_MS}.
   */
  static async acquire(directory: DurableDirectory, options: AcquireLeaseOptions = {}): Promise<FileLease> {
    const { takeOver = false, wait = pause, clock = systemClock, beforeClaim } = options
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const tokens = await leaseTokens(directory)
      const highest = tokens.at(-1)
      let owner: LeaseRecord | undefined
      if (highest !== undefined) {
        const sighting = await sightLease(directory, highest)
        // Removed since the listing: a newer one exists.
        if (sighting === undefined) continue
        const liveness = await livenessOfOwner(sighting.record)
        if (!takeOver) await assertFree(directory, sighting, liveness, wait)
        if (liveness !== 'dead') owner = sighting.record
      }
      await beforeClaim?.(owner)
      const lease = await FileLease.#claim(directory, (highest ?? 0) + 1, clock)
      if (lease !== undefined) return lease
    }
    throw new StateError('FENCED', {
      resource: directory.storageName,
      owner: 'other processes that keep taking it; use one directory per writer',
    })
  }

  /** Becomes the owner with this token; `undefined` where someone else was faster. */
  static async #claim(
    directory: DurableDirectory,
    token: number,
    clock: Pick<Clock, 'setTimer'>,
  ): Promise<FileLease | undefined> {
    const record = { token, ...(await thisThread()), nonce: randomUUID(), released: false }
    const name = leaseFileName(token)
    const file = await TemporaryFile.create(directory)
    let opened: FileHandle | undefined
    try {
      await file.write(encodeLease(record))
      if (!(await file.publishLease(name))) {
        await file.discard()
        return undefined
      }
      const tokens = await leaseTokens(directory)
      if (tokens.some((other) => other > token)) {
        await directory.unlink(name, 'withdraw a lease')
        return undefined
      }
      opened = (await directory.openFile(name, 'acquire'))?.handle
      // Somebody else has taken over from this owner already.
      if (opened === undefined) throw fencedByUnknown(directory)
      const mark = { token, nonce: record.nonce, file: markOf(await opened.stat({ bigint: true })) }
      for (const lower of tokens) {
        if (lower < token) await directory.unlink(leaseFileName(lower), 'remove an old lease')
      }
      await new LeaseWatch(directory, mark).check()
      await removeTemporaries(directory)
      return new FileLease(directory, record, { file: opened, mark }, clock)
    } catch (failure) {
      givenUp.add(record.nonce)
      await opened?.close().catch(() => {})
      throw await afterCleanUp(failure, directory.storageName, async () => {
        await file.discard()
        await withdraw(directory, record)
      })
    }
  }

  async check(): Promise<void> {
    if (this.#letGo) throw new StateError('CLOSED', { component: `lease ${this.token}` })
    await this.#watch.check()
    // The event loop may have been busy for longer than the timer thinks.
    if (performance.now() - this.#renewedAtMs >= RENEW_LEASE_MS) await this.#renew()
  }

  /**
   * Rejects where the file cannot be made to say so, on a full disk for instance: the lease is let go of all the same, its file is
   * closed, and this thread may acquire it again at once; others wait until it has aged.
   */
  async release(): Promise<void> {
    this.#letGo = true
    this.#cancelRenewal()
    // A failed release is tried again by the next call, one that succeeded is not.
    this.#releasing ??= this.#writeReleased().catch((error: unknown) => {
      this.#releasing = undefined
      throw error
    })
    await this.#releasing
  }

  async #writeReleased(): Promise<void> {
    givenUp.add(this.#record.nonce)
    held.delete(this.#record.nonce)
    try {
      if ((await this.#isOwner()) && (await this.#replaceByReleased())) givenUp.delete(this.#record.nonce)
    } finally {
      this.#isOpen = false
      await this.#file.close()
    }
  }

  async #isOwner(): Promise<boolean> {
    if ((await this.#watch.newerOwner()) !== undefined) return false
    // Once its file is closed, the mark may have become that of another one.
    return this.#isOpen || (await readLease(this.#directory, this.token))?.nonce === this.#record.nonce
  }

  /** `false` where it was taken over in the middle of it: there is nothing to let go of. */
  async #replaceByReleased(): Promise<boolean> {
    const file = await TemporaryFile.create(this.#directory)
    try {
      await file.write(encodeLease({ ...this.#record, released: true }))
      await file.replaceAs(leaseFileName(this.token), this.#watch)
      return true
    } catch (failure) {
      const error = await afterCleanUp(failure, this.#directory.storageName, () => file.discard())
      if (!isStateError(error, 'FENCED')) throw error
      return false
    }
  }

  #renewLater(): void {
    this.#cancelRenewal = this.#clock.setTimer(() => {
      void this.#renew().finally(() => {
        if (!this.#letGo) this.#renewLater()
      })
    }, RENEW_LEASE_MS)
  }

  /** Never rejects: whether the lease is held shows when something is to be written. */
  async #renew(): Promise<void> {
    this.#renewedAtMs = performance.now()
    const nowSeconds = systemClock.now() / 1_000
    await this.#file.utimes(nowSeconds, nowSeconds).catch(() => {})
  }
}

/** Whether the owner of a lease may still use it: `dead` also where it has let go. */
async function livenessOfOwner(record: LeaseRecord): Promise<Liveness> {
  if (record.released || givenUp.has(record.nonce)) return 'dead'
  const liveness = await livenessOf(record)
  return liveness === 'unknown' && held.has(record.nonce) ? 'alive' : liveness
}

/** `FENCED` unless the owner of a lease has let go of it, is dead, or is silent for {@link LEASE_MS}. */
async function assertFree(
  directory: DurableDirectory,
  first: Sighting,
  liveness: Liveness,
  wait: (ms: number) => Promise<unknown>,
): Promise<void> {
  const { record } = first
  if (liveness === 'alive') throw fenced(directory, record)
  if (liveness === 'dead') return
  for (let silentMs = 0; silentMs < LEASE_MS; silentMs += LOOK_MS) {
    await wait(LOOK_MS)
    const next = await sightLease(directory, record.token)
    if (next === undefined || next.record.released) return
    if (next.changedAt !== first.changedAt) throw fenced(directory, next.record)
  }
}

/** What others have begun to write here and not published, they never will. */
async function removeTemporaries(directory: DurableDirectory): Promise<void> {
  const operation = 'remove what the owner before has begun'
  for (const name of await directory.names(operation)) {
    if (!isTemporaryName(name) || (await directory.inspect(name, operation)) === undefined) continue
    await directory.unlink(name, operation)
  }
}

/** Removes the file of a lease that was never handed out, if it is there and its own. */
async function withdraw(directory: DurableDirectory, record: LeaseRecord): Promise<void> {
  const present = await readLease(directory, record.token)
  if (present?.nonce !== record.nonce) return
  await directory.unlink(leaseFileName(record.token), 'withdraw a lease')
}
