// A stretch of keys is replaced in slices, and yet in one step: from its beginning to its end, whoever reads the log reads the instant at
// which it began, as a snapshot does. Nobody else writes meanwhile.

import type { KeyInterval } from '../backend/scan-range.js'
import { runSliced, type SlicedWork } from '../base/slices.js'
import type { HashLog } from '../log/hash-log.js'
import { entryUnits } from '../log/layout.js'
import { unburiedAddresses } from '../log/order/latest-versions.js'
import { SegmentTable } from '../log/segment-table.js'
import { Uint32List } from '../log/uint32-list.js'

/** Entries looked at or written between two points where the work may pause. */
const LOOKED_AT_STEP = 1_024
const WRITTEN_STEP = 32

export class RangeReplacement {
  /** The instant that is to be read until the end. */
  readonly epoch: number
  /** How many entries there are at that instant, those that have expired and were not removed yet included. */
  readonly entries: number
  readonly #log: HashLog
  readonly #loaded: HashLog
  readonly #interval: KeyInterval

  /** `loaded` has what is to be in `interval`, and nothing else. The order of keys is there. Ends with `end`. */
  constructor(log: HashLog, loaded: HashLog, interval: KeyInterval) {
    this.#log = log
    this.#loaded = loaded
    this.#interval = interval
    this.entries = log.count
    this.epoch = log.openSnapshot()
  }

  /** Rejects with `BACKEND_FULL`, with nothing changed, where not both fit. `check` may throw to give up for good. */
  async run(check: () => void): Promise<void> {
    const added = await runSliced(unburiedAddresses(SegmentTable.attach(this.#loaded.share())), check)
    const removed = await runSliced(this.#keysToRemove(), check)
    const units = await runSliced(this.#unitsOf(added, removed), check)
    const log = this.#log
    log.beginStep(units)
    try {
      await runSliced(this.#apply(added, removed), check)
    } finally {
      log.endStep(units)
    }
  }

  /** What there is from now on is what is to be read. */
  end(): void {
    this.#log.closeSnapshot(this.epoch)
    this.#loaded.dispose()
  }

  /** Addresses of keys of the interval that are there and are not to be afterwards. */
  *#keysToRemove(): SlicedWork<Uint32List> {
    const [log, loaded] = [this.#log, this.#loaded]
    const { entries } = log
    const { from, until } = this.#interval
    const removed = new Uint32List()
    const keys = log.ordered.range(log.ordered.sortedNow(), from, until).walk()
    let walked = 0
    for (let key = keys.next(); key !== 0; key = keys.next()) {
      if (++walked % LOOKED_AT_STEP === 0) yield
      const address = log.latest(key)
      if (address === 0 || entries.isTombstone(address)) continue
      const [bytes, start] = [entries.segmentBytes(address), entries.keyStart(address)]
      if (loaded.seek(bytes, start, entries.keyLength(address)) === 0) removed.push(address)
    }
    return removed
  }

  /** What is appended for that: the new entries, and tombstones, since the instant is still read. */
  *#unitsOf(added: Uint32Array, removed: Uint32List): SlicedWork<number[]> {
    const units: number[] = []
    const { entries } = this.#loaded
    for (const address of added) {
      if (units.length % LOOKED_AT_STEP === 0) yield
      const expires = entries.expiresAtMs(address) !== Infinity
      units.push(entryUnits(entries.keyLength(address), entries.valueLength(address), expires))
    }
    for (let i = 0; i < removed.length; i++) {
      if (i % LOOKED_AT_STEP === 0) yield
      units.push(entryUnits(this.#log.entries.keyLength(removed.at(i)), 0, false))
    }
    return units
  }

  *#apply(added: Uint32Array, removed: Uint32List): SlicedWork<void> {
    const log = this.#log
    const { entries } = this.#loaded
    for (let i = 0; i < added.length; i++) {
      if (i % WRITTEN_STEP === 0) yield
      const address = added[i] as number
      const bytes = entries.segmentBytes(address)
      const found = log.seek(bytes, entries.keyStart(address), entries.keyLength(address))
      const valueStart = entries.valueStart(address)
      log.write(found, bytes, valueStart, entries.valueLength(address), entries.expiresAtMs(address))
    }
    for (let i = 0; i < removed.length; i++) {
      if (i % WRITTEN_STEP === 0) yield
      // It may have moved, or expired and gone.
      const address = log.latest(removed.at(i))
      if (address !== 0 && !log.entries.isTombstone(address)) log.removeAll(Uint32Array.of(address))
    }
  }
}
