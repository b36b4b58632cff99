// How far a store has come in the time of its events.

import { StateError } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import type { Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import { int64 } from '../codec/numbers.js'
import { GivenKey, OWN_PREFIX } from '../key/stored-key.js'

const NEVER_YET = -Number.MAX_SAFE_INTEGER

/** The key of the store's own entry that says how far it is: watermark i64 · highest i64 (little-endian). */
export const TIME_KEY: Uint8Array = new Uint8Array([...OWN_PREFIX, ...Buffer.from('time')])

export class EventTime {
  readonly key: GivenKey = new GivenKey(TIME_KEY)
  #watermarkMs = NEVER_YET
  /** The latest time of an event, or the watermark. */
  #highestMs = NEVER_YET
  #currentMs: number | undefined

  /** No event with a time up to it is expected any more; `-Infinity` before the first one. */
  get watermarkMs(): number {
    return this.#watermarkMs === NEVER_YET ? -Infinity : this.#watermarkMs
  }

  /** The latest time that was seen. */
  get highestMs(): number {
    return this.#highestMs
  }

  /** The time of the event at hand, where it was said. */
  get currentMs(): number | undefined {
    return this.#currentMs
  }

  set currentMs(timestampMs: number | undefined) {
    this.#currentMs = timestampMs
    if (timestampMs !== undefined && timestampMs > this.#highestMs) this.#highestMs = timestampMs
  }

  /** When what is written now was written: the time of the event at hand, or the watermark. */
  writtenAtMs(): number {
    const writtenAtMs = this.#currentMs ?? this.#watermarkMs
    if (writtenAtMs !== NEVER_YET) return writtenAtMs
    throw new StateError('NOT_INITIALIZED', {
      component:
        'a state that expires by event time, of which the store knows nothing before at(timestampMs) or advanceWatermark(timestampMs),',
      operation: 'be written to',
    })
  }

  /** Moves on; a lower watermark is ignored (T3). */
  advance(watermarkMs: number): void {
    if (watermarkMs <= this.#watermarkMs) return
    this.#watermarkMs = watermarkMs
    this.#highestMs = Math.max(this.#highestMs, watermarkMs)
  }

  /** Goes back to a watermark of before, because what was written with the later one was not kept. */
  goBack(watermarkMs: number): void {
    this.#watermarkMs = watermarkMs === -Infinity ? NEVER_YET : watermarkMs
  }

  /** What is to be stored when the watermark moves on; `undefined` where it was as far already, here or in what is stored. */
  stored(watermarkMs: number, before: Slot | undefined): ByteWriter | undefined {
    const storedMs = before === undefined ? NEVER_YET : int64.load(before.view, before.offset)
    if (watermarkMs <= Math.max(this.#watermarkMs, storedMs)) return undefined
    const to = new ByteWriter(16)
    int64.write(watermarkMs, to)
    int64.write(Math.max(this.#highestMs, watermarkMs), to)
    return to
  }

  /** Goes on where a store was. */
  load(bytes: Uint8Array): void {
    try {
      const from = new ByteReader().fromBytes(bytes)
      this.#watermarkMs = int64.read(from)
      this.#highestMs = int64.read(from)
      from.assertEnd()
    } catch (error) {
      throw new StateError(
        'CORRUPTION',
        { what: 'the event time of a store', reason: String(error), key: TIME_KEY },
        { cause: error },
      )
    }
  }
}

/** Times of events are whole milliseconds (T1). */
export function checkTimestamp(argument: string, timestampMs: unknown): void {
  if (!Number.isSafeInteger(timestampMs) || timestampMs === NEVER_YET) {
    throw invalidArgument(argument, 'must be a whole number of milliseconds since the epoch')
  }
}
