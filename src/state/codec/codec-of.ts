// Codecs from their descriptors: what a tool needs to show values of a store whose program it does not have.

import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { bigint, bytes, utf8 } from './byte-strings.js'
import { type AnyCodec, type AnyKeyCodec, isKeyCodec } from './codec.js'
import { none, optional, tuple } from './composite.js'
import { json } from './json.js'
import { messagePack } from './message-pack.js'
import { bool, date, enumeration, float64, int32, int64, uint32 } from './numbers.js'
import { type StructFields, struct } from './struct.js'

const plain: { readonly [descriptor: string]: AnyCodec } = {
  bool,
  uint32,
  int32,
  int64,
  float64,
  date,
  utf8,
  bytes,
  bigint,
  none,
  json: json<unknown>(),
  msgpack: messagePack<unknown>(),
}

/** The codec that a descriptor stands for. `INCOMPATIBLE` for one that this version does not know. */
export function codecOf(descriptor: JsonValue): AnyCodec {
  try {
    const codec = madeOf(descriptor)
    if (codec !== undefined) return codec
  } catch (error) {
    throw unknown(descriptor, error)
  }
  throw unknown(descriptor)
}

/** The same where values are keys. */
export function keyCodecOf(descriptor: JsonValue): AnyKeyCodec {
  const codec = codecOf(descriptor)
  if (!isKeyCodec(codec)) throw unknown(descriptor)
  return codec
}

function madeOf(descriptor: JsonValue): AnyCodec | undefined {
  if (typeof descriptor === 'string') return Object.hasOwn(plain, descriptor) ? plain[descriptor] : undefined
  if (typeof descriptor !== 'object' || descriptor === null || Array.isArray(descriptor)) return undefined
  const [[tag, inner] = ['', null]] = Object.entries(descriptor)
  if (tag === 'optional') return optional(codecOf(inner as JsonValue) as never)
  if (!Array.isArray(inner)) return undefined
  const parts = inner as readonly JsonValue[]
  if (tag === 'enum') return enumeration(...(parts as [string, ...string[]]))
  if (tag === 'tuple') return tuple(...(parts.map(codecOf) as [AnyCodec, ...AnyCodec[]]))
  if (tag !== 'struct') return undefined
  const fields = parts.map((field) => {
    const [name, codec] = field as [string, JsonValue]
    return [name, codecOf(codec)] as const
  })
  return (struct as (fields: StructFields) => AnyCodec)(Object.fromEntries(fields) as StructFields)
}

const unknown = (descriptor: JsonValue, cause?: unknown): StateError =>
  new StateError(
    'INCOMPATIBLE',
    {
      what: 'the recorded schema of a store',
      found: `the codec ${JSON.stringify(descriptor).slice(0, 200)}`,
      supported: 'codecs of this version of holdfast',
    },
    { cause },
  )
