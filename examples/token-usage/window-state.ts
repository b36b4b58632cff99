// One entry per window, model and tenant, laid out so that the order of keys is that of time, model, tenant:
//
//   key   := start u64 (big-endian, milliseconds since the epoch, sign bit flipped) · name · name
//   name  := UTF-8 with every 0 byte followed by 0xff · 0 · 1
//   value := count f64 · tokensIn f64 · tokensOut f64 · costMicros f64 · maxLatencyMs f64   (little-endian)
//
// (1) No name is a prefix of another one in this form, so that two different keys never meet.
// (2) Sums are whole numbers below 2^53, costs in millionths of a dollar: they do not depend on the order of addition.

import { createHash } from 'node:crypto'
import type { Entry } from 'holdfast'
import type { LlmRequest } from './events.js'

export const WINDOW_MS = 60_000

const START_BYTES = 8
const VALUE_BYTES = 40

/** What is known of one window of one model and tenant. */
export interface WindowTotals {
  readonly startMs: number
  readonly model: string
  readonly tenant: string
  readonly count: number
  readonly tokensIn: number
  readonly tokensOut: number
  readonly costMicros: number
  readonly maxLatencyMs: number
}

/** What windows are kept in: a backend, or what collects for one. */
export interface WindowStore {
  getSync(key: Uint8Array): Uint8Array | undefined
  putSync(key: Uint8Array, value: Uint8Array): void
  scanSync(): IterableIterator<Entry>
}

/** One-minute tumbling windows by event time, kept in a backend. */
export class WindowState {
  readonly #backend: WindowStore
  /** One key and one value are assembled here again and again: the backend copies what it is given. */
  readonly #key: Buffer = Buffer.alloc(2_048)
  readonly #value: Uint8Array = new Uint8Array(VALUE_BYTES)
  readonly #view: DataView = new DataView(this.#value.buffer)

  constructor(backend: WindowStore) {
    this.#backend = backend
  }

  /** Adds a request to its window. Nothing is awaited, so that no snapshot can fall between the read and the write. */
  add(request: LlmRequest): void {
    const key = this.#key.subarray(0, writeKey(this.#key, request))
    const stored = this.#backend.getSync(key)
    if (stored === undefined) this.#value.fill(0)
    else this.#value.set(stored)
    this.#increase(0, 1)
    this.#increase(8, request.tokensIn)
    this.#increase(16, request.tokensOut)
    this.#increase(24, Math.round(request.costUsd * 1_000_000))
    this.#view.setFloat64(32, Math.max(this.#view.getFloat64(32, true), request.latencyMs), true)
    this.#backend.putSync(key, this.#value)
  }

  #increase(offset: number, amount: number): void {
    const sum = this.#view.getFloat64(offset, true) + amount
    if (!Number.isSafeInteger(sum)) throw new RangeError(`the sums of a window are too large: ${sum}`)
    this.#view.setFloat64(offset, sum, true)
  }

  /** All windows in order. */
  *windows(): Generator<WindowTotals> {
    for (const [key, value] of this.#backend.scanSync()) yield decode(key, value)
  }

  /** The windows with the most requests, the busiest first; among equals the earlier one. */
  busiest(limit: number): WindowTotals[] {
    const top: WindowTotals[] = []
    for (const window of this.windows()) {
      const at = top.findIndex((other) => other.count < window.count)
      if (at === -1) top.push(window)
      else top.splice(at, 0, window)
      if (top.length > limit) top.pop()
    }
    return top
  }

  /** SHA-256 over every key and value, in order, with their lengths: equal exactly where the state is. */
  digest(): string {
    const hash = createHash('sha256')
    const lengths = Buffer.alloc(8)
    for (const [key, value] of this.#backend.scanSync()) {
      lengths.writeUInt32LE(key.length, 0)
      lengths.writeUInt32LE(value.length, 4)
      hash.update(lengths).update(key).update(value)
    }
    return hash.digest('hex')
  }
}

/** Writes the key of a request's window; returns its length. */
function writeKey(key: Buffer, request: LlmRequest): number {
  const startMs = Math.floor(request.timestampMs / WINDOW_MS) * WINDOW_MS
  key.writeUInt32BE((Math.floor(startMs / 2 ** 32) ^ 0x80000000) >>> 0, 0)
  key.writeUInt32BE(startMs - Math.floor(startMs / 2 ** 32) * 2 ** 32, 4)
  return writeName(key, request.tenant, writeName(key, request.model, START_BYTES))
}

function writeName(key: Buffer, name: string, at: number): number {
  const text = name.includes('\0') ? Buffer.from(name).toString('latin1').replaceAll('\0', '\0\xff') : name
  const end = at + key.write(text, at, text === name ? 'utf8' : 'latin1')
  key.writeUInt16BE(0x0001, end)
  return end + 2
}

function decode(key: Uint8Array, value: Uint8Array): WindowTotals {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength)
  const startMs = ((bytes.readUInt32BE(0) ^ 0x80000000) | 0) * 2 ** 32 + bytes.readUInt32BE(4)
  const [model = '', tenant = ''] = bytes
    .toString('latin1', START_BYTES, bytes.length - 2)
    .split('\0\x01')
    .map((name) => Buffer.from(name.replaceAll('\0\xff', '\0'), 'latin1').toString())
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  return {
    startMs,
    model,
    tenant,
    count: view.getFloat64(0, true),
    tokensIn: view.getFloat64(8, true),
    tokensOut: view.getFloat64(16, true),
    costMicros: view.getFloat64(24, true),
    maxLatencyMs: view.getFloat64(32, true),
  }
}
