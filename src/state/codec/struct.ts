// A struct is its fields, one behind the other, each of a fixed size: it is read and changed where it lies.
//
//   struct := field*
//
// (1) Fields may be appended in a later version. A stored struct that ends before a field has that field's zero.
// (2) It never ends inside a field, nor behind the last one.

import type { JsonValue } from '../../base/json.js'
import { invalidArgument, requireSettings } from '../../base/options.js'
import type { Slot } from '../../base/slot.js'
import type { ByteReader, ByteWriter } from './bytes.js'
import {
  type AnyFixedCodec,
  type Codec,
  type FixedCodec,
  type InputOf,
  isFixedCodec,
  type Property,
  type StateTypeError,
  type ValueOf,
} from './codec.js'
import { CodecError, describeValue, within } from './codec-error.js'

/** The fields of a struct, in the order in which they lie. */
export interface StructFields {
  readonly [name: string]: AnyFixedCodec
}

/** What a struct is read as. */
export type StructValue<Fields extends StructFields> = {
  -readonly [Name in keyof Fields]: ValueOf<Fields[Name]>
}
/** What a struct is written from. */
export type StructInput<Fields extends StructFields> = {
  readonly [Name in keyof Fields]: InputOf<Fields[Name]>
}

/** A field that is no codec of fixed size is shown as this type, so that the message names it. */
type CheckedFields<Fields> = {
  readonly [Name in keyof Fields]: Fields[Name] extends AnyFixedCodec
    ? Fields[Name]
    : StateTypeError<`a struct's fields have a fixed size; that of '${Name & string}' has none`>
}

/** A struct, as codec. As a field of another struct it must keep its fields: only the outermost one grows. */
export interface StructCodec<Value, Input = Value> extends FixedCodec<Value, Input> {
  readonly fields: readonly StructField[]
  /**
   * An object whose properties are the fields of whatever the slot shows, read there, and written there unless it is only to
   * be read. A value that a field cannot hold is a `CodecError` that names the field.
   */
  viewOf(slot: Slot, use: 'read' | 'change'): Value
  /** Checks that a stretch of so many bytes is whole fields; returns how many. */
  fieldsIn(length: number): number
}

export interface StructField {
  readonly name: string
  readonly codec: FixedCodec<unknown, unknown>
  readonly at: number
}

/**
 * Named fields of fixed size: numbers, booleans, dates, enumerations, structs. It takes exactly the bytes of its fields, and
 * `update` and `add` change them where they lie, without making an object.
 *
 * Fields may be appended in a later version of the program; a value that was stored without them has 0, `false`, the first
 * string of an enumeration, or 1 January 1970 there. To remove, to rename or to move a field needs a migration.
 *
 * @example struct({ count: uint32, tokens: float64, last: date })
 */
export function struct<const Fields>(
  fields: Fields & CheckedFields<Fields>,
): Fields extends StructFields ? StructCodec<StructValue<Fields>, StructInput<Fields>> : never
export function struct(fields: StructFields): StructCodec<Record<string, unknown>> {
  requireSettings(fields, [], 'fields')
  const names = Object.keys(fields)
  if (names.length === 0) throw invalidArgument('fields', 'must have one at least')
  let end = 0
  const laidOut = names.map((name): StructField => {
    const codec = fields[name]
    // Properties that are numbers come first, whatever the order they were written in; `__proto__` is no ordinary one.
    if (/^\d+$/.test(name) || name === '__proto__')
      throw invalidArgument(`fields.${name}`, 'must have another name')
    requireSettings(codec, [], `fields.${name}`)
    if (codec === undefined || !isFixedCodec(codec))
      throw invalidArgument(`fields.${name}`, 'must have a fixed size')
    const at = end
    end += codec.fixedBytes
    return { name, codec: codec as unknown as FixedCodec<unknown, unknown>, at }
  })
  return new Struct(laidOut, end)
}

/** Whether a codec is that of a struct. */
export function isStruct(codec: Codec<unknown, never>): codec is StructCodec<unknown> {
  return 'viewOf' in codec
}

class Struct implements StructCodec<Record<string, unknown>> {
  readonly descriptor: JsonValue
  readonly fixedBytes: number
  readonly isOpenEnded = false
  readonly fields: readonly StructField[]
  /** How many fields end there, by length. */
  readonly #fieldsByLength = new Map<number, number>()

  constructor(fields: readonly StructField[], fixedBytes: number) {
    this.fields = fields
    this.fixedBytes = fixedBytes
    this.descriptor = { struct: fields.map(({ name, codec }) => [name, codec.descriptor]) }
    fields.forEach(({ at, codec }, i) => this.#fieldsByLength.set(at + codec.fixedBytes, i + 1))
    Object.freeze(this)
  }

  write(value: Record<string, unknown>, to: ByteWriter): void {
    const at = to.reserve(this.fixedBytes)
    this.store(to.view, at, value)
  }

  read(from: ByteReader): Record<string, unknown> {
    const length = Math.min(this.fixedBytes, from.rest())
    const count = this.fieldsIn(length)
    const at = from.take(length)
    return this.#load(from.view, at, count)
  }

  load(view: DataView, at: number): Record<string, unknown> {
    return this.#load(view, at, this.fields.length)
  }

  store(view: DataView, at: number, value: Record<string, unknown>): void {
    if (typeof value !== 'object' || value === null) {
      throw new CodecError(`${describeValue(value)} is not an object`)
    }
    for (const field of this.fields) {
      try {
        field.codec.store(view, at + field.at, value[field.name])
      } catch (error) {
        throw within(`.${field.name}`, error)
      }
    }
  }

  through(value: Record<string, unknown>): Record<string, unknown> {
    if (scratchView.byteLength < this.fixedBytes) scratchView = new DataView(new ArrayBuffer(this.fixedBytes))
    this.store(scratchView, 0, value)
    return this.#load(scratchView, 0, this.fields.length)
  }

  viewOf(slot: Slot, use: 'read' | 'change'): Record<string, unknown> {
    const view = objectOfItsOwnShape()
    for (const field of this.fields) {
      const { get, set } = propertyOf(field, slot)
      const property = use === 'read' ? { get } : { get, set }
      Object.defineProperty(view, field.name, { enumerable: true, ...property })
    }
    return Object.seal(view) as Record<string, unknown>
  }

  fieldsIn(length: number): number {
    if (length === this.fixedBytes) return this.fields.length
    const count = this.#fieldsByLength.get(length)
    if (count === undefined) {
      throw new CodecError(`${length} bytes, which are not whole fields of a struct of ${this.fixedBytes}`)
    }
    return count
  }

  #load(view: DataView, at: number, count: number): Record<string, unknown> {
    const value: Record<string, unknown> = {}
    for (let i = 0; i < this.fields.length; i++) {
      const { name, codec, at: fieldAt } = this.fields[i] as StructField
      try {
        value[name] = i < count ? codec.load(view, at + fieldAt) : codec.load(zeros(codec.fixedBytes), 0)
      } catch (error) {
        throw within(`.${name}`, error)
      }
    }
    return value
  }
}

/**
 * A plain object whose shape V8 shares with no other one. Objects that begin as `{}` share theirs as long as they get the same
 * properties; the second one that gets another accessor under the same name falls back to a dictionary, whose accessors cost
 * several times as much and make an object of each double.
 */
function objectOfItsOwnShape(): object {
  const Shape = function () {} as unknown as new () => object
  Shape.prototype = Object.prototype
  return new Shape()
}

/** A field of whatever the slot shows, as a property. */
function propertyOf({ name, codec, at }: StructField, slot: Slot): Property<unknown, unknown> {
  const path = `.${name}`
  return (
    codec.property?.(slot, at, path) ?? {
      get: () => {
        try {
          return codec.load(slot.view, slot.offset + at)
        } catch (error) {
          throw within(path, error, 'read')
        }
      },
      set: (value) => {
        try {
          codec.store(slot.view, slot.offset + at, value)
        } catch (error) {
          throw within(path, error, 'write')
        }
      },
    }
  )
}

let scratchView = new DataView(new ArrayBuffer(64))
let zeroView = new DataView(new ArrayBuffer(64))
function zeros(length: number): DataView {
  if (zeroView.byteLength < length) zeroView = new DataView(new ArrayBuffer(length))
  return zeroView
}
