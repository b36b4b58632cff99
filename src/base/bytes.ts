/** Compares two byte strings as unsigned bytes; a prefix sorts before what it is a prefix of. */
export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  return compareStretches(left, 0, left.length, right, 0, right.length)
}

/** The same for stretches of two arrays. */
export function compareStretches(
  left: Uint8Array,
  leftStart: number,
  leftLength: number,
  right: Uint8Array,
  rightStart: number,
  rightLength: number,
): number {
  const shared = Math.min(leftLength, rightLength)
  for (let i = 0; i < shared; i++) {
    const difference = (left[leftStart + i] as number) - (right[rightStart + i] as number)
    if (difference !== 0) return difference
  }
  return leftLength - rightLength
}

/** A copy of its own, also of a `Buffer`: that one's `slice` would only give a view. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}

/**
 * Bytes of which each is to be written before it is read: what they hold is anything. Not one of them is touched here, which the system
 * gives a process only then.
 */
export function unwrittenBytes(length: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
}

/** Whether two keys or values are the same bytes. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && compareBytes(left, right) === 0
}

export function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  if (prefix.length > bytes.length) return false
  for (let i = 0; i < prefix.length; i++) if (bytes[i] !== prefix[i]) return false
  return true
}

/**
 * The smallest byte string above every string that starts with `prefix`,
 * or `undefined` where there is none (the empty prefix, or one of 0xff bytes only).
 */
export function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.length
  while (length > 0 && prefix[length - 1] === 0xff) length--
  if (length === 0) return undefined
  const end = copyBytes(prefix.subarray(0, length))
  end[length - 1] = (end[length - 1] as number) + 1
  return end
}

/** A key for a message: printable ASCII in quotes, anything else in hexadecimal, cut at 64 bytes. */
export function describeKey(key: Uint8Array): string {
  const shown = key.subarray(0, 64)
  const printable = shown.every((byte) => byte >= 0x20 && byte < 0x7f)
  const text = printable
    ? `'${String.fromCharCode(...shown)}'`
    : `0x${Array.from(shown, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
  return key.length > shown.length ? `${text}… (${key.length} bytes)` : text
}
