// Where entries lie on the server. A part is what one hash tag holds together, so that one script can change all of it in one step:
//
//   {TAG}:data     hash   key -> stored value
//   {TAG}:due      zset   key -> deadline, of the entries that have one
//   {TAG}:order    zset   key -> 0, only where keys are kept in order
//   {TAG}:meta     hash   layout, owner (the fencing token), opener (a random id and the token: who has taken it, and as what), clock (the latest time that a write came with)
//   {TAG}:writes   hash   last -> number of the last batch, 0 … 63 -> answers to the last batches, held -> how many entries and deadlines there are
//                         behind it, and keys in order where they are kept so; not of several that share a store
//
//   stored value := 0x00 value | 0x01 deadline value        deadline: f64, big-endian, in milliseconds since the epoch
//   TAG          := NAME | NAME ':' PART                    the latter where there is a part for each key group
//
// (1) A key's part depends on its first two bytes alone, and grows with them: the parts one after the other are in key order.
// (2) An owner that writes alone has `writes`; each of several that share a store has one of its own, `writes:ID`.

/** How many answers are remembered: no more batches are under way at once. */
export const REMEMBERED_ANSWERS = 64

const PLAIN = 0
const WITH_DEADLINE = 1
const DEADLINE_BYTES = 8

/** Bytes that are stored in front of a value, at most. */
const HEADER_BYTES = 1 + DEADLINE_BYTES

/** The keys of a part. */
export interface PartKeys {
  readonly data: string
  readonly meta: string
  readonly due: string
  readonly order: string
  readonly writes: string
}

export function partKeys(name: string, part: number, keyGroups: number, writer: string): PartKeys {
  const tag = keyGroups === 0 ? `{${name}}` : `{${name}:${part}}`
  const writes = writer === '' ? `${tag}:writes` : `${tag}:writes:${writer}`
  return { data: `${tag}:data`, meta: `${tag}:meta`, due: `${tag}:due`, order: `${tag}:order`, writes }
}

/** How many parts there are: one for each key group, and one for all keys behind them; without key groups one in all. */
export function partCount(keyGroups: number): number {
  return keyGroups === 0 ? 1 : keyGroups + 1
}

/** The part of a key: its group is its first two bytes, as typed state writes them. */
export function partOf(key: Uint8Array, keyGroups: number): number {
  if (keyGroups === 0) return 0
  return Math.min(((key[0] ?? 0) << 8) | (key[1] ?? 0), keyGroups)
}

/** The part that holds the last key before `until`. */
export function lastPartBefore(until: Uint8Array | undefined, keyGroups: number): number {
  if (until === undefined) return partCount(keyGroups) - 1
  const part = partOf(until, keyGroups)
  // What ends where a group begins has nothing of it.
  const [, , third] = until
  const beginsGroup = third === undefined && part < keyGroups && until.length === 2
  return beginsGroup ? Math.max(part - 1, 0) : part
}

export function storedValue(value: Uint8Array, expiresAtMs: number): Buffer {
  if (expiresAtMs === Infinity) {
    const stored = Buffer.allocUnsafe(1 + value.length)
    stored[0] = PLAIN
    stored.set(value, 1)
    return stored
  }
  const stored = Buffer.allocUnsafe(HEADER_BYTES + value.length)
  stored[0] = WITH_DEADLINE
  stored.writeDoubleBE(expiresAtMs, 1)
  stored.set(value, HEADER_BYTES)
  return stored
}

/** When a stored value expires; Infinity: never. */
export function deadlineOf(stored: Uint8Array): number {
  if (stored[0] !== WITH_DEADLINE) return Infinity
  return new DataView(stored.buffer, stored.byteOffset, stored.byteLength).getFloat64(1)
}

/** The value where it lies. */
export function valueIn(stored: Uint8Array): Uint8Array {
  const start = stored[0] === WITH_DEADLINE ? HEADER_BYTES : 1
  return new Uint8Array(stored.buffer, stored.byteOffset + start, stored.length - start)
}

/** A copy of the value, with memory of its own. */
export function valueOf(stored: Uint8Array): Uint8Array {
  return new Uint8Array(valueIn(stored))
}

/** Whether bytes are a stored value of this layout. */
export function isStored(stored: Uint8Array): boolean {
  return stored[0] === PLAIN || (stored[0] === WITH_DEADLINE && stored.length >= HEADER_BYTES)
}
