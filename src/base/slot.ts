const NO_BYTES = new Uint8Array(0)

/** `length` bytes of `bytes`, from `offset` on: a key or a value that lies in a larger buffer. */
export interface Stretch {
  readonly bytes: Uint8Array
  readonly offset: number
  readonly length: number
}

/**
 * Where a value (or a key) lies, instead of a copy of it: `length` bytes of `bytes` from `offset`; `view` shows the same
 * memory as `bytes`, its offsets count alike. The caller makes one, and each call that takes it fills it anew: nothing is
 * allocated for an event. What it shows is the store's own memory: it may be used until the next call of that store (also as the
 * key of that call, or as the value of a put), and not beyond the synchronous step at hand, because background work moves entries
 * between steps. Afterwards it shows anything,
 * and writing there destroys entries. Only `updateSync` gives leave to write, and only to these `length` bytes.
 */
export class Slot implements Stretch {
  bytes: Uint8Array = NO_BYTES
  view: DataView = new DataView(NO_BYTES.buffer)
  offset = 0
  length = 0
}

/** Memory that can be looked at by bytes and, with offsets that count alike, through a view: a slot, a writer's buffer. */
export interface ViewedBytes {
  readonly bytes: Uint8Array
  readonly view: DataView
}

/** Beyond this length the built-in copy, which needs views of both stretches, is faster than a loop. */
const LOOP_COPY_BYTES = 128

/** Copies a stretch of memory that is not that of the target: short ones, as most values are, by words. */
export function copyViewed(
  from: ViewedBytes,
  start: number,
  length: number,
  to: ViewedBytes,
  target: number,
): void {
  if (length > LOOP_COPY_BYTES) {
    to.bytes.set(from.bytes.subarray(start, start + length), target)
    return
  }
  const source = from.view
  const { view } = to
  let at = 0
  for (; at + 4 <= length; at += 4) view.setInt32(target + at, source.getInt32(start + at, true), true)
  for (; at < length; at++) view.setUint8(target + at, source.getUint8(start + at))
}

/** Shows these bytes in a slot. One that shows this memory already keeps its view of it. */
export function fillSlot(slot: Slot, bytes: Uint8Array, offset: number, length: number): void {
  if (slot.bytes !== bytes) {
    slot.bytes = bytes
    slot.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  slot.offset = offset
  slot.length = length
}

/** The bytes of a key, however it was given: a view, not a copy. */
export function plainKey(key: Uint8Array | Stretch): Uint8Array {
  if (!isStretch(key)) return key
  // A `Buffer` would look for how to make its views each time, which takes longer than to make one.
  const { bytes, offset, length } = key
  return new Uint8Array(bytes.buffer, bytes.byteOffset + offset, length)
}

/** Whether a key was given as a stretch of a larger buffer. */
export function isStretch(key: Uint8Array | Stretch): key is Stretch {
  return (key as Partial<Stretch> | undefined)?.bytes !== undefined
}

/** Whether a stretch is one that a store has shown, in memory of its own. */
export function isSlot(stretch: Uint8Array | Stretch): boolean {
  return (stretch as Partial<Slot>).view !== undefined
}
