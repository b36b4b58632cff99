// Puts a log of the memory engine together in the thread that reads a checkpoint.

import type { BuildOptions, BuiltState, OpenStateBuilder, StateBuilder } from '../backend/built-state.js'
import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import { wholeMs } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import { runThrough } from '../base/slices.js'
import { HashLog } from '../log/hash-log.js'
import type { HashKey } from '../log/index/key-hash.js'
import { SEGMENT_BYTES } from '../log/layout.js'
import { transfersOf } from '../log/share/log-image.js'
import { WarmSegments } from './warm-segments.js'

/** What `MemoryEngine.building` sends. */
export interface LogBuilding {
  /** The time of the engine, by which what is due first is told from what is due last. */
  readonly nowMs: number
  /** New, and for this log alone. */
  readonly hashKey: HashKey
  /** Of an ordinary segment of the engine's logs. */
  readonly segmentBytes: number
  /** What the log may take; `Infinity`: as much as it needs. */
  readonly roomBytes: number
}

export const openStateBuilder: OpenStateBuilder = (data, options) =>
  new LogBuilder(data as LogBuilding, options)

/**
 * So many entries are indexed at once: enough that a table of the index, which the first of them brings into the cache, gets thousands, and so
 * few that whoever waits for the end does not wait for long. They take 16 bytes each until then, in memory that is used again and has room
 * for 128 Ki: these, and the rest of a block.
 */
const INDEXED_AT_ONCE = 120 * 1024
/** The first ones are fewer, so that what indexes them is compiled by the time the many are there. */
const INDEXED_FIRST = 16 * 1024

/** Logs of fewer entries are filled before their memory would be ready, and are not to begin with a large segment. */
const WARM_FROM = 256 * 1024

class LogBuilder implements StateBuilder {
  readonly #log: HashLog
  readonly #laterMs: number
  readonly #expectedEntries: number
  readonly #roomBytes: number
  readonly #warm: WarmSegments | undefined
  #entries = 0
  #indexedAtOnce = INDEXED_FIRST

  constructor(building: LogBuilding, { expectedEntries, laterMs }: BuildOptions) {
    const { nowMs, hashKey, segmentBytes, roomBytes } = building
    this.#laterMs = laterMs
    this.#expectedEntries = expectedEntries
    this.#roomBytes = roomBytes
    // This log has no limit of its own, and would make large segments by itself: the small ones of an engine with a small limit come from here.
    const isPooled = expectedEntries >= WARM_FROM || segmentBytes < SEGMENT_BYTES
    this.#warm = isPooled ? new WarmSegments(segmentBytes) : undefined
    this.#log = new HashLog({
      maxBytes: Infinity,
      hashKey,
      now: () => nowMs,
      besideBytes: () => 0,
      onExpired: () => {},
      ...(this.#warm && { pool: this.#warm }),
    })
    this.#log.reserve(expectedEntries)
    this.#warm?.prepare()
  }

  add({ bytes, entryCount }: EntryBlock): void {
    const log = this.#log
    this.#appendAll(new EntryBlockCursor(bytes))
    this.#entries += entryCount
    this.#assertRoom()
    this.#prepareNext()
    if (log.appended.length < this.#indexedAtOnce) return
    runThrough(log.indexAppended())
    this.#indexedAtOnce = INDEXED_AT_ONCE
  }

  /** Memory for what is still to come, where that is more than a segment. */
  #prepareNext(): void {
    if (this.#warm === undefined) return
    const bytesOfOne = this.#log.usedBytes / this.#entries
    const left = this.#expectedEntries - this.#entries
    if (left * bytesOfOne > this.#warm.segmentBytes) this.#warm.prepare()
  }

  /** By itself, so that what it is compiled to stays when `add` first comes to what it does rarely. */
  #appendAll(cursor: EntryBlockCursor): void {
    const log = this.#log
    const laterMs = this.#laterMs
    while (cursor.next()) {
      const { expiresAtMs } = cursor
      log.append(cursor, expiresAtMs === Infinity ? Infinity : wholeMs(expiresAtMs + laterMs))
    }
  }

  /** A log that is built makes no room: what is due in it stays until it is in service. */
  #assertRoom(): void {
    if (this.#roomBytes === Infinity) return
    const used = this.#log.memory.totalBytes
    if (used > this.#roomBytes) throw new StateError('BACKEND_FULL', { used, capacity: this.#roomBytes })
  }

  finish(): BuiltState {
    runThrough(this.#log.indexAppended())
    this.#assertRoom()
    const image = this.#log.image()
    return { data: image, transferList: transfersOf(image) }
  }
}
