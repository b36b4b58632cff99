import { type ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec, KeyCodec } from '../../state/codec/codec.js'
import { int64 } from '../../state/codec/numbers.js'
import type { Host } from '../../state/entries/host.js'
import { type EncodedKey, GivenKey, readerBehindPrefix } from '../../state/key/stored-key.js'
import type { OpenState } from '../../state/open-state.js'
import type { TimeWindow } from '../assign/assigner.js'

type EventKey = readonly [timestampMs: number, number: number]

/** The events of windows that want to see them: each is an entry under its key, its timestamp and its number. */
export class KeptEvents {
  readonly #state: OpenState
  readonly #host: Host
  readonly #keyCodec: KeyCodec<number[], EventKey>
  readonly #codec: Codec<unknown, unknown>
  readonly #written = new ByteWriter()

  constructor(
    state: OpenState,
    host: Host,
    keyCodec: KeyCodec<number[], EventKey>,
    codec: Codec<unknown, unknown>,
  ) {
    this.#state = state
    this.#host = host
    this.#keyCodec = keyCodec
    this.#codec = codec
  }

  put(key: EncodedKey<unknown>, timestampMs: number, number: number, event: unknown): void {
    const written = this.#written
    written.length = 0
    this.#codec.write(event, written)
    const keyCodec = this.#keyCodec as unknown as KeyCodec<EventKey>
    this.#state.entries.put(this.#state.context.locateIn(key, keyCodec, [timestampMs, number]), written)
  }

  /** The events of a window, in the order of their timestamps, then of their numbers. */
  read(
    key: EncodedKey<unknown>,
    { startMs, endMs }: TimeWindow,
  ): { readonly events: unknown[]; readonly timestamps: number[] } {
    const { context } = this.#state
    const events: unknown[] = []
    const timestamps: number[] = []
    const gte = this.#place(key, startMs)
    const lt = this.#place(key, endMs)
    for (const [storedKey, bytes] of this.#host.entries.list(gte, lt)) {
      try {
        const reader: ByteReader = readerBehindPrefix(storedKey)
        reader.position += key.bytes.length
        timestamps.push(int64.readKey(reader))
        events.push(this.#codec.read(reader.fromBytes(bytes)))
      } catch (error) {
        throw context.failureAt('read', error, storedKey, this.#keyCodec as unknown as KeyCodec<unknown>)
      }
    }
    return { events, timestamps }
  }

  /** Removes those that no window needs any more. */
  removeBefore(key: EncodedKey<unknown>, timestampMs: number): void {
    const { context, entries } = this.#state
    const stored = context.locate(key)
    const from = stored.copy()
    const until = timestampMs === Infinity ? stored.end() : this.#place(key, timestampMs)
    for (const [storedKey] of Array.from(this.#host.entries.list(from, until))) {
      entries.remove(new GivenKey(storedKey))
    }
  }

  #place(key: EncodedKey<unknown>, timestampMs: number): Uint8Array {
    const within = Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, timestampMs))
    return this.#state.context.locateIn(key, int64, within).copy()
  }
}
