const NO_BYTES = new Uint8Array(0)
/** One buffer in so many is looked out for: to remember one costs a write barrier. */
const PATIENCE = 64
/** A larger buffer is not held on to. Most small ones lie in a pool, which has 8 KiB to a little more than 64 KiB, by the version of Node.js. */
const MAX_HELD_BYTES = 128 * 1024

/**
 * Knows the buffer that keys come in, where it is always the same one: callers that care for speed write each key into one
 * buffer that they keep. A view reads it by words where without one each byte is read and put in its place. Making a view
 * costs as much as some ten keys, so a buffer gets one only when it is met again.
 */
export class BufferView {
  /** The buffer that `view` shows, with offsets that count alike. */
  bytes: Uint8Array = NO_BYTES
  view: DataView = new DataView(NO_BYTES.buffer)
  #candidate: Uint8Array | undefined
  #patience = 0

  /** To be told of keys in other buffers, so that one that comes often becomes the one. */
  met(bytes: Uint8Array): void {
    if (bytes === this.#candidate) this.#adopt(bytes)
    else if (--this.#patience <= 0) {
      this.#patience = PATIENCE
      this.#candidate = isWorthwhile(bytes) ? bytes : undefined
    }
  }

  #adopt(bytes: Uint8Array): void {
    this.#candidate = undefined
    // It may have been transferred meanwhile.
    if (!isWorthwhile(bytes)) return
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.bytes = bytes
  }
}

/** Whether a view will do for long: there is something to see, not too much to be held on to, and it keeps its length. */
function isWorthwhile({ buffer, length }: Uint8Array): boolean {
  const { resizable, growable } = buffer as { readonly resizable?: boolean; readonly growable?: boolean }
  return length > 0 && buffer.byteLength <= MAX_HELD_BYTES && resizable !== true && growable !== true
}
