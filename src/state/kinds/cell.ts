// One entry of a state, typed: what value, map, reducing and aggregating states have in common.

import { StateError } from '../../base/errors.js'
import { copyViewed, Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { Codec, KeyCodec } from '../codec/codec.js'
import { CodecError, codecErrorOf, describeValue } from '../codec/codec-error.js'
import { isStruct, type StructCodec } from '../codec/struct.js'
import { show } from '../entries/backend-entries.js'
import type { AssembledKey } from '../entries/entries.js'
import {
  checkValueLength,
  type FormerGeneration,
  NONE,
  PRESENT,
  type StateEntries,
} from '../entries/state-entries.js'
import type { KeyLike } from '../key/stored-key.js'
import type { StateContext } from './state-context.js'

/** Computes the next value from the one before; a struct is changed where it is, and nothing need be returned. */
export type Change<Argument> = (current: unknown, argument: Argument) => unknown

export interface CellOptions {
  readonly entries: StateEntries
  /** Whether reading an entry sets its time to live anew. */
  readonly refreshOnRead: boolean
  /** What a read gives where there is no value; `undefined` without it. */
  readonly absent: (() => unknown) | undefined
  /** What a change begins with where there is no value; without it a struct of zeros, or `undefined`. */
  readonly first: (() => unknown) | undefined
  /** Whether, where there is no value, the argument of a change is stored as it is. */
  readonly startsWithArgument: boolean
}

export class Cell<Key, Part> {
  readonly #context: StateContext<Key>
  readonly #codec: Codec<unknown, unknown>
  readonly #struct: StructCodec<unknown> | undefined
  readonly #partCodec: KeyCodec<Part> | undefined
  readonly #entries: StateEntries
  readonly #refreshOnRead: boolean
  readonly #options: CellOptions
  readonly #maxBytes: number
  readonly #slot = new Slot()
  readonly #reader = new ByteReader()
  readonly #migrating = new ByteReader()
  /** A value on its way into the entries; of a struct, also what a change sees and writes. */
  readonly #value = new ByteWriter()
  readonly #valueSlot = new Slot()
  readonly #view: unknown
  /** What `view` shows, apart from what a change works on. */
  readonly #seen = new ByteWriter()
  readonly #seenSlot = new Slot()
  readonly #seenView: unknown
  /** A value that is written again as it was read. */
  readonly #refreshed = new ByteWriter(0)
  #isChanging = false

  /** Entries are by key alone, or by key and part of a map where there is a codec for that. */
  constructor(
    context: StateContext<Key>,
    codec: Codec<unknown, unknown>,
    partCodec: KeyCodec<Part> | undefined,
    options: CellOptions,
  ) {
    this.#context = context
    this.#codec = codec
    this.#struct = isStruct(codec) ? codec : undefined
    this.#partCodec = partCodec
    this.#entries = options.entries
    this.#refreshOnRead = options.refreshOnRead
    this.#options = options
    this.#maxBytes = options.entries.maxValueBytes
    this.#view = this.#struct?.viewOf(this.#valueSlot, 'change')
    this.#seenView = this.#struct?.viewOf(this.#seenSlot, 'read')
  }

  get(key: KeyLike<Key>, part: Part): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#get(key, part)
    const kept = this.#context.kept(key)
    return this.#refreshOnRead
      ? later.write(() => this.#get(kept, part))
      : later.read(() => this.#get(kept, part))
  }

  /** The fields of a struct, in an object that the next call of this method fills anew; only over a local engine. */
  view(key: KeyLike<Key>, part: Part): unknown {
    const stored = this.#locate(key, part)
    const generation = this.#entries.peek(stored, this.#slot)
    if (generation === NONE) return undefined
    try {
      if (generation === PRESENT) this.#loadStruct(this.#seen)
      else this.#migrateInto(this.#seen, generation)
    } catch (error) {
      throw this.#context.failure('read', error, key, part)
    }
    showBytes(this.#seen, this.#seenSlot)
    if (this.#refreshOnRead) this.#entries.put(stored, this.#seen, this.#shown(generation))
    return this.#seenView
  }

  has(key: KeyLike<Key>, part: Part): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#has(key, part)
    const kept = this.#context.kept(key)
    return later.read(() => this.#has(kept, part))
  }

  put(key: KeyLike<Key>, part: Part, value: unknown): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#put(key, part, value)
    const kept = this.#context.kept(key)
    return later.write(() => this.#put(kept, part, value))
  }

  /** Stores a value where there is none; returns whether it did. */
  putIfAbsent(key: KeyLike<Key>, part: Part, value: unknown): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#putIfAbsent(key, part, value)
    const kept = this.#context.kept(key)
    return later.write(() => this.#putIfAbsent(kept, part, value))
  }

  delete(key: KeyLike<Key>, part: Part): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#delete(key, part)
    const kept = this.#context.kept(key)
    return later.write(() => this.#delete(kept, part))
  }

  /** Replaces the value by what `change` makes of it. A failure, of `change` too, leaves it as it was. */
  change<Argument>(key: KeyLike<Key>, part: Part, change: Change<Argument>, argument: Argument): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#change(key, part, change, argument)
    const kept = this.#context.kept(key)
    return later.write(() => this.#change(kept, part, change, argument))
  }

  /** The value that lies in these bytes, written by a generation of the state. */
  decode(bytes: Uint8Array, generation: number, key: unknown, part: unknown): unknown {
    try {
      return this.#decode(this.#reader.fromBytes(bytes), generation)
    } catch (error) {
      throw this.#failedRead(error, generation, key, part)
    }
  }

  /** The value under a stored key, or `undefined`. */
  readStored(stored: AssembledKey, key: unknown, part: unknown): unknown {
    const generation = this.#entries.peek(stored, this.#slot)
    if (generation === NONE) return undefined
    try {
      return this.#decode(this.#reader.fromSlot(this.#slot), generation)
    } catch (error) {
      throw this.#failedRead(error, generation, key, part)
    }
  }

  /** The bytes of a value that a former generation has written, in the present form; `whose` it is only a failure asks. */
  migrated(
    bytes: Uint8Array,
    generation: number,
    whose: () => readonly [key: unknown, part?: unknown],
  ): ByteWriter {
    show(bytes, this.#slot)
    try {
      this.#migrateInto(this.#value, generation)
    } catch (error) {
      const [key, part] = whose()
      throw this.#context.failure('read', error, key, part)
    }
    return this.#value
  }

  #get(key: KeyLike<Key>, part: Part): unknown {
    const stored = this.#locate(key, part)
    const generation = this.#entries.peek(stored, this.#slot)
    if (generation === NONE) return this.#options.absent?.()
    const value = this.#read(generation, key, part)
    if (this.#refreshOnRead) this.#refresh(stored, generation)
    return value
  }

  #has(key: KeyLike<Key>, part: Part): boolean {
    return this.#entries.peek(this.#locate(key, part), this.#slot) !== NONE
  }

  #put(key: KeyLike<Key>, part: Part, value: unknown): void {
    if (this.#isChanging) throw this.#nested()
    this.#encode(key, part, value)
    this.#entries.put(this.#locate(key, part), this.#value)
  }

  #putIfAbsent(key: KeyLike<Key>, part: Part, value: unknown): boolean {
    if (this.#has(key, part)) return false
    this.#put(key, part, value)
    return true
  }

  #delete(key: KeyLike<Key>, part: Part): void {
    this.#entries.remove(this.#locate(key, part))
  }

  #change<Argument>(key: KeyLike<Key>, part: Part, change: Change<Argument>, argument: Argument): void {
    if (this.#isChanging) throw this.#nested()
    const context = this.#context
    let stored = this.#locate(key, part)
    const generation = this.#entries.peek(stored, this.#slot)
    const isThere = generation !== NONE
    const { assembled } = context
    const { bytes: shownBytes, offset: shownAt } = this.#slot
    this.#isChanging = true
    try {
      if (!isThere && this.#options.startsWithArgument) {
        this.#encode(key, part, argument)
      } else if (this.#struct === undefined) {
        const current = isThere ? this.#read(generation, key, part) : this.#options.first?.()
        this.#encode(key, part, change(current, argument))
      } else {
        this.#loadForChange(generation, key, part)
        const made = change(this.#view, argument)
        if (made !== undefined) this.#encode(key, part, made)
      }
    } catch (error) {
      throw context.failure('write', error, key, part)
    } finally {
      this.#isChanging = false
    }
    if (context.assembled !== assembled) stored = this.#locate(key, part)
    // The function may have read here, so that the slot shows something else.
    const { bytes, offset } = this.#slot
    const isShown = isThere && bytes === shownBytes && offset === shownAt
    this.#entries.put(stored, this.#value, isShown ? this.#slot : undefined)
  }

  #loadForChange(generation: number, key: KeyLike<Key>, part: Part): void {
    if (generation !== NONE) {
      try {
        if (generation === PRESENT) this.#loadStruct(this.#value)
        else this.#migrateInto(this.#value, generation)
      } catch (error) {
        throw this.#context.failure('read', error, key, part)
      }
    } else if (this.#options.first === undefined) {
      this.#slot.length = 0
      this.#loadStruct(this.#value)
    } else {
      this.#encode(key, part, this.#options.first())
    }
    showBytes(this.#value, this.#valueSlot)
  }

  /** Copies the struct that the slot shows; fields that it lacks are zeros. */
  #loadStruct(to: ByteWriter): void {
    const { offset, length } = this.#slot
    // No field at all is a struct that was never stored.
    if (length > 0) this.#struct?.fieldsIn(length)
    to.length = 0
    to.reserve(this.#struct?.fixedBytes ?? 0)
    copyViewed(this.#slot, offset, length, to, 0)
    for (let i = length; i < to.length; i++) to.bytes[i] = 0
  }

  #refresh(stored: AssembledKey, generation: number): void {
    const slot = this.#slot
    const to = this.#refreshed
    if (generation === PRESENT) {
      to.length = 0
      to.append(slot.bytes.subarray(slot.offset, slot.offset + slot.length))
    } else {
      this.#migrateInto(to, generation)
    }
    this.#entries.put(stored, to, this.#shown(generation))
  }

  /** Where a value of the present form was seen that may be written back there. */
  #shown(generation: number): Slot | undefined {
    return generation === PRESENT ? this.#slot : undefined
  }

  #read(generation: number, key: KeyLike<Key>, part: Part): unknown {
    try {
      return this.#decode(this.#reader.fromSlot(this.#slot), generation)
    } catch (error) {
      throw this.#failedRead(error, generation, key, part)
    }
  }

  /** What reads the present form can only be the codec; a former one goes through functions of the user as well. */
  #failedRead(error: unknown, generation: number, key: unknown, part: unknown): unknown {
    const context = this.#context
    return generation === PRESENT
      ? context.failureOf('read', error, key, part)
      : context.failure('read', error, key, part)
  }

  #decode(reader: ByteReader, generation: number): unknown {
    if (generation === PRESENT) {
      const value = this.#codec.read(reader)
      reader.assertEnd()
      return value
    }
    const given = this.#readFormer(reader, generation)
    try {
      if (this.#codec.through !== undefined) return this.#codec.through(given)
      // What is read is what would be read once it was written.
      const writer = this.#refreshed
      writer.length = 0
      this.#codec.write(given, writer)
      return this.#codec.read(this.#migrating.fromBytes(writer.bytes.subarray(0, writer.length)))
    } catch (error) {
      throw codecErrorOf(error)
    }
  }

  #readFormer(reader: ByteReader, generation: number): unknown {
    const former = this.#entries.formers[generation - 1] as FormerGeneration
    const value = former.read?.(reader)
    reader.assertEnd()
    if ((value === undefined || value === null) && this.#codec.takesAbsence !== true) {
      throw new CodecError(`a migration has made ${describeValue(value)}, which is not a value`)
    }
    return value
  }

  #migrateInto(to: ByteWriter, generation: number): void {
    const value = this.#readFormer(this.#reader.fromSlot(this.#slot), generation)
    to.length = 0
    try {
      this.#codec.write(value, to)
      checkValueLength(to.length, this.#maxBytes)
    } catch (error) {
      throw codecErrorOf(error)
    }
  }

  #encode(key: KeyLike<Key>, part: Part, value: unknown): void {
    this.#value.length = 0
    try {
      const isAbsence = value === undefined || value === null
      if (isAbsence && this.#codec.takesAbsence !== true) {
        throw new CodecError(`${describeValue(value)} is not a value; optional(…) takes undefined`)
      }
      this.#codec.write(value, this.#value)
      checkValueLength(this.#value.length, this.#maxBytes)
    } catch (error) {
      throw this.#context.failureOf('write', error, key, part)
    }
  }

  #locate(key: KeyLike<Key>, part: Part): AssembledKey {
    return this.#partCodec === undefined
      ? this.#context.locate(key)
      : this.#context.locateIn(key, this.#partCodec, part)
  }

  #nested(): StateError {
    return new StateError('TRANSACTION_FAILED', {
      operation: `a write to state '${this.#context.name}'`,
      reason: 'it was made within the function of a change of the same state',
    })
  }
}

/** Points a slot at what was written. */
function showBytes(writer: ByteWriter, slot: Slot): void {
  if (slot.bytes !== writer.bytes) {
    slot.bytes = writer.bytes
    slot.view = writer.view
  }
  slot.length = writer.length
}
