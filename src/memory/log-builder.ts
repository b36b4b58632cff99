// Puts a log of the memory engine together in the thread that reads a checkpoint.

import type { BuildOptions, BuiltState, OpenStateBuilder, StateBuilder } from '../backend/built-state.js'
import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import { wholeMs } from '../base/clock.js'
import { runThrough } from '../base/slices.js'
import { HashLog } from '../log/hash-log.js'
import { randomHashKey } from '../log/index/key-hash.js'
import { transfersOf } from '../log/share/log-image.js'

/** What `MemoryEngine.building` sends. */
export interface LogBuilding {
  /** The time of the engine, by which what is due first is told from what is due last. */
  readonly nowMs: number
}

export const openStateBuilder: OpenStateBuilder = (data, options) =>
  new LogBuilder((data as LogBuilding).nowMs, options)

class LogBuilder implements StateBuilder {
  readonly #log: HashLog
  readonly #laterMs: number

  constructor(nowMs: number, { expectedEntries, laterMs }: BuildOptions) {
    this.#laterMs = laterMs
    this.#log = new HashLog({
      maxBytes: Infinity,
      hashKey: randomHashKey(),
      now: () => nowMs,
      besideBytes: () => 0,
      onExpired: () => {},
    })
    this.#log.reserve(expectedEntries)
  }

  add({ bytes }: EntryBlock): void {
    const log = this.#log
    const cursor = new EntryBlockCursor(bytes)
    while (cursor.next()) log.append(cursor, wholeMs(cursor.expiresAtMs + this.#laterMs))
    if (log.appended.areEnough) runThrough(log.indexAppended())
  }

  finish(): BuiltState {
    runThrough(this.#log.indexAppended())
    const image = this.#log.image()
    return { data: image, transferList: transfersOf(image) }
  }
}
