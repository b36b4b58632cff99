/** What a small disk is filled with: so large that a disk of a few megabytes is soon full. */
const VALUE_BYTES = 20_000

export function keyOf(i: number): Uint8Array {
  return Buffer.from(`key ${i}`)
}

export function valueOf(i: number): Buffer {
  return Buffer.alloc(VALUE_BYTES, i % 251)
}
