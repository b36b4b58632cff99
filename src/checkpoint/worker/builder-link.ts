// What the thread that reads a checkpoint and the one that puts its content together say to each other, and the reading thread's end of it.
//
//   to the builder: blocks* finish?          from it: taken* (built | failed)?
//
// (1) Blocks lie in places of memory that both threads share, and that are used again: the builder is given a place with the first
//     block in it, and nobody writes there from `blocks` to `taken`.
// (2) No more than {@link MAX_BYTES_IN_FLIGHT} wait for the builder; a larger block goes alone.
// (3) After `failed`, and when the job is aborted, nothing is taken any more, and the calls of this end reject. Where the builder's thread
//     dies, the main thread knows why, and aborts the job.

import type { MessagePort } from 'node:worker_threads'
import type { BuiltState } from '../../backend/built-state.js'
import type { EntryBlock } from '../../backend/entry-block.js'
import { ErrorCourier, type PackedError } from './packed-error.js'
import { MAX_BYTES_IN_FLIGHT } from './worker-protocol.js'

/** A block that lies in a place. */
export interface PlacedBlock {
  readonly place: number
  /** The memory of the place, where the builder does not know it yet. */
  readonly memory: SharedArrayBuffer | undefined
  readonly byteLength: number
  readonly entryCount: number
}

export type ToBuilder =
  | { readonly kind: 'blocks'; readonly blocks: readonly PlacedBlock[] }
  | { readonly kind: 'finish' }

export type FromBuilder =
  | { readonly kind: 'taken'; readonly places: readonly number[] }
  | { readonly kind: 'built'; readonly built: BuiltState }
  | { readonly kind: 'failed'; readonly error: PackedError }

/** Takes blocks, and makes of them what an engine goes on with. Throws, or rejects with, what the builder throws. */
export interface ContentBuilder {
  /** The bytes of the block are the caller's again when it returns, or resolves. */
  add(block: EntryBlock): Promise<void> | void
  finish(): Promise<BuiltState> | BuiltState
}

/** Most blocks have 256 KiB and the rest of an entry: such places serve all of them. */
const PLACE_BYTES = 288 * 1024

/** Bytes of blocks that go in one message: to wake the other thread takes as long as to copy a block. */
export const BYTES_AT_ONCE: number = 1024 * 1024

interface Place {
  readonly bytes: Uint8Array
  /** Of the block in it. */
  byteLength: number
}

export class BuilderLink implements ContentBuilder {
  readonly #port: MessagePort
  readonly #courier = new ErrorCourier()
  readonly #places: Place[] = []
  readonly #free: number[] = []
  /** Not sent yet. */
  #gathered: PlacedBlock[] = []
  #gatheredBytes = 0
  /** Of blocks that are in a place. */
  #bytesInPlaces = 0
  readonly #built: Promise<BuiltState>
  #resolve: (built: BuiltState) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  #failure: { readonly error: unknown } | undefined
  #wake: () => void = () => {}

  constructor(port: MessagePort, signal: AbortSignal) {
    this.#port = port
    this.#built = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever awaits it is told.
    this.#built.catch(() => {})
    port.on('message', (message: FromBuilder) => this.#receive(message))
    signal.addEventListener('abort', () => this.#fail(signal.reason), { once: true })
  }

  async add({ bytes, entryCount }: EntryBlock): Promise<void> {
    const byteLength = bytes.length
    while (this.#bytesInPlaces > 0 && this.#bytesInPlaces + byteLength > MAX_BYTES_IN_FLIGHT) {
      this.#sendGathered()
      this.#throwAfterFailure()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#throwAfterFailure()
    const at = this.#free.findLastIndex((place) => this.#placeAt(place).bytes.length >= byteLength)
    const isNew = at < 0
    const place = isNew ? this.#makePlace(byteLength) : (this.#free.splice(at, 1)[0] as number)
    const { bytes: target } = this.#placeAt(place)
    target.set(bytes)
    this.#placeAt(place).byteLength = byteLength
    this.#bytesInPlaces += byteLength
    const memory = isNew ? (target.buffer as SharedArrayBuffer) : undefined
    this.#gathered.push({ place, memory, byteLength, entryCount })
    this.#gatheredBytes += byteLength
    if (this.#gatheredBytes >= BYTES_AT_ONCE) this.#sendGathered()
  }

  async finish(): Promise<BuiltState> {
    this.#sendGathered()
    this.#post({ kind: 'finish' })
    return await this.#built
  }

  #makePlace(byteLength: number): number {
    const bytes = new Uint8Array(new SharedArrayBuffer(Math.max(PLACE_BYTES, byteLength)))
    return this.#places.push({ bytes, byteLength }) - 1
  }

  #placeAt(number: number): Place {
    return this.#places[number] as Place
  }

  #sendGathered(): void {
    if (this.#gathered.length === 0) return
    this.#post({ kind: 'blocks', blocks: this.#gathered })
    this.#gathered = []
    this.#gatheredBytes = 0
  }

  #receive(message: FromBuilder): void {
    switch (message.kind) {
      case 'taken':
        for (const place of message.places) this.#bytesInPlaces -= this.#placeAt(place).byteLength
        this.#free.push(...message.places)
        return this.#wake()
      case 'built':
        return this.#resolve(message.built)
      case 'failed':
        return this.#fail(this.#courier.unpack(message.error))
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    this.#reject(error)
    this.#wake()
  }

  #throwAfterFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  #post(message: ToBuilder): void {
    this.#port.postMessage(message)
  }
}
