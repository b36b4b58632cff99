// Blocks on their way from one thread to the other: the sender has a gate, the receiver an inbox. What the receiver
// takes out of its inbox is given back to the gate as credit.

import type { Transferable } from 'node:worker_threads'
import type { EntryBlock } from '../../backend/entry-block.js'
import { isArrayBuffer, isErrorLike } from '../../base/shapes.js'

/** Lets bytes through as long as not too many are on their way. One sender, one block at a time. */
export class CreditGate {
  readonly #limitBytes: number
  #inFlightBytes = 0
  #failure: { readonly error: unknown } | undefined
  #wake: () => void = () => {}

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** Resolves when there is room for that many more; at once where nothing is on its way. Rejects after `fail`. */
  async take(bytes: number): Promise<void> {
    while (this.#inFlightBytes > 0 && this.#inFlightBytes + bytes > this.#limitBytes) {
      this.#rejectAfterFailure()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#rejectAfterFailure()
    this.#inFlightBytes += bytes
  }

  give(bytes: number): void {
    this.#inFlightBytes -= bytes
    this.#wake()
  }

  /** Nobody will take anything any more. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    this.#wake()
  }

  #rejectAfterFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }
}

type Ending = { readonly kind: 'end' } | { readonly kind: 'failure'; readonly error: unknown }

/** Blocks that have arrived, in order, for one reader. */
export class BlockInbox {
  readonly #onTaken: (bytes: number) => void
  readonly #blocks: EntryBlock[] = []
  #ending: Ending | undefined
  #wake: () => void = () => {}

  constructor(onTaken: (bytes: number) => void) {
    this.#onTaken = onTaken
  }

  push(block: EntryBlock): void {
    this.#blocks.push(block)
    this.#wake()
  }

  /** Nothing comes any more. What has arrived can still be read. */
  end(): void {
    this.#ending ??= { kind: 'end' }
    this.#wake()
  }

  /** The stream broke: the reader meets the error at once, whatever is still waiting. */
  fail(error: unknown): void {
    this.#blocks.length = 0
    this.#ending = { kind: 'failure', error }
    this.#wake()
  }

  /** The next block; `undefined` at the end. */
  async next(): Promise<EntryBlock | undefined> {
    for (;;) {
      const block = this.#blocks.shift()
      if (block !== undefined) {
        this.#onTaken(block.bytes.length)
        return block
      }
      if (this.#ending?.kind === 'failure') throw this.#ending.error
      if (this.#ending !== undefined) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}

/** Bytes with memory of their own, to hand over: theirs if nothing else is in it, or else a copy. */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  const whole = isArrayBuffer(bytes.buffer) && bytes.byteLength === bytes.buffer.byteLength
  return whole ? bytes : new Uint8Array(bytes)
}

/** Posts a message with the memory of its bytes, or with a copy where that memory cannot change hands. */
export function postBytes<Message>(
  port: { postMessage(message: Message, transferList?: readonly Transferable[]): void },
  message: Message,
  bytes: Uint8Array,
): void {
  try {
    port.postMessage(message, [bytes.buffer as ArrayBuffer])
  } catch (error) {
    if (!isErrorLike(error) || error.name !== 'DataCloneError') throw error
    port.postMessage(message)
  }
}
