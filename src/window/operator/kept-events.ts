import type { SlicedWork } from '../../base/slices.js'
import { type ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec, KeyCodec } from '../../state/codec/codec.js'
import { codecErrorOf } from '../../state/codec/codec-error.js'
import { tuple } from '../../state/codec/composite.js'
import { int64, uint32 } from '../../state/codec/numbers.js'
import { nameOf } from '../../state/entries/overlay.js'
import { checkValueLength } from '../../state/entries/state-entries.js'
import { storedEntries } from '../../state/entries/stored-entries.js'
import { keyGroupOf } from '../../state/key/key-group.js'
import { readerBehindPrefix } from '../../state/key/stored-key.js'
import type { OpenState } from '../../state/open-state.js'
import type { TimeWindow } from '../assign/assigner.js'

/** The form in which events are kept. */
export interface EventsCodec extends Codec<unknown, unknown> {
  /** What is kept of an event, by functions of the user. Default: the event. */
  readonly keptOf?: (event: unknown) => unknown
}

export interface KeptEvent {
  readonly timestampMs: number
  readonly number: number
  readonly bytes: Uint8Array
  isStored: boolean
}

interface KeptKey {
  /** In the order of timestamps, then of numbers. */
  events: KeptEvent[]
  /** Whether some of them are not in the store. */
  isDirty: boolean
  /** What the store still has and nobody needs. */
  readonly removed: KeptEvent[]
}

/** By the timestamp and the number of an event. */
export const eventKey = tuple(int64, uint32) as unknown as KeyCodec<readonly number[]>

/**
 * The events of windows that want to see them. Between cuts they are in memory, in their encoded form; in the store each is an entry
 * under its key, its timestamp and its number.
 */
export class KeptEvents {
  readonly #state: OpenState
  readonly #codec: EventsCodec
  readonly #keys = new Map<string, KeptKey>()
  readonly #written = new ByteWriter()

  constructor(state: OpenState, codec: EventsCodec) {
    this.#state = state
    this.#codec = codec
  }

  /** @param key the bytes of the key. */
  put(key: Uint8Array, timestampMs: number, number: number, event: unknown): void {
    const { keptOf } = this.#codec
    const kept = keptOf === undefined ? event : keptOf(event)
    const written = this.#written
    written.length = 0
    try {
      this.#codec.write(kept, written)
      checkValueLength(written.length, this.#state.entries.maxValueBytes)
    } catch (error) {
      throw codecErrorOf(error, 'write')
    }
    const name = nameOf(key)
    const ofKey = this.#keys.get(name) ?? { events: [], isDirty: false, removed: [] }
    this.#keys.set(name, ofKey)
    insert(ofKey.events, { timestampMs, number, bytes: written.copy(), isStored: false })
    ofKey.isDirty = true
  }

  /** Takes an event out again that is not in the store yet. */
  revert(key: Uint8Array, timestampMs: number, number: number): void {
    const kept = this.#keys.get(nameOf(key))
    if (kept === undefined) return
    for (let place = placeOf(kept.events, timestampMs); place < kept.events.length; place++) {
      const each = kept.events[place] as KeptEvent
      if (each.timestampMs !== timestampMs) return
      if (each.number !== number) continue
      kept.events.splice(place, 1)
      return
    }
  }

  /** The events of a window, in the order of their timestamps, then as they came in. */
  read(
    key: Uint8Array,
    { startMs, endMs }: TimeWindow,
  ): { readonly events: unknown[]; readonly timestamps: number[] } {
    const all = this.#keys.get(nameOf(key))?.events ?? []
    const inside = all.slice(placeOf(all, startMs), placeOf(all, endMs))
    const reader = readerBehindPrefix(new Uint8Array(0))
    return {
      events: inside.map((event) => this.#read(reader, key, event)),
      timestamps: inside.map(({ timestampMs }) => timestampMs),
    }
  }

  #read(reader: ByteReader, key: Uint8Array, event: KeptEvent): unknown {
    try {
      return this.#codec.read(reader.fromBytes(event.bytes))
    } catch (error) {
      throw this.#state.context.failureAt('read', error, this.#locate(key, event).copy(), eventKey)
    }
  }

  /** Lets go of those that no window needs any more, and returns them. */
  removeBefore(key: Uint8Array, timestampMs: number): readonly KeptEvent[] {
    const name = nameOf(key)
    const kept = this.#keys.get(name)
    if (kept === undefined) return []
    const gone = kept.events.splice(0, placeOf(kept.events, timestampMs))
    for (const event of gone) if (event.isStored) kept.removed.push(event)
    if (kept.events.length === 0 && kept.removed.length === 0) this.#keys.delete(name)
    else if (kept.removed.length > 0) kept.isDirty = true
    return gone
  }

  /** Has those again that were let go of since the last flush. */
  putBack(key: Uint8Array, gone: readonly KeptEvent[]): void {
    const name = nameOf(key)
    const kept = this.#keys.get(name) ?? { events: [], isDirty: false, removed: [] }
    this.#keys.set(name, kept)
    for (const event of gone) {
      insert(kept.events, event)
      const place = kept.removed.indexOf(event)
      if (place >= 0) kept.removed.splice(place, 1)
    }
    kept.isDirty = true
  }

  *flush(): SlicedWork<void> {
    const { entries } = this.#state
    const written = this.#written
    for (const [name, kept] of this.#keys) {
      if (!kept.isDirty) continue
      const key = Buffer.from(name, 'latin1')
      // What is noted as written was: where a call fails, the next cut writes what is left.
      for (let event = kept.removed.at(-1); event !== undefined; event = kept.removed.at(-1)) {
        entries.remove(this.#locate(key, event))
        event.isStored = false
        kept.removed.pop()
        yield
      }
      for (const event of kept.events) {
        if (event.isStored) continue
        written.length = 0
        written.append(event.bytes)
        entries.put(this.#locate(key, event), written)
        event.isStored = true
        yield
      }
      kept.isDirty = false
      if (kept.events.length === 0) this.#keys.delete(name)
    }
  }

  *restore(): SlicedWork<void> {
    const { entries, context } = this.#state
    yield* storedEntries(context, entries, (storedKey, bytes) => {
      const reader: ByteReader = readerBehindPrefix(storedKey)
      const start = reader.position
      context.readKey(reader, context.keyCodec, 'head')
      const name = nameOf(storedKey.subarray(start, reader.position))
      const [timestampMs, number] = context.readKey(reader, eventKey, 'whole') as [number, number]
      const kept = this.#keys.get(name) ?? { events: [], isDirty: false, removed: [] }
      this.#keys.set(name, kept)
      kept.events.push({ timestampMs, number, bytes, isStored: true })
      try {
        const value = readerBehindPrefix(new Uint8Array(0)).fromBytes(bytes)
        this.#codec.read(value)
        value.assertEnd()
      } catch (error) {
        throw context.failureAt('read', error, storedKey, eventKey)
      }
    })
  }

  #locate(
    key: Uint8Array,
    { timestampMs, number }: KeptEvent,
  ): ReturnType<OpenState['context']['locateBytes']> {
    const { context } = this.#state
    const view = new DataView(key.buffer, key.byteOffset, key.byteLength)
    const group = keyGroupOf(view, 0, key.length, context.keyGroups)
    const stored = context.locateBytes(group, { bytes: key, offset: 0, length: key.length })
    stored.append(eventKey, [timestampMs, number])
    return stored
  }
}

function insert(events: KeptEvent[], event: KeptEvent): void {
  const last = events.at(-1)
  // Most come in order. Of one timestamp, the later number is behind.
  if (last === undefined || last.timestampMs <= event.timestampMs) events.push(event)
  else events.splice(placeOf(events, event.timestampMs + 1), 0, event)
}

/** How many events are before a time. */
function placeOf(events: readonly KeptEvent[], timestampMs: number): number {
  let low = 0
  let high = events.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((events[middle] as KeptEvent).timestampMs < timestampMs) low = middle + 1
    else high = middle
  }
  return low
}
