// One writer at a time: who may write stands in the root object (root-object.ts), beside the names of all objects.
//
// acquire: read the root; unless it is released, its owner is dead or silent, or is to be taken over → FENCED
//          replace it on the condition that it is as it was read, with the next token; where it is not, start over
// change:  replace it on the condition that it is as it was left; where it is not, read it back:
//          an own attempt whose answer was lost → go on from there; anybody else's → FENCED, for good
//          (`exclusive`: it is looked at before, and the condition need not be kept; a root of an earlier lease that arrives late is
//          written over)
// renew:   a change that changes nothing but the revision, every third of `leaseMs`
// release: a change that says released
//
// (1) The condition is of the same step as the write. A writer that slept through any number of owners, publications and
//     deletions still has the tag of its own last root, which no root ever has again (its revision and its nonce are in the bytes).
// (2) After a failure that leaves open whether a root was written, the next change writes one in any case. Until then nothing
//     is removed that the one in doubt may name.
// (3) Death is evidence where the owner's numbers mean something here (livenessOf). Everywhere else silence is: an owner whose
//     root has not changed over its `leaseMs`, by the observer's own time, has lost it. No clock is compared with another one.

import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { assert } from '../base/assert.js'
import { type CancelTimer, type Clock, setLongTimer } from '../base/clock.js'
import { isStateError, StateError } from '../base/errors.js'
import { Mutex } from '../base/mutex.js'
import { livenessOf, thisThread } from '../files/process-identity.js'
import { BucketFailure } from './bucket.js'
import type { BucketContent, SeenRoot } from './bucket-content.js'
import { ROOT_KEY, type Root, type RootEntry } from './root-object.js'

/** How often an acquisition, or a change of the root, starts over because that was not as it was read. Once in a while is all there can be. */
const MAX_ATTEMPTS = 100
/** How often, in one lease, somebody who wants it looks whether its owner renews it. */
const LOOKS = 20
/** How often an owner renews its lease in the time after which it would be lost. */
const RENEWALS = 3

/** Nonces of leases that are held in this thread. */
const held = new Set<string>()
/**
 * Nonces of leases that this thread let go of, or did not learn that it had them, while the bucket failed, so that the root may
 * still name them. Without it the thread would have to wait until they have aged. Grows by one per such failure.
 */
const givenUp = new Set<string>()

export interface BucketLeaseSettings {
  readonly leaseMs: number
  /** Nobody else writes here, and the store's conditions are not relied on. */
  readonly exclusive: boolean
  readonly clock: Clock
  readonly wait: (ms: number) => Promise<unknown>
}

/** The names of objects, changed in one step with the proof that the lease is held. */
export type Edit = (objects: Map<string, RootEntry>) => void

/** The lease of a bucket, and the one way to change which objects there are. */
export class BucketLease {
  readonly token: number
  readonly #content: BucketContent
  readonly #settings: BucketLeaseSettings
  readonly #nonce: string
  readonly #turn = new Mutex()
  #root: SeenRoot
  /** Revision of the last attempt to write. */
  #attempted: number
  /** The last attempt failed, and may have been carried out or may still be. */
  #inDoubt = false
  #lost: StateError<'FENCED'> | undefined
  #letGo = false
  #released = false
  #cancelRenewal: CancelTimer = () => {}
  /** Revision at the last renewal: where it is another one by the next, the changes since have renewed the lease. */
  #renewedAt = 0

  private constructor(content: BucketContent, settings: BucketLeaseSettings, root: SeenRoot) {
    this.#content = content
    this.#settings = settings
    this.#root = root
    this.token = root.root.token
    this.#nonce = root.root.nonce
    this.#attempted = root.root.revision
    held.add(this.#nonce)
    this.#renewLater()
  }

  /**
   * `FENCED` while another owner lives, unless it is to be taken over. Where no evidence tells, that takes as long as the owner
   * needs to renew its lease, or as long as it said it may be silent.
   */
  static async acquire(
    content: BucketContent,
    settings: BucketLeaseSettings,
    takeOver: boolean,
  ): Promise<BucketLease> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const found = await content.root()
      if (found !== undefined && !takeOver) await assertFree(content, found, settings.wait)
      const claimed = await claim(content, settings, found)
      if (claimed !== undefined) return new BucketLease(content, settings, claimed)
    }
    const owner = 'other processes that keep taking it; use one prefix per writer'
    throw new StateError('FENCED', { resource: content.bucket.name, owner })
  }

  /** Where objects are, as this owner knows it. */
  get objects(): ReadonlyMap<string, RootEntry> {
    return this.#root.root.objects
  }

  /** Whether it is open which objects there are: a write of the root has failed, and may have been carried out. */
  get isInDoubt(): boolean {
    return this.#inDoubt
  }

  /** Throws `CLOSED` or `FENCED` where it is known already, without asking. */
  requireHeld(): void {
    if (this.#lost !== undefined) throw new StateError('FENCED', this.#lost.details)
    if (this.#letGo) throw new StateError('CLOSED', { component: `lease ${this.token}` })
  }

  async check(): Promise<void> {
    this.requireHeld()
    const found = await this.#content.root()
    this.requireHeld()
    if (!this.#isHeldAfter(found)) throw this.#noteLost(found)
  }

  /**
   * Changes which objects there are. `FENCED` where another owner has taken over, and then nothing has changed. After a
   * `STORAGE_ERROR` it is open whether it has. What `edit` throws changes nothing; it may run more than once.
   */
  async change(edit: Edit): Promise<void> {
    await this.#turn.run(async () => {
      this.requireHeld()
      await this.#write(edit, false)
    })
  }

  /** Resolves once it is certain which objects there are. */
  async settle(): Promise<void> {
    await this.#turn.run(async () => {
      this.requireHeld()
      if (this.#inDoubt) await this.#write(() => {}, false)
    })
  }

  /** Lets the next owner in. Where the bucket fails, it is let go of all the same, and others wait until it has aged. */
  async release(): Promise<void> {
    this.#letGo = true
    this.#cancelRenewal()
    held.delete(this.#nonce)
    await this.#turn.run(async () => {
      if (this.#released || this.#lost !== undefined) return
      givenUp.add(this.#nonce)
      try {
        await this.#write(() => {}, true)
      } catch (error) {
        // Taken over in the meantime: there is nothing to let go of.
        if (!isStateError(error, 'FENCED')) throw error
      }
      this.#released = true
      givenUp.delete(this.#nonce)
    })
  }

  async #write(edit: Edit, released: boolean): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      if (attempt > MAX_ATTEMPTS) {
        this.#inDoubt = true
        throw this.#content.failed('replace the root', `it was not as it was read, ${MAX_ATTEMPTS} times`)
      }
      const objects = new Map(this.#root.root.objects)
      edit(objects)
      const next: Root = { ...this.#root.root, objects, released, revision: ++this.#attempted }
      const found = await this.#replaceBy(next)
      if (found === undefined) return
      if (!this.#isHeldAfter(found)) throw this.#noteLost(found)
      if (found.root.nonce !== this.#nonce) continue
      // An own attempt was carried out whose answer was lost: this one, or one before that had seemed to fail.
      assert(found.root.revision <= this.#attempted, 'nobody else writes with this nonce')
      if (found.root.revision >= this.#root.root.revision) this.#root = found
      this.#inDoubt = false
      if (found.root.revision === next.revision) return
    }
  }

  /** `undefined` where the root is the next one now; otherwise what it is instead. */
  async #replaceBy(next: Root): Promise<SeenRoot | undefined> {
    const { bucket } = this.#content
    const bytes = this.#content.encoded(next)
    try {
      const tag = await this.#content.attempt('replace the root', async () =>
        this.#settings.exclusive
          ? await replaceUnguarded(this.#content, this.#root, bytes)
          : await bucket.putIfMatch(ROOT_KEY, bytes, this.#root.tag),
      )
      if (tag !== undefined) {
        this.#root = { root: next, tag }
        this.#inDoubt = false
        return undefined
      }
      const found = await this.#content.root()
      if (found === undefined) throw this.#content.failed('replace the root', 'it is gone')
      return found
    } catch (error) {
      this.#inDoubt = true
      throw error
    }
  }

  /** Whether a root that was read names no other owner that has come since. */
  #isHeldAfter(found: SeenRoot | undefined): boolean {
    if (found === undefined) return false
    const { nonce, token } = found.root
    if (nonce === this.#nonce && token === this.token) return true
    return this.#settings.exclusive && isOutdated(found.root, this.#root.root)
  }

  #noteLost(found: SeenRoot | undefined): StateError<'FENCED'> {
    this.#lost = fencedBy(this.#content.bucket.name, found?.root)
    this.#cancelRenewal()
    held.delete(this.#nonce)
    return this.#lost
  }

  #renewLater(): void {
    const { clock, leaseMs } = this.#settings
    const renew = () => {
      void this.#renew().finally(() => {
        if (!this.#letGo && this.#lost === undefined) this.#renewLater()
      })
    }
    this.#cancelRenewal = setLongTimer(clock, renew, Math.ceil(leaseMs / RENEWALS))
  }

  /** Never rejects: whether the lease is held shows when something is to be written. */
  async #renew(): Promise<void> {
    try {
      const isRenewed = this.#root.root.revision !== this.#renewedAt && !this.#inDoubt
      if (!isRenewed) await this.change(() => {})
    } catch {
      // It is tried again; until then others may take the lease for lost, and whoever then writes here learns of it.
    } finally {
      this.#renewedAt = this.#root.root.revision
    }
  }
}

/** Becomes the owner; `undefined` where the root is no longer as it was found. */
async function claim(
  content: BucketContent,
  settings: BucketLeaseSettings,
  found: SeenRoot | undefined,
): Promise<SeenRoot | undefined> {
  const { bucket } = content
  const root: Root = {
    revision: (found?.root.revision ?? 0) + 1,
    token: (found?.root.token ?? 0) + 1,
    nonce: randomUUID(),
    leaseMs: settings.leaseMs,
    released: false,
    owner: await thisThread(),
    objects: found?.root.objects ?? new Map<string, RootEntry>(),
  }
  const bytes = content.encoded(root)
  try {
    const tag = await content.attempt('acquire the lease', async () => {
      if (settings.exclusive) return await replaceUnguarded(content, found, bytes)
      return found === undefined
        ? await bucket.putIfAbsent(ROOT_KEY, bytes)
        : await bucket.putIfMatch(ROOT_KEY, bytes, found.tag)
    })
    if (tag !== undefined) return { root, tag }
    // Perhaps the answer to an own attempt was lost.
    const now = await content.root()
    return now?.root.nonce === root.nonce ? now : undefined
  } catch (error) {
    givenUp.add(root.nonce)
    throw error
  }
}

/** What stores answer that know no conditions. */
const UNKNOWN_REQUEST: ReadonlySet<number | undefined> = new Set([400, 405, 501])

/**
 * For a bucket whose conditions may mean nothing: looks, then writes. The condition is sent all the same: where the store keeps it, an attempt that
 * was given up and arrives late overwrites nothing that is newer.
 */
async function replaceUnguarded(
  content: BucketContent,
  before: SeenRoot | undefined,
  bytes: Uint8Array,
): Promise<string | undefined> {
  const { bucket } = content
  const now = await content.root()
  const isAsBefore = now?.root.nonce === before?.root.nonce && now?.root.revision === before?.root.revision
  // An older one has arrived late, where the store does not compare: it is written over.
  const isLate = now !== undefined && before !== undefined && isOutdated(now.root, before.root)
  if (!isAsBefore && !isLate) return undefined
  try {
    const tag =
      now === undefined
        ? await bucket.putIfAbsent(ROOT_KEY, bytes)
        : await bucket.putIfMatch(ROOT_KEY, bytes, now.tag)
    if (tag !== undefined) return tag
  } catch (error) {
    if (!(error instanceof BucketFailure && UNKNOWN_REQUEST.has(error.status))) throw error
  }
  // Where nothing has changed, it is the store that takes nothing on a condition.
  const again = await content.root()
  return again?.tag === now?.tag ? await bucket.put(ROOT_KEY, bytes) : undefined
}

/**
 * Whether a root that is found where the other one was written is an older one, of a request that was given up and has arrived late: of the
 * same lease, of one before it, or of one that this thread did not learn of while it took the next.
 */
function isOutdated(found: Root, written: Root): boolean {
  if (found.nonce === written.nonce) return found.revision < written.revision
  return found.token < written.token || (found.token === written.token && givenUp.has(found.nonce))
}

/** `FENCED` unless the owner has let go, is dead, or is silent for as long as it said it may be. */
async function assertFree(
  content: BucketContent,
  { root }: SeenRoot,
  wait: (ms: number) => Promise<unknown>,
): Promise<void> {
  if (root.released || givenUp.has(root.nonce)) return
  const liveness = await livenessOf(root.owner)
  const isOurs = liveness === 'unknown' && held.has(root.nonce)
  if (liveness === 'alive' || isOurs) throw fencedBy(content.bucket.name, root)
  if (liveness === 'dead') return
  const lookMs = Math.max(1, Math.ceil(root.leaseMs / LOOKS))
  for (let silentMs = 0; silentMs < root.leaseMs; silentMs += lookMs) {
    await wait(lookMs)
    const next = (await content.root())?.root
    if (next === undefined || next.released) return
    if (next.nonce !== root.nonce || next.revision !== root.revision)
      throw fencedBy(content.bucket.name, next)
  }
}

function fencedBy(resource: string, holder: Root | undefined): StateError<'FENCED'> {
  if (holder === undefined) {
    return new StateError('FENCED', { resource, owner: 'nobody: the root object was removed' })
  }
  const { owner, token } = holder
  const isHere = owner.pid === process.pid && owner.hostname === hostname()
  const advice = isHere
    ? 'which is this process: release that lease first'
    : 'stop it, wait until it lets go, take over (takeOver: true), or use another prefix'
  const who = `process ${owner.pid} on host '${owner.hostname}' (lease ${token})`
  return new StateError('FENCED', { resource, owner: `${who}; ${advice}` })
}
