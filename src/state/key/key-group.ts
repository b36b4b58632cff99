// The key group of a key: MurmurHash3 (x86, 32 bits, seed 0) of the key's bytes, modulo the number of groups (K4). It is
// written in every stored key and decides which process owns it, so it never changes; docs/format/state.md has vectors.
// It has no seed, so whoever chooses keys can choose their groups: it spreads work, and is no hash table's hash.

/** Groups of a store that names no other number. */
export const DEFAULT_KEY_GROUPS = 128
/** Most groups: their numbers stay below 0x8000, what follows is the store's own. */
export const MAX_KEY_GROUPS = 32_768

/** The group of the key that lies from `start` to `end`. */
export function keyGroupOf(view: DataView, start: number, end: number, keyGroups: number): number {
  const hash = keyHash(view, start, end)
  // Most stores have a power of two of them, and a division takes as long as half of the hash.
  const mask = keyGroups - 1
  return (keyGroups & mask) === 0 ? hash & mask : (hash >>> 0) % keyGroups
}

/** The hash, as a signed number: an unsigned one could be too large to be passed without making an object of it. */
export function keyHash(view: DataView, start: number, end: number): number {
  const length = end - start
  const wholeEnd = end - (length & 3)
  let hash = 0
  for (let at = start; at < wholeEnd; at += 4) {
    const word = view.getInt32(at, true)
    hash ^= scrambled(word)
    hash = (hash << 13) | (hash >>> 19)
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0
  }
  let tail = 0
  for (let at = end - 1; at >= wholeEnd; at--) tail = (tail << 8) | view.getUint8(at)
  if (wholeEnd < end) hash ^= scrambled(tail)
  hash ^= length
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

function scrambled(word: number): number {
  const mixed = Math.imul(word, 0xcc9e2d51)
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593)
}
