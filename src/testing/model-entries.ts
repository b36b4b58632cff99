import type { KeyInterval } from '../backend/scan-range.js'

/** What the model holds for a key. The bytes are never changed: an overwrite replaces the whole entry. */
export interface ModelEntry {
  readonly value: Uint8Array
  /** The first millisecond at which it is gone; `Infinity`: never. */
  readonly expiresAtMs: number
}

/**
 * The model's whole content. Keys are latin1 strings, one character per byte: JavaScript compares strings by
 * character codes, which for these is the order of unsigned bytes.
 */
export type ModelEntries = Map<string, ModelEntry>

export function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}

export function keyBytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'))
}

export function isAlive(entry: ModelEntry, nowMs: number): boolean {
  return nowMs < entry.expiresAtMs
}

/** A copy of what is alive at a time. */
export function aliveEntries(entries: ModelEntries, nowMs: number): ModelEntries {
  return new Map([...entries].filter(([, entry]) => isAlive(entry, nowMs)))
}

/** The keys in order. */
export function sortedKeys(entries: ModelEntries): string[] {
  // Without a comparison function, sort compares by character codes: the order wanted here.
  return [...entries.keys()].sort()
}

function isWithin(key: string, { from, until }: KeyInterval): boolean {
  return key >= keyText(from) && (until === undefined || key < keyText(until))
}

/** What is outside an interval. */
export function entriesBeside(entries: ModelEntries, interval: KeyInterval): ModelEntries {
  return new Map([...entries].filter(([key]) => !isWithin(key, interval)))
}

/** The keys in an interval, in its direction: filter, sort. */
export function keysIn(entries: ModelEntries, interval: KeyInterval): string[] {
  const keys = sortedKeys(entries).filter((key) => isWithin(key, interval))
  return interval.reverse ? keys.reverse() : keys
}

/** Key and value bytes of all entries. */
export function sizeBytes(entries: ModelEntries): number {
  let bytes = 0
  for (const [key, entry] of entries) bytes += key.length + entry.value.length
  return bytes
}
