// Arguments of a statement as PostgreSQL has them on the wire, in binary: what a client would write of arrays is text, of bytes
// twice as long. `pg` sends a Buffer as it is, and the statement says which type it has.
//
//   array   := dimensions i32 · hasNulls i32 · elementType i32 · [length i32 · lowerBound i32] · element*
//   element := byteLength i32 (-1: NULL) · byte*
//
// Numbers are big-endian. An empty array has no dimension.

const BYTEA = 17
const FLOAT8 = 701
const HEADER_BYTES = 12
const DIMENSION_BYTES = 8
const LENGTH_BYTES = 4
const NULL_LENGTH = -1

/** A `bytea[]`; `undefined` is NULL. */
export function byteaArray(elements: readonly (Uint8Array | undefined)[]): Buffer {
  let dataBytes = 0
  for (const element of elements) dataBytes += LENGTH_BYTES + (element?.length ?? 0)
  const { bytes, end: start } = beginArray(BYTEA, elements.length, dataBytes, elements.includes(undefined))
  let end = start
  for (const element of elements) {
    end = bytes.writeInt32BE(element?.length ?? NULL_LENGTH, end)
    if (element === undefined) continue
    bytes.set(element, end)
    end += element.length
  }
  return bytes
}

/** A `float8[]`; Infinity is NULL. */
export function float8Array(elements: readonly number[]): Buffer {
  const dataBytes = elements.length * (LENGTH_BYTES + 8)
  const { bytes, end: start } = beginArray(FLOAT8, elements.length, dataBytes, elements.includes(Infinity))
  let end = start
  for (const element of elements) {
    end = bytes.writeInt32BE(element === Infinity ? NULL_LENGTH : 8, end)
    if (element !== Infinity) end = bytes.writeDoubleBE(element, end)
  }
  return bytes.subarray(0, end)
}

function beginArray(
  type: number,
  length: number,
  dataBytes: number,
  hasNulls: boolean,
): { bytes: Buffer; end: number } {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + (length === 0 ? 0 : DIMENSION_BYTES) + dataBytes)
  let end = bytes.writeInt32BE(length === 0 ? 0 : 1, 0)
  end = bytes.writeInt32BE(hasNulls ? 1 : 0, end)
  end = bytes.writeInt32BE(type, end)
  if (length > 0) {
    end = bytes.writeInt32BE(length, end)
    end = bytes.writeInt32BE(1, end)
  }
  return { bytes, end }
}

/** Bytes without a copy as the Buffer that `pg` sends in binary. */
export function bytea(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
