// Puts a log of the memory engine together in the thread that reads a checkpoint.

import type { BuildOptions, BuiltState, OpenStateBuilder, StateBuilder } from '../backend/built-state.js'
import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import { wholeMs } from '../base/clock.js'
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
  readonly #warm: WarmSegments | undefined
  #entries = 0
  #indexedAtOnce = INDEXED_FIRST

  constructor({ nowMs, hashKey }: LogBuilding, { expectedEntries, laterMs }: BuildOptions) {
    this.#laterMs = laterMs
    this.#expectedEntries = expectedEntries
    this.#warm = expectedEntries < WARM_FROM ? undefined : new WarmSegments()
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
    const left = this.#expectedEntries - this.#entries
    if (left * (log.usedBytes / this.#entries) > SEGMENT_BYTES) this.#warm?.prepare()
    if (log.appended.length < this.#indexedAtOnce) return
    runThrough(log.indexAppended())
    this.#indexedAtOnce = INDEXED_AT_ONCE
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

  finish(): BuiltState {
    runThrough(this.#log.indexAppended())
    const image = this.#log.image()
    return { data: image, transferList: transfersOf(image) }
  }
}
