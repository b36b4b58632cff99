// Values as JSON, for tools that show what is stored and take it from people.
//
//   bool, numbers, utf8, enum, json   as they are; an infinite float64 and NaN (a key) as 'Infinity', '-Infinity', 'NaN'
//   bigint, and what int64 cannot be  a decimal string
//   date                              an ISO 8601 string
//   bytes                             '0x' and hexadecimal digits
//   none, undefined of an optional    null
//   tuple, struct                     an array, an object
//   msgpack                           as JSON where it can be: dates, bigints and bytes inside become strings, for good

import type { JsonValue } from '../../base/json.js'
import { isBytes } from '../../base/shapes.js'
import { CodecError, describeValue, within } from './codec-error.js'

/** A value, read by whatever codec, as JSON. */
export function toJson(value: unknown): JsonValue {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value
    case 'number':
      return Number.isFinite(value) ? value : String(value)
    case 'bigint':
      return String(value)
    case 'object':
      return value === null ? null : objectToJson(value)
    default:
      return null
  }
}

function objectToJson(value: object): JsonValue {
  if (Array.isArray(value)) return value.map(toJson)
  if (isBytes(value)) return hexOf(value)
  if (Object.prototype.toString.call(value) === '[object Date]') return (value as Date).toISOString()
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, toJson(item)]))
}

/** Bytes as `0x` and two digits each. */
export const hexOf = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString('hex')}`

/** Bytes from `0x` and two digits each; `undefined` where it is no such text. */
export function bytesOfHex(text: string): Uint8Array | undefined {
  return /^0x(?:[0-9a-f]{2})*$/i.test(text) ? new Uint8Array(Buffer.from(text.slice(2), 'hex')) : undefined
}

/**
 * The time of a text in ISO 8601, in milliseconds: a date, or a date and a time with its zone. `undefined` for anything else: what `Date.parse`
 * makes of `12`, or of a time without a zone, differs from runtime to runtime and from place to place.
 */
export function timeOfIso(text: string): number | undefined {
  const [, date] = ISO_TIME.exec(text) ?? []
  if (date === undefined) return undefined
  const timeMs = Date.parse(text)
  const dayMs = Date.parse(date)
  // The 31st of February is taken for one of March.
  const isDay = !Number.isNaN(dayMs) && new Date(dayMs).toISOString().startsWith(date)
  return isDay && !Number.isNaN(timeMs) ? timeMs : undefined
}

const ISO_TIME = /^((?:\d{4}|[+-]\d{6})-\d\d-\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?$/

/** The value that a JSON value stands for, to be written by the codec of that descriptor. Throws a `CodecError` for what is none. */
export function fromJson(descriptor: JsonValue, json: JsonValue): unknown {
  if (typeof descriptor === 'string') return plainFromJson(descriptor, json)
  const [[tag, inner] = ['', null]] = Object.entries(descriptor ?? {}) as [string, JsonValue][]
  if (tag === 'optional') return json === null ? undefined : fromJson(inner, json)
  if (tag === 'tuple' && Array.isArray(inner)) return tupleFromJson(inner, json)
  if (tag === 'struct' && Array.isArray(inner)) return structFromJson(inner as [string, JsonValue][], json)
  if (tag === 'enum') return json
  throw new CodecError(`values of ${JSON.stringify(descriptor).slice(0, 100)} have no form in JSON`)
}

function tupleFromJson(parts: readonly JsonValue[], json: JsonValue): unknown[] {
  if (!Array.isArray(json) || json.length !== parts.length) {
    throw new CodecError(`${describeValue(json)} is not an array of ${parts.length} values`)
  }
  return parts.map((part, i) => inPart(`[${i}]`, () => fromJson(part, json[i] as JsonValue)))
}

function structFromJson(fields: readonly [string, JsonValue][], json: JsonValue): Record<string, unknown> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new CodecError(`${describeValue(json)} is not an object`)
  }
  // Such as a field that was misspelt and may be left out: it would be passed over without a word.
  const other = Object.keys(json).find((name) => !fields.some(([field]) => field === name))
  if (other !== undefined) {
    const names = fields.map(([name]) => name).join(', ')
    throw new CodecError(`has ${JSON.stringify(other).slice(0, 100)}, which is not one of ${names}`)
  }
  const value: Record<string, unknown> = {}
  for (const [name, field] of fields) {
    value[name] = inPart(`.${name}`, () => {
      const item = (json as { readonly [name: string]: JsonValue })[name]
      if (item === undefined) throw new CodecError('is missing')
      return fromJson(field, item)
    })
  }
  return value
}

function inPart<Value>(path: string, read: () => Value): Value {
  try {
    return read()
  } catch (error) {
    throw within(path, error)
  }
}

function plainFromJson(descriptor: string, json: JsonValue): unknown {
  switch (descriptor) {
    case 'none':
      return undefined
    case 'bytes': {
      const bytes = typeof json === 'string' ? bytesOfHex(json) : undefined
      if (bytes === undefined) throw new CodecError(`${describeValue(json)} is not 0x and hexadecimal digits`)
      return bytes
    }
    case 'bigint':
      return bigintFrom(json)
    case 'int64':
      return typeof json === 'string' ? Number(bigintFrom(json)) : json
    case 'date':
      return dateFrom(json)
    case 'float64':
      return json === 'Infinity' || json === '-Infinity' || json === 'NaN' ? Number(json) : json
    default:
      return json
  }
}

function bigintFrom(json: JsonValue): bigint {
  if (typeof json === 'number' && Number.isSafeInteger(json)) return BigInt(json)
  if (typeof json === 'string' && /^-?\d+$/.test(json)) return BigInt(json)
  throw new CodecError(`${describeValue(json)} is not a whole number`)
}

function dateFrom(json: JsonValue): Date {
  const timeMs = typeof json === 'string' ? timeOfIso(json) : json
  const date = typeof timeMs === 'number' ? new Date(timeMs) : undefined
  if (date === undefined || Number.isNaN(date.getTime()))
    throw new CodecError(`${describeValue(json)} is not a time such as 2030-01-01T00:00:00Z`)
  return date
}
