// value := kind u8 · bytes
// Text lies as UTF-8; what UTF-8 has no form for (halves of characters), and everything else, as Node.js clones it between threads, whose format later versions of Node.js read.

import { deserialize, serialize } from 'node:v8'
import { StateError } from '../../engine.js'

const Kind = { TEXT: 1, CLONED: 2 } as const

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** The bytes of a value; `SERIALIZATION_FAILED` for one that cannot be cloned (a function, a symbol). */
export function encodedValue(value: unknown): Uint8Array {
  if (typeof value === 'string' && value.isWellFormed()) {
    const text = Buffer.allocUnsafe(1 + Buffer.byteLength(value))
    text[0] = Kind.TEXT
    text.write(value, 1)
    return text
  }
  try {
    return Buffer.concat([Uint8Array.of(Kind.CLONED), serialize(value)])
  } catch (error) {
    const reason = String((error as { readonly message?: unknown }).message)
    throw new StateError('SERIALIZATION_FAILED', { what: 'a value of an adapter', reason }, { cause: error })
  }
}

/** The value of bytes, `undefined` where there are none; `DESERIALIZATION_FAILED` for those that no adapter wrote. */
export function decodedValue(bytes: Uint8Array | undefined): unknown {
  if (bytes === undefined) return undefined
  if (bytes[0] === Kind.TEXT) return decoder.decode(bytes.subarray(1))
  if (bytes[0] === Kind.CLONED) return deserialize(bytes.subarray(1))
  throw new StateError('DESERIALIZATION_FAILED', {
    what: 'a value of an adapter',
    reason: 'is of no kind that an adapter writes',
  })
}
