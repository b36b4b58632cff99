import type { Clock } from '../../base/clock.js'
import type { LeasedStorage } from '../archive/leased-storage.js'
import { removeCheckpoint, segmentsOf } from '../archive/remove-checkpoint.js'
import { planRetention, planSweep } from '../archive/retention.js'
import type { StorageContents } from '../archive/storage-contents.js'
import { checkpointId, manifestName } from '../format/object-names.js'
import type { CheckpointId, Logger } from '../types.js'

/** How long what is known of a storage is relied on, while nothing speaks against it: what somebody removes by hand is noticed then. */
const LISTED_EVERY_MS = 3_600_000

export interface RetentionSettings {
  readonly maxCheckpoints: number
  readonly graceMs: number
  readonly clock: Clock
  readonly logger: Logger
  readonly onDeleted: (id: CheckpointId) => void
}

/** What the coordinator still needs of a storage beyond its manifests. */
export interface SegmentUse {
  segmentsInUse(): ReadonlySet<string>
  /** What is in the storage now. */
  noteListing(owner: LeasedStorage, segmentSizes: ReadonlyMap<string, number>): void
  /** Looks whether one of the files is there that the next checkpoint builds on: another one each time. */
  lookForOneFile(owner: LeasedStorage): Promise<void>
  /** These are about to be removed because their checkpoint is. */
  letGoOf(names: readonly string[]): Promise<void>
}

/**
 * Carries out what retention.ts decides. A checkpoint goes manifest first, then its segments, so that at no moment
 * there is a manifest without its files. Segments that no manifest names are left alone for the grace period, counted
 * from when this process first saw them: no time in a storage is trusted.
 */
export class CheckpointRetention {
  readonly #settings: RetentionSettings
  readonly #orphansSeenAtMs = new Map<string, number>()
  #contents: StorageContents | undefined
  #listedAtMs = -Infinity

  constructor(settings: RetentionSettings) {
    this.#settings = settings
  }

  /** Removes what is surplus. Throws where the storage fails or another owner has taken over. */
  async run(owner: LeasedStorage, knownDamaged: ReadonlySet<number>, use: SegmentUse): Promise<void> {
    const { maxCheckpoints, graceMs, clock, logger } = this.#settings
    if (this.#contents !== undefined && clock.now() - this.#listedAtMs >= LISTED_EVERY_MS)
      owner.distrustContents()
    const contents = await owner.contents()
    const listedAnew = contents !== this.#contents
    if (listedAnew) this.#listedAtMs = clock.now()
    this.#contents = contents
    use.noteListing(owner, contents.segmentSizes)
    const checkpoints = await contents.retained(knownDamaged)
    for (const { sequence, condition } of checkpoints) {
      if (condition !== 'unreadable') continue
      logger.warn(
        { checkpoint: checkpointId(sequence) },
        'manifest cannot be read; retention leaves it alone',
      )
    }
    const doomed = new Set(planRetention(checkpoints, maxCheckpoints))
    const kept = checkpoints.filter((checkpoint) => !doomed.has(checkpoint.sequence))
    const segmentNames = [...contents.segmentSizes.keys()]
    for (const sequence of doomed) {
      await this.#removeCheckpoint(owner, sequence)
    }
    const inUse = use.segmentsInUse()
    const unneeded = planSweep(kept, segmentNames, inUse)
    const released = new Set(planSweep(kept, segmentsOf(checkpoints, doomed), inUse))
    await this.#sweep(owner, unneeded, released)
    // What is uncommitted is left behind by a process that died, or by a failure: both end in a new listing.
    if (listedAnew) await owner.discardUncommitted(graceMs)
    else await use.lookForOneFile(owner)
  }

  /** Removes one checkpoint, whatever state it is in. False where there is none. */
  async remove(owner: LeasedStorage, sequence: number, use: SegmentUse): Promise<boolean> {
    return await removeCheckpoint(owner, sequence, {
      letGoOf: (names) => use.letGoOf(names),
      onRemoved: () => this.#noteRemoved(sequence),
    })
  }

  async #removeCheckpoint(owner: LeasedStorage, sequence: number): Promise<void> {
    await owner.remove(manifestName(sequence))
    this.#noteRemoved(sequence)
  }

  #noteRemoved(sequence: number): void {
    const id = checkpointId(sequence)
    this.#settings.logger.debug({ checkpoint: id }, 'checkpoint removed')
    this.#settings.onDeleted(id)
  }

  /** Removes segments: those of checkpoints that were just removed at once, others after the grace period. */
  async #sweep(
    owner: LeasedStorage,
    unneeded: readonly string[],
    released: ReadonlySet<string>,
  ): Promise<void> {
    const { graceMs, clock, logger } = this.#settings
    const nowMs = clock.now()
    const seenAtMs = new Map(this.#orphansSeenAtMs)
    this.#orphansSeenAtMs.clear()
    for (const name of unneeded) {
      const firstSeenAtMs = seenAtMs.get(name) ?? nowMs
      if (!released.has(name) && nowMs - firstSeenAtMs < graceMs) {
        this.#orphansSeenAtMs.set(name, firstSeenAtMs)
        continue
      }
      await owner.remove(name)
      logger.debug({ segment: name }, 'segment removed')
    }
  }
}
