/** What the object of this name holds: 10,000 bytes that no other name gives. */
export function contentOf(name: string): Uint8Array {
  const seed = Buffer.from(name)
  return Uint8Array.from({ length: 10_000 }, (_, i) => ((seed[i % seed.length] as number) + i * 7) & 0xff)
}
