// Entries that expire by event time, and how they are found when their time has come.
//
//   value      := expiresAtMs i64 (little-endian) · the value proper
//   look entry := group u16 · 0xff01 · lookAtMs (int64 in key form) · state u16 · rest of the stored key   -> nothing
//
// (1) An entry is seen while the watermark is below `expiresAtMs` (L3), whether or not it was removed.
// (2) For each entry there is a look entry at the time that its `expiresAtMs` is rounded up to: a sixteenth of the time to live,
//     so that an entry that is written often does not move its look entry each time.
// (3) The look entry is written with, or before, its entry, and removed with, or after, it. One that finds nothing is removed.
// (4) What was written pays: every write looks at two that are due, every watermark at a thousand. So what is held stays within
//     a constant factor of what is alive at any rate of arrival (L6).

import { NEVER_EXPIRES } from '../../backend/validate.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import { int64 } from '../codec/numbers.js'
import type { AssembledKey } from '../entries/entries.js'
import type { Host, ScannedEntry } from '../entries/host.js'
import { GivenKey } from '../key/stored-key.js'
import type { EventTime } from './event-time.js'

/** The state id of look entries: above all that are given away. */
const LOOK_STATE = 0xff01
export const STAMP_BYTES = 8
/** So much longer than the key of an entry is that of its look entry. */
export const LOOK_BYTES = 10
const LOOKS_PER_WRITE = 2
const LOOKS_PER_WATERMARK = 1_024
const LOOKS_AT_A_TIME_LATER = 32
const STATE_AT = 4 + 8
const NOTHING = new ByteWriter(0)

/** A state whose entries expire by event time. */
export interface ExpiringState {
  readonly lookStepMs: number
  /** Removes an entry with all that belongs to it, but for its look entry. */
  expire(key: AssembledKey): void
  /** When the stored entry expires; `undefined` where there is none. */
  expiresAtMs(key: AssembledKey): number | undefined
}

export class EventExpiry {
  readonly time: EventTime
  readonly #host: Host
  readonly #states = new Map<number, ExpiringState>()
  /** For each group a time before which none of its looks is due. */
  readonly #dueFromMs: Float64Array
  readonly #writer = new ByteWriter(64)
  #group = 0

  constructor(host: Host, keyGroups: number, time: EventTime) {
    this.#host = host
    this.time = time
    this.#dueFromMs = new Float64Array(keyGroups).fill(-Infinity)
  }

  add(id: number, state: ExpiringState): void {
    this.#states.set(id, state)
  }

  /** Forgets in which groups nothing is due: what was found there was not removed after all. */
  forgetLooks(): void {
    this.#dueFromMs.fill(-Infinity)
  }

  /** Notes that an entry is to be looked at when it expires, instead of when it expired before. */
  move(key: AssembledKey, beforeMs: number | undefined, afterMs: number | undefined, stepMs: number): void {
    const before = beforeMs === undefined ? undefined : lookAt(beforeMs, stepMs)
    const after = afterMs === undefined ? undefined : lookAt(afterMs, stepMs)
    if (before === after) return
    const { entries } = this.#host
    if (after !== undefined) {
      const look = this.#lookKey(key, after)
      const { bytes } = look.stretch
      const group = (bytes[0] as number) * 256 + (bytes[1] as number)
      if (after < (this.#dueFromMs[group] as number)) this.#dueFromMs[group] = after
      entries.put(look, NOTHING, NEVER_EXPIRES)
    }
    if (before !== undefined) entries.remove(this.#lookKey(key, before))
  }

  /** What a write pays for expiry; nothing within a batch, which is one step. */
  payForWrite(): void {
    if (this.#host.later === undefined && !this.#host.isInBatch) this.#look(LOOKS_PER_WRITE)
  }

  /** Removes what has expired: over a local engine some of it, over another one all. */
  sweep(): unknown {
    // Without such states nothing is noted to be looked at.
    if (this.#states.size === 0) return undefined
    if (this.#host.later === undefined) return this.#look(LOOKS_PER_WATERMARK)
    return this.#lookLater()
  }

  #look(budget: number): void {
    let left = budget
    const groups = this.#dueFromMs.length
    for (let i = 0; i < groups && left > 0; i++) {
      const group = (this.#group + i) % groups
      if ((this.#dueFromMs[group] as number) > this.time.watermarkMs) continue
      const due = [...(this.#host.scan([{ ...lookRange(group), limit: left }]) as Iterable<ScannedEntry>)]
      const isAll = due.length < left
      const dueFrom = this.#settle(due)
      if (dueFrom !== undefined) this.#dueFromMs[group] = dueFrom
      else if (isAll) this.#dueFromMs[group] = Infinity
      left -= Math.max(1, due.length)
      if (left <= 0) this.#group = group
    }
  }

  async #lookLater(): Promise<void> {
    for (let group = 0; group < this.#dueFromMs.length; group++) {
      while ((this.#dueFromMs[group] as number) <= this.time.watermarkMs) {
        const due: ScannedEntry[] = []
        const range = { ...lookRange(group), limit: LOOKS_AT_A_TIME_LATER }
        for await (const entry of this.#host.scan([range]) as AsyncIterable<ScannedEntry>) due.push(entry)
        const dueFrom = await this.#host.later?.write(() => this.#settle(due))
        this.#dueFromMs[group] = dueFrom ?? (due.length < LOOKS_AT_A_TIME_LATER ? Infinity : -Infinity)
      }
    }
  }

  /** Looks at entries; returns the time of the first that is not due yet. */
  #settle(looks: readonly ScannedEntry[]): number | undefined {
    let dueFrom: number | undefined
    this.#host.together(() => {
      for (const [bytes] of looks) {
        const lookAtMs = int64.readKey(new ByteReader().fromBytes(bytes, 4))
        if (lookAtMs > this.time.watermarkMs) {
          dueFrom = lookAtMs
          return
        }
        this.#settleOne(bytes, lookAtMs)
      }
    })
    return dueFrom
  }

  #settleOne(look: Uint8Array, lookAtMs: number): void {
    const { entries } = this.#host
    const id = (look[STATE_AT] as number) * 256 + (look[STATE_AT + 1] as number)
    const key = new GivenKey(new Uint8Array([...look.subarray(0, 2), ...look.subarray(STATE_AT)]))
    const state = this.#states.get(id)
    const expiresAtMs = state?.expiresAtMs(key)
    if (state !== undefined && expiresAtMs !== undefined) {
      if (expiresAtMs > this.time.watermarkMs) {
        const at = lookAt(expiresAtMs, state.lookStepMs)
        if (at === lookAtMs) return
        entries.put(this.#lookKey(key, at), NOTHING, NEVER_EXPIRES)
      } else {
        state.expire(key)
      }
    }
    entries.remove(new GivenKey(look))
  }

  #lookKey(key: AssembledKey, lookAtMs: number): GivenKey {
    const to = this.#writer
    const { bytes, offset, length } = key.stretch
    to.length = 0
    to.append(bytes.subarray(offset, offset + 2))
    to.uint8(LOOK_STATE >>> 8)
    to.uint8(LOOK_STATE & 0xff)
    int64.writeKey(lookAtMs, to)
    to.append(bytes.subarray(offset + 2, offset + length))
    return new GivenKey(to.copy())
  }
}

/** When an entry is looked at: not before it has expired. */
function lookAt(expiresAtMs: number, stepMs: number): number {
  const at = Math.ceil(expiresAtMs / stepMs) * stepMs
  return Number.isSafeInteger(at) ? at : expiresAtMs
}

const lookRange = (group: number) => ({
  gte: Uint8Array.of(group >>> 8, group & 0xff, LOOK_STATE >>> 8, LOOK_STATE & 0xff),
  lt: Uint8Array.of(group >>> 8, group & 0xff, LOOK_STATE >>> 8, (LOOK_STATE & 0xff) + 1),
})
