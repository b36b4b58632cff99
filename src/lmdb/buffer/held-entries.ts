import { LatestVersions } from '../../log/order/latest-versions.js'
import { SegmentTable } from '../../log/segment-table.js'
import type { StoreView } from '../store/store-view.js'
import type { Generation } from './generation.js'
import type { WriteBuffer } from './write-buffer.js'

/** Keys that writes look up below the buffer's active generation, after somebody has asked for the number of entries. */
const LOOKUPS_AFTER_QUESTION = 1_000_000

/**
 * How many entries there are, with those that have expired and are not removed yet: what lies below the active generation, and
 * what that holds, less the keys that it covers. A commit moves entries and changes nothing of that.
 *
 * To know what a key covers takes a look into the store for each new key of a generation, which is much beside a write. So
 * writes do that only while somebody asks for the number now and then; whoever asks first after a long time has it counted.
 */
export class HeldEntries {
  readonly #buffer: WriteBuffer
  readonly #view: () => StoreView
  /** Below the active generation; undefined: not known. */
  #below: number | undefined
  /** Keys of the active generation that lie below it, too. */
  #covered = 0
  #lookupsLeft = 0
  /** Filled aside, and how many of its keys lie below it; undefined: not known. */
  #aside: Generation | undefined
  #coveredAside: number | undefined = 0

  constructor(buffer: WriteBuffer, view: () => StoreView) {
    this.#buffer = buffer
    this.#view = view
    this.#below = view().entryCount
  }

  count(): number {
    this.#lookupsLeft = LOOKUPS_AFTER_QUESTION
    if (this.#below === undefined) this.#countAnew()
    return this.#known() ?? 0
  }

  /** A key has come into the active generation. */
  added(bytes: Uint8Array, start: number, length: number): void {
    const aside = this.#aside?.log
    if (aside !== undefined && aside.keys > 0 && aside.seek(bytes, start, length) !== 0)
      this.#coveredAside = undefined
    // Nothing is covered where nothing lies below.
    if (this.#below === undefined || this.#below === 0) return
    if (--this.#lookupsLeft < 0) this.#below = undefined
    else if (this.#isBelow(bytes, start, length)) this.#covered++
  }

  /** A generation is filled aside from now on. */
  beginAside(generation: Generation): void {
    this.#aside = generation
    this.#coveredAside = 0
  }

  /** A key comes into the generation that is filled aside. */
  addedAside(bytes: Uint8Array, start: number, length: number): void {
    const { active, frozen } = this.#buffer
    if (this.#coveredAside === undefined || (this.#below === 0 && active.isEmpty && frozen.length === 0))
      return
    // What is written later under a key that the active generation has is not told here.
    const isKnown = this.#below !== undefined && --this.#lookupsLeft >= 0
    if (!isKnown || active.log.seek(bytes, start, length) !== 0) this.#coveredAside = undefined
    else if (this.#isBelow(bytes, start, length)) this.#coveredAside++
  }

  /** It lies below the active generation now, which is empty; `undefined`: it was dropped. */
  endAside(adopted: Generation | undefined): void {
    const covered = this.#coveredAside
    this.#aside = undefined
    if (adopted === undefined || this.#below === undefined) return
    this.#below = covered === undefined ? undefined : this.#below + adopted.log.count - covered
  }

  /** The active generation is about to be frozen. */
  freezing(): void {
    this.#below = this.#known()
    this.#covered = 0
  }

  /** Everything was replaced: so many entries lie below an active generation that is empty. */
  reset(below: number): void {
    this.#coveredAside = undefined
    this.#below = below
    this.#covered = 0
  }

  #known(): number | undefined {
    return this.#below === undefined ? undefined : this.#below + this.#buffer.active.log.count - this.#covered
  }

  #countAnew(): void {
    const { active, frozen } = this.#buffer
    // Of each generation, what it holds and what it covers, from the oldest one that shows through to the newest.
    const layers = [active, ...frozen]
    const cleared = layers.findIndex((generation) => generation.cleared)
    const visible = cleared === -1 ? layers : layers.slice(0, cleared + 1)
    let below = cleared === -1 ? this.#view().entryCount : 0
    for (const [depth, generation] of [...visible.entries()].reverse()) {
      const covered =
        below === 0 ? 0 : this.#countCovered(generation, visible.slice(depth + 1), cleared === -1)
      if (depth > 0) below += generation.log.count - covered
      else this.#covered = covered
    }
    this.#below = below
  }

  #countCovered({ log }: Generation, lower: readonly Generation[], overStore: boolean): number {
    const view = this.#view()
    let covered = 0
    const latest = new LatestVersions(SegmentTable.attach(log.share()))
    for (let address = latest.next(); address !== 0; address = latest.next()) {
      const { entries } = log
      const bytes = entries.segmentBytes(address)
      const start = entries.keyStart(address)
      const length = entries.keyLength(address)
      if (isIn(lower, overStore ? view : undefined, bytes, start, length)) covered++
    }
    return covered
  }

  #isBelow(bytes: Uint8Array, start: number, length: number): boolean {
    const { active, frozen, opaque } = this.#buffer
    if (active.cleared) return false
    const cleared = frozen.findIndex((generation) => generation.cleared)
    const visible = cleared === -1 ? frozen : frozen.slice(0, cleared + 1)
    return isIn(visible, opaque ? undefined : this.#view(), bytes, start, length)
  }
}

/** Whether there is an entry under a key in generations, newest first, over a store. */
function isIn(
  generations: readonly Generation[],
  view: StoreView | undefined,
  bytes: Uint8Array,
  start: number,
  length: number,
): boolean {
  for (const { log } of generations) {
    const address = log.keys === 0 ? 0 : log.seek(bytes, start, length)
    if (address !== 0) return !log.entries.isTombstone(address)
  }
  return view !== undefined && view.expiryOf(bytes, start, length) !== -Infinity
}
