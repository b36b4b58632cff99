import type { ChangeBase } from '../../backend/state-snapshot.js'
import { isStateError } from '../../base/errors.js'
import type { LeasedStorage } from '../archive/leased-storage.js'
import type { CheckpointContent, ManifestSegment } from '../format/manifest.js'

interface Tip {
  readonly content: CheckpointContent
  readonly base: ChangeBase
  /** Who owned the storage when its files were known to be there: as long as it does, only it removes any. */
  readonly owner: LeasedStorage | undefined
}

/**
 * What the next incremental checkpoint builds on: the last published (or restored) one, and the backend's memory of what
 * has changed since. Nothing else is ever built on: a checkpoint that failed leaves the chain as it was.
 */
export class IncrementalChain {
  #tip: Tip | undefined
  #looks = 0

  /** The content of the checkpoint to build on; `undefined`: the next one is full. */
  get content(): CheckpointContent | undefined {
    return this.#tip?.content
  }

  get base(): ChangeBase | undefined {
    return this.#tip?.base
  }

  get segments(): readonly ManifestSegment[] {
    return this.#tip?.content.segments ?? []
  }

  /** That checkpoint is the one to build on from now on. */
  advance(content: CheckpointContent, base: ChangeBase | undefined, owner: LeasedStorage | undefined): void {
    this.breakOff()
    if (base !== undefined) this.#tip = { content, base, owner }
  }

  /** The next checkpoint is full. */
  breakOff(): void {
    this.#tip?.base.release()
    this.#tip = undefined
  }

  /**
   * Whether the files of the chain are there, or else breaks it off. They are looked for where somebody else may have
   * removed them: names are never used twice, so a file of the right name and size is the one that was verified.
   */
  async confirm(owner: LeasedStorage): Promise<boolean> {
    const tip = this.#tip
    if (tip === undefined) return false
    if (tip.owner === owner) return true
    owner.distrustContents()
    const { segmentSizes } = await owner.contents()
    return this.confirmIn(owner, segmentSizes)
  }

  /**
   * Looks whether one of the files is there, another one each time: what was removed by hand is noticed although the storage is
   * not listed. Where it is missing, the chain is broken off.
   */
  async lookForOneFile(owner: LeasedStorage): Promise<void> {
    const { segments } = this
    if (segments.length === 0) return
    const segment = segments[this.#looks++ % segments.length] as ManifestSegment
    if (await exists(owner, segment.name)) return
    owner.distrustContents()
    this.breakOff()
  }

  /** As {@link confirm}, by the sizes of what is there. */
  confirmIn(owner: LeasedStorage, segmentSizes: ReadonlyMap<string, number>): boolean {
    if (this.#tip === undefined) return false
    const complete = this.segments.every(({ name, sizeBytes }) => segmentSizes.get(name) === sizeBytes)
    if (complete) this.#tip = { ...this.#tip, owner }
    else this.breakOff()
    return complete
  }
}

/** Whether there is a segment of that name, in one call that fetches nothing: every segment is larger than no bytes. */
async function exists(owner: LeasedStorage, name: string): Promise<boolean> {
  try {
    return (await owner.read(name, 0)) !== undefined
  } catch (error) {
    if (isStateError(error, 'CORRUPTION')) return true
    throw error
  }
}
