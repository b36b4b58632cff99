// Copies what a coordinator has published to a second storage, behind its back:
//
// (1) No checkpoint, restore, deletion or retention waits for it, and none fails because of it.
// (2) The newest comes first. What `maxCheckpoints` newer ones have overtaken, or retention has removed, is passed over.
// (3) It is the one writer of the second storage. Once another owner has taken that over, it writes nothing more until the
//     coordinator's `start`; and once the coordinator has lost its own storage, it lets the next one's mirror in.
// (4) An attempt that failed is made again after a pause: a second at first, twice as long each time, up to a minute. What no attempt
//     can mend (damage here, or another checkpoint of that id there) is given up, counted and told.
// (5) What was read to its end there is believed for `verifyEveryMs`; then it is read again, a segment at a time, behind what is to be
//     copied. Nothing waits for that: `close` gives it up.
// (6) `close` ends in `drainMs`, whatever the storages do. What is missing then is copied by the next owner.

import { underEither } from '../../base/abort.js'
import { type CancelTimer, type Clock, setLongTimer } from '../../base/clock.js'
import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import type { CheckpointCatalog } from '../archive/checkpoint-catalog.js'
import { copyCheckpoint, verifySegment } from '../archive/copy-checkpoint.js'
import type { LeasedStorage } from '../archive/leased-storage.js'
import type { StoredManifest } from '../format/manifest.js'
import { checkpointId } from '../format/object-names.js'
import type { Logger, MirrorStats } from '../types.js'
import { CheckpointRetention, type SegmentUse } from './checkpoint-retention.js'
import { LeaseKeeper } from './lease-keeper.js'
import { MirrorVerification } from './mirror-verification.js'

const FIRST_PAUSE_MS = 1_000
const LONGEST_PAUSE_MS = 60_000
const OPERATION = 'mirror a checkpoint'

export interface MirrorSettings {
  /** Where the coordinator publishes. */
  readonly from: CheckpointCatalog
  readonly to: CheckpointCatalog
  readonly maxCheckpoints: number
  readonly graceMs: number
  readonly drainMs: number
  readonly verifyEveryMs: number
  readonly clock: Clock
  readonly logger: Logger
  readonly onMirrored: (stored: StoredManifest, durationMs: number, writtenBytes: number) => void
  readonly onFailed: (sequence: number | undefined, error: StateError) => void
}

/** Nothing of the second storage is needed beyond what its manifests name. */
const nothingInUse: SegmentUse = {
  segmentsInUse: () => new Set(),
  noteListing: () => {},
  lookForOneFile: async () => {},
  letGoOf: async () => {},
}

/** What an attempt came to: nothing is left to do, there may be more, or there is and a pause comes first. */
type Outcome = 'done' | 'again' | 'failed'

interface Published {
  readonly sequence: number
  readonly atMs: number
}

export class CheckpointMirror {
  readonly #settings: MirrorSettings
  readonly #ownership: LeaseKeeper
  readonly #retention: CheckpointRetention
  readonly #verification: MirrorVerification
  /** What is to be copied. */
  readonly #waiting = new Set<number>()
  /** What was published behind the newest that is in the mirror: the oldest of all, and then the newest ones. */
  readonly #ahead: Published[] = []
  /** SHA-256 by name of the segments that were read to their end there, or belong to a checkpoint that was verified there. */
  readonly #whole = new Map<string, string>()
  #newest = 0
  #isBacklogKnown = false
  /** Somebody has decided that the mirror shall be owned, which was not done yet. */
  #begun: { readonly takeOver: boolean } | undefined
  #pauseMs = FIRST_PAUSE_MS
  #abort = new AbortController()
  /** Ends the reading of what is there already. */
  readonly #endVerification = new AbortController()
  #run: Promise<void> | undefined
  #endPause: (() => void) | undefined
  /** There may be something to do that a run under way does not come to. */
  #isAsked = false
  #isClosing = false
  #isStopped = false
  /** As is that, but for good. */
  #isGivenUp = false
  #copied = 0
  #failed = 0
  #passedOver = 0
  #copiedBytes = 0
  #lastError: Error | undefined
  #lastSuccessAt: Date | undefined
  #isCopying = false
  /** A segment was looked at since there was something to do. */
  #hasVerified = false

  constructor(settings: MirrorSettings) {
    this.#settings = settings
    const { to, maxCheckpoints, graceMs, verifyEveryMs, clock, logger } = settings
    this.#verification = new MirrorVerification(verifyEveryMs)
    this.#ownership = new LeaseKeeper(to, logger, () => this.#abort.abort())
    this.#retention = new CheckpointRetention({ maxCheckpoints, graceMs, clock, logger, onDeleted: () => {} })
  }

  stats(): MirrorStats {
    const [oldest] = this.#ahead
    const nowMs = this.#settings.clock.now()
    return {
      copied: this.#copied,
      failed: this.#failed,
      passedOver: this.#passedOver,
      copiedBytes: this.#copiedBytes,
      waiting: this.#waiting.size,
      copying: this.#isCopying,
      lagMs: oldest === undefined ? 0 : Math.max(0, nowMs - oldest.atMs),
      lastError: this.#lastError,
      lastSuccessAt: this.#lastSuccessAt,
    }
  }

  /** The coordinator owns its storage, as somebody decided: the mirror is taken too, and what is missing in it is copied. */
  begin(takeOver: boolean): void {
    // Who decided so had to wait, and `shutdown` did not.
    if (this.#isClosing || this.#isGivenUp) return
    this.#isStopped = false
    this.#begun = { takeOver }
    this.#isBacklogKnown = false
    if (this.#abort.signal.aborted) this.#abort = new AbortController()
    this.#go()
  }

  /** There is a new checkpoint. */
  note(sequence: number): void {
    this.#hasVerified = false
    this.#waiting.add(sequence)
    this.#ahead.push({ sequence, atMs: this.#settings.clock.now() })
    // The first says since when the mirror is behind.
    if (this.#ahead.length > this.#settings.maxCheckpoints + 1) this.#ahead.splice(1, 1)
    this.#prune()
    this.#go()
  }

  /** The coordinator has lost its storage: what is in the mirror is the next owner's affair. */
  stop(): void {
    this.#isStopped = true
    this.#abort.abort()
    this.#endPause?.()
    void this.#settled().then(() => (this.#isStopped ? this.#letGo() : undefined))
  }

  /** Copies what is still missing, for at most `drainMs`, and lets the next owner in. Never rejects. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#endVerification.abort()
    const { clock, drainMs, logger, to } = this.#settings
    let cancel: CancelTimer = () => {}
    const late = new Promise<boolean>((resolve) => {
      cancel = setLongTimer(clock, () => resolve(true), drainMs)
    })
    this.#endPause?.()
    const drained = this.#settled().then(async () => {
      await this.#letGo()
      return false
    })
    if (await Promise.race([drained, late])) {
      this.giveUp()
      const fields = { storage: to.storage.name, waiting: this.#waiting.size, drainMs }
      logger.warn(fields, 'the mirror did not catch up; the next owner copies what is missing')
    }
    cancel()
  }

  /** Nobody waits for it any more. */
  giveUp(): void {
    this.#isGivenUp = true
    this.#isStopped = true
    this.#abort.abort()
    this.#endPause?.()
  }

  async #letGo(): Promise<void> {
    this.#whole.clear()
    await this.#ownership.release()
  }

  async #settled(): Promise<void> {
    while (this.#run !== undefined) await this.#run
  }

  #go(): void {
    this.#isAsked = true
    if (this.#run !== undefined || this.#isStopped) return
    this.#run = this.#work().finally(() => {
      this.#run = undefined
      if (this.#isAsked) this.#go()
    })
  }

  /** Copies until nothing is missing, or nothing can be done. Never rejects. */
  async #work(): Promise<void> {
    // In its own time: nothing of it is part of the call that has published.
    await nextTurn()
    for (;;) {
      this.#isAsked = false
      const outcome = await this.#attempt()
      if (outcome === 'done') return
      if (outcome === 'again') continue
      if (this.#isStopped || this.#isClosing) return
      await this.#pause()
    }
  }

  async #attempt(): Promise<Outcome> {
    let sequence: number | undefined
    const { signal } = this.#abort
    if (signal.aborted) return 'done'
    try {
      const owner = await this.#own()
      return await this.#ownership.guard(owner, async (): Promise<Outcome> => {
        if (!this.#isBacklogKnown) await this.#lookForMissing(owner)
        if (this.#waiting.size === 0) return await this.#verifyNext(owner, signal)
        sequence = Math.max(...this.#waiting)
        await this.#copy(owner, sequence, signal)
        this.#pauseMs = FIRST_PAUSE_MS
        return 'again'
      })
    } catch (error) {
      if (signal.aborted && !this.#ownership.lost) return 'done'
      return await this.#noteFailed(sequence, error)
    }
  }

  async #own(): Promise<LeasedStorage> {
    const begun = this.#begun
    const owner =
      begun === undefined ? await this.#ownership.acquire() : await this.#ownership.acquireAgain(begun)
    this.#begun = undefined
    return owner
  }

  /** What an earlier process did not come to, and what it did. */
  async #lookForMissing(owner: LeasedStorage): Promise<void> {
    // `begin` may ask for another look while this one is under way.
    this.#isBacklogKnown = true
    try {
      await this.#noteMissing(owner)
    } catch (error) {
      this.#isBacklogKnown = false
      throw error
    }
  }

  async #noteMissing(owner: LeasedStorage): Promise<void> {
    const { from, maxCheckpoints } = this.#settings
    const there = await this.#thereWhole(owner)
    const { manifests, savepoints } = await from.listing()
    // Too old to be copied; but if the mirror lacks it, it is behind since then.
    let overtaken: number | undefined
    for (const [place, sequence] of manifests.filter((each) => !savepoints.has(each)).entries()) {
      const isOvertaken = place >= maxCheckpoints
      if (isOvertaken && sequence < this.#newest) break
      const checksum = there.get(sequence)
      if (checksum !== undefined && checksum === (await this.#checksumHere(sequence))) {
        this.#noteThere(sequence)
      } else if (isOvertaken) {
        overtaken = sequence
      } else {
        this.#waiting.add(sequence)
        await this.#noteAhead(sequence)
      }
    }
    if (overtaken !== undefined) await this.#noteAhead(overtaken)
    this.#ahead.sort((left, right) => left.sequence - right.sequence)
    this.#prune()
  }

  /** An earlier process has published it: its manifest says when. */
  async #noteAhead(sequence: number): Promise<void> {
    const { from, clock } = this.#settings
    const stored = await from.tryManifest(sequence)
    const atMs = isStateError(stored) ? clock.now() : stored.manifest.createdAt.getTime()
    const isNoted = this.#ahead.some((each) => each.sequence === sequence)
    if (sequence > this.#newest && !isNoted) this.#ahead.push({ sequence, atMs })
  }

  async #checksumHere(sequence: number): Promise<string | undefined> {
    const stored = await this.#settings.from.tryManifest(sequence)
    return isStateError(stored) ? undefined : stored.checksum
  }

  /** The checkpoints in the mirror with all of their segments, by number, with what their manifests say of themselves. */
  async #thereWhole(owner: LeasedStorage): Promise<Map<number, string>> {
    const checksums = new Map<number, string>()
    this.#whole.clear()
    for (const { sequence, condition } of await (await owner.contents()).retained(new Set())) {
      const stored = condition === 'good' ? await this.#settings.to.tryManifest(sequence) : undefined
      if (stored === undefined || isStateError(stored)) continue
      checksums.set(sequence, stored.checksum)
      for (const { name, sha256 } of stored.manifest.segments) this.#whole.set(name, sha256)
    }
    return checksums
  }

  async #copy(owner: LeasedStorage, sequence: number, signal: AbortSignal): Promise<void> {
    const { from, to, clock, logger, onMirrored } = this.#settings
    const startedAtMs = clock.now()
    this.#isCopying = true
    try {
      const { bytes: manifestBytes, stored } = await from.requiredManifestBytes(sequence)
      const copy = { from: from.storage, stored, manifestBytes, to: owner, signal, logger }
      const onVerified = (name: string) => this.#verification.noteRead(name, clock.now())
      const ways = { whole: this.#whole, onVerified, resumable: true, replacesDamaged: true }
      const writtenBytes = await copyCheckpoint({ ...copy, ...ways })
      const nowMs = clock.now()
      this.#waiting.delete(sequence)
      this.#noteThere(sequence)
      this.#copied++
      this.#copiedBytes += writtenBytes
      this.#lastSuccessAt = new Date(nowMs)
      const durationMs = Math.max(0, nowMs - startedAtMs)
      const fields = {
        checkpoint: checkpointId(sequence),
        storage: to.storage.name,
        writtenBytes,
        durationMs,
      }
      logger.info(fields, 'checkpoint mirrored')
      onMirrored(stored, durationMs, writtenBytes)
    } finally {
      this.#isCopying = false
    }
    await this.#retain(owner)
  }

  /** Reads one segment again whose time has come. Where it is damaged, the checkpoint that needs it is copied again, as far as it is missing. */
  async #verifyNext(owner: LeasedStorage, signal: AbortSignal): Promise<Outcome> {
    if (this.#hasVerified || this.#isClosing) return 'done'
    this.#hasVerified = true
    const { from, to, clock } = this.#settings
    const due = await this.#verification.next(await owner.contents(), clock.now())
    if (due === undefined) return 'done'
    const { sequence, segment } = due
    this.#verification.noteRead(segment.name, clock.now())
    try {
      await underEither([signal, this.#endVerification.signal], (either) =>
        verifySegment(to.storage, segment, { signal: either }),
      )
      this.#whole.set(segment.name, segment.sha256)
      return 'done'
    } catch (error) {
      if (isStateError(error, 'ABORTED') && !signal.aborted) return 'again'
      if (!isStateError(error, 'CORRUPTION')) throw error
      // What a new owner of the mirror has removed is no damage.
      await owner.check()
      this.#whole.delete(segment.name)
      owner.distrustContents()
      if (await from.isGone(sequence)) this.#tellFailed(sequence, error)
      else this.#waiting.add(sequence)
      return 'again'
    }
  }

  #noteThere(sequence: number): void {
    this.#newest = Math.max(this.#newest, sequence)
    while (this.#ahead[0] !== undefined && this.#ahead[0].sequence <= this.#newest) this.#ahead.shift()
  }

  /** Retention of the mirror never fails what was copied. */
  async #retain(owner: LeasedStorage): Promise<void> {
    try {
      await this.#ownership.guard(owner, () => this.#retention.run(owner, new Set(), nothingInUse))
      const { segmentSizes } = await owner.contents()
      for (const name of this.#whole.keys()) if (!segmentSizes.has(name)) this.#whole.delete(name)
    } catch (error) {
      owner.distrustContents()
      const fields = { storage: this.#settings.to.storage.name, reason: reasonOf(error) }
      this.#settings.logger.warn(fields, 'retention of the mirror failed; the next copy tries again')
    }
  }

  async #noteFailed(sequence: number | undefined, error: unknown): Promise<Outcome> {
    const { from, to } = this.#settings
    this.#ownership.held?.distrustContents()
    if (isStateError(error, 'CORRUPTION')) this.#whole.clear()
    if (sequence !== undefined && (await from.isGone(sequence))) {
      // Retention, or somebody, was quicker.
      this.#waiting.delete(sequence)
      this.#passedOver++
      return 'again'
    }
    const failure = asStateError(error, to.storage.name)
    this.#tellFailed(sequence, failure)
    if (this.#ownership.lost) return 'done'
    if (sequence === undefined || !isFinal(failure)) return 'failed'
    this.#waiting.delete(sequence)
    return 'again'
  }

  #tellFailed(sequence: number | undefined, failure: StateError): void {
    const { to, logger, onFailed } = this.#settings
    this.#failed++
    this.#lastError = failure
    const id = sequence === undefined ? undefined : checkpointId(sequence)
    const fields = { checkpoint: id, storage: to.storage.name, code: failure.code, reason: failure.message }
    logger.error(fields, 'checkpoint not mirrored')
    onFailed(sequence, failure)
  }

  #prune(): void {
    const surplus = this.#waiting.size - this.#settings.maxCheckpoints
    if (surplus <= 0) return
    for (const sequence of [...this.#waiting].sort((left, right) => left - right).slice(0, surplus)) {
      this.#waiting.delete(sequence)
      this.#passedOver++
    }
  }

  async #pause(): Promise<void> {
    const pauseMs = this.#pauseMs
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)
    await new Promise<void>((resolve) => {
      const cancel = setLongTimer(this.#settings.clock, resolve, pauseMs)
      this.#endPause = () => {
        cancel()
        resolve()
      }
    })
    this.#endPause = undefined
  }
}

/** What the next attempt would meet again. */
function isFinal({ code }: StateError): boolean {
  return code === 'CORRUPTION' || code === 'INVALID_ARGUMENT' || code === 'INCOMPATIBLE'
}

function asStateError(error: unknown, storage: string): StateError {
  if (isStateError(error)) return error
  const details = { storage, operation: OPERATION, reason: reasonOf(error) }
  return new StateError('STORAGE_ERROR', details, { cause: error })
}
