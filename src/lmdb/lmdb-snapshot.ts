import type { EngineSnapshot, EngineStep } from '../backend/facade/engines.js'
import type { KeyInterval } from '../backend/scan-range.js'
import type { SharedSnapshot } from '../backend/shared-snapshot.js'
import type { ChangeBase, SnapshotOptions } from '../backend/state-snapshot.js'
import { runSliced, runThrough } from '../base/slices.js'
import type { SharedSegment } from '../log/segment-table.js'
import { countEntries } from './buffer/count-entries.js'
import type { EntryLayers } from './buffer/layered-entries.js'
import { changesOver, type MergedScan, type SortedLayer, scanLayers } from './buffer/merged-scan.js'
import type { LentSnapshot } from './share/lent-snapshot.js'
import type { SnapshotLender } from './share/snapshot-lender.js'
import { sortedKeys } from './store/cursors.js'
import { rangeOf } from './store/deleted-ranges.js'
import { RecordFacts } from './store/store-view.js'

/** Keys without an entry that a walk looks at in one step. */
const STEP_KEYS = 512

export interface LmdbSnapshotSource extends EntryLayers {
  readonly takenAtMs: number
  /** Undefined where another process commits: nothing can be shared then. */
  readonly sharing: SnapshotLender | undefined
}

/** One instant of a store: a read transaction of LMDB under the write buffer as it was. */
export class LmdbSnapshot implements EngineSnapshot {
  readonly base: ChangeBase | undefined
  readonly #source: LmdbSnapshotSource
  /** Of what was committed since the base that changes are told since. */
  readonly #changedKeys: readonly SharedSegment[] | undefined
  readonly #shares: LentSnapshot[] = []
  #count: number | undefined

  constructor(source: LmdbSnapshotSource, { track, since }: SnapshotOptions) {
    this.#source = source
    this.base = track === true ? source.sharing?.trackChanges() : undefined
    this.#changedKeys = source.sharing?.changedSince(since)
  }

  get tellsChanges(): boolean {
    return this.#changedKeys !== undefined
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const { layers, deleted, view, takenAtMs } = this.#source
    for (const { log, epoch } of layers) {
      const { entries } = log
      const address = entries.version(log.seek(key, 0, key.length), epoch)
      if (address === 0) continue
      const visible = !entries.isTombstone(address) && entries.expiresAtMs(address) > takenAtMs
      return visible ? entries.copyValue(address) : undefined
    }
    if (deleted.length > 0 && rangeOf(deleted, key) !== undefined) return undefined
    return view?.read(key, () => takenAtMs, new RecordFacts())
  }

  count(): number {
    this.#count ??= runThrough(countEntries({ ...this.#source, layers: this.#sortedNow() }))
    return this.#count
  }

  async countInSlices(check: () => void): Promise<number> {
    this.#count ??= await runSliced(
      countEntries({ ...this.#source, layers: await this.#sorted(check) }),
      check,
    )
    return this.#count
  }

  entries(interval: KeyInterval): Iterable<EngineStep> {
    return this.#scan(this.#sortedNow(), interval)
  }

  async entriesInSlices(interval: KeyInterval, check: () => void): Promise<Iterable<EngineStep>> {
    return this.#scan(await this.#sorted(check), interval)
  }

  async changes(check: () => void): Promise<Iterable<EngineStep>> {
    const { view, takenAtMs } = this.#source
    const changed = await sortedKeys(this.#changedKeys ?? [], check)
    return stepsOf(changesOver(await this.#sorted(check), view, changed, takenAtMs))
  }

  share(what: 'all' | 'changes'): SharedSnapshot | undefined {
    const share = this.#source.sharing?.share(
      this.#source,
      what === 'changes' ? this.#changedKeys : undefined,
    )
    if (share === undefined) return undefined
    this.#shares.push(share)
    return share.snapshot
  }

  close(): void {
    for (const share of this.#shares) share.close()
    for (const layer of this.#source.layers) layer.release()
    this.#source.view?.release()
  }

  #scan(layers: readonly SortedLayer[], interval: KeyInterval): Iterable<EngineStep> {
    return stepsOf(scanLayers({ ...this.#source, layers }, interval))
  }

  #sortedNow(): SortedLayer[] {
    return this.#source.layers.map((layer) => {
      const sorted = layer.log.ordered.sortedNow()
      layer.hold()
      return { ...layer, sorted }
    })
  }

  async #sorted(check: () => void): Promise<SortedLayer[]> {
    const sorted: SortedLayer[] = []
    for (const layer of this.#source.layers) {
      sorted.push({ ...layer, sorted: await layer.log.ordered.sorted(check, () => layer.hold()) })
    }
    check()
    return sorted
  }
}

/** The scan itself at each entry. No generator: with one, synchronous scans were slower than without. */
function stepsOf(scan: MergedScan): Iterable<EngineStep> {
  const next = (): IteratorResult<EngineStep, undefined> => {
    if (scan.next(STEP_KEYS)) return { done: false, value: scan }
    return scan.paused ? { done: false, value: undefined } : { done: true, value: undefined }
  }
  // Who stops before the end leaves what the scan has read with to the next one.
  const end = (): IteratorResult<EngineStep, undefined> => {
    scan.close()
    return { done: true, value: undefined }
  }
  return { [Symbol.iterator]: () => ({ next, return: end }) }
}
