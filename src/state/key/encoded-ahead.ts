import { ByteWriter } from '../codec/bytes.js'
import type { KeyCodec } from '../codec/codec.js'
import { keyGroupOf } from './key-group.js'
import {
  checkStoredLength,
  type MutableStretch,
  NOT_TOLD,
  PREFIX_BYTES,
  type ToldKeys,
} from './stored-key.js'

/** Encodes keys one behind the other, to tell an engine of them: each is used from there when its turn has come. */
export class EncodedAhead implements ToldKeys {
  /** So many keys are there. */
  count = 0
  /** The states that they are encoded for, by id. */
  #ids: readonly number[] = []
  /** How often each of these was asked for a key. */
  #asked: number[] = []
  readonly #codec: KeyCodec<unknown>
  readonly #keyGroups: number
  readonly #writer = new ByteWriter()
  /** Where each stored key ends: of the first key that of each state, then those of the next key. */
  #ends: Int32Array = new Int32Array(0)

  constructor(codec: KeyCodec<unknown>, keyGroups: number) {
    this.#codec = codec
    this.#keyGroups = keyGroups
  }

  get bytes(): Uint8Array {
    return this.#writer.bytes
  }

  get ends(): Int32Array {
    return this.#ends
  }

  /** How many stored keys there are: those of all states. */
  get places(): number {
    return this.count * this.#ids.length
  }

  /** The states that at least half of the keys were looked up in. */
  get usedIds(): readonly number[] {
    return this.#ids.filter((_, at) => 2 * (this.#asked[at] as number) >= this.count)
  }

  /** Encodes the first `count` of these keys for some states, up to the first that is none, in the place of those of before. */
  encode(keys: readonly unknown[], count: number, ids: readonly number[]): void {
    const places = count * ids.length
    if (this.#ends.length < places) this.#ends = new Int32Array(places)
    this.#writer.length = 0
    this.count = 0
    if (this.#ids !== ids) this.#asked = ids.map(() => 0)
    this.#ids = ids
    if (ids.length === 0) return
    try {
      for (; this.count < count; this.count++) this.#encode(keys[this.count])
    } catch {
      // What is no key is told of when the turn of its event comes.
    }
  }

  point(stretch: MutableStretch, i: number, state: number): number {
    const ids = this.#ids
    let at = 0
    while (at < ids.length && ids[at] !== state) at++
    if (at === ids.length) return NOT_TOLD
    this.#asked[at] = (this.#asked[at] as number) + 1
    const place = i * ids.length + at
    const start = this.#startOf(place)
    stretch.bytes = this.#writer.bytes
    stretch.offset = start
    stretch.length = (this.#ends[place] as number) - start
    return place
  }

  write(i: number, to: ByteWriter): number {
    const place = i * this.#ids.length
    const start = this.#startOf(place)
    const { bytes, view } = this.#writer
    const length = (this.#ends[place] as number) - start - PREFIX_BYTES
    const at = to.reserve(length)
    for (let k = 0; k < length; k++) to.bytes[at + k] = bytes[start + PREFIX_BYTES + k] as number
    return view.getUint16(start)
  }

  #startOf(place: number): number {
    return place === 0 ? 0 : (this.#ends[place - 1] as number)
  }

  #encode(key: unknown): void {
    const writer = this.#writer
    const ids = this.#ids
    const start = writer.reserve(PREFIX_BYTES)
    this.#codec.writeKey(key, writer)
    const { length } = writer
    // What is told is not looked at again: an engine would refuse it as a wrong argument, which is no fault of an event.
    checkStoredLength(length - start)
    writer.view.setUint16(start, keyGroupOf(writer.view, start + PREFIX_BYTES, length, this.#keyGroups))
    writer.view.setUint16(start + 2, ids[0] as number)
    let place = this.places
    this.#ends[place] = length
    for (let state = 1; state < ids.length; state++) {
      const at = writer.reserve(length - start)
      writer.bytes.copyWithin(at, start, length)
      writer.view.setUint16(at + 2, ids[state] as number)
      this.#ends[++place] = writer.length
    }
  }
}
