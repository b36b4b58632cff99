/** The bytes of a part of a message. */
export function bufferOf(value: string | Uint8Array | undefined): Buffer | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'string') return Buffer.from(value, 'utf8')
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}
