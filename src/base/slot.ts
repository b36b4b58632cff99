const NO_BYTES = new Uint8Array(0)

/**
 * Where a value (or a key) lies, instead of a copy of it: `length` bytes of `bytes` from `offset`; `view` shows the same
 * memory as `bytes`. The caller makes one, and each call that takes it fills it anew: nothing is allocated for an event. What
 * it shows is the store's own memory: it is valid until the next call of that store, and afterwards it may show anything.
 */
export class Slot {
  bytes: Uint8Array = NO_BYTES
  view: DataView = new DataView(NO_BYTES.buffer)
  offset = 0
  length = 0
}
