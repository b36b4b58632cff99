// An engine of somebody else's: a sorted copy of a Map for every look in order, written on public exports only.

import {
  EntryBlockCursor,
  equalBytes,
  ForwardClock,
  isDelete,
  LocalBackend,
  OperationKind,
  plainKey,
  rejectViolations,
  rules,
  StateError,
  systemClock,
  violationsOf,
} from 'holdfast/engine'

const textOf = (key) => {
  const { buffer, byteOffset, length } = plainKey(key)
  return Buffer.from(buffer, byteOffset, length).toString('latin1')
}
const optionRules = { clock: rules.object, ttlMs: rules.positiveMs, maxBytes: rules.positiveInteger }
const bytesOf = (text) => new Uint8Array(Buffer.from(text, 'latin1'))
const sizeOf = (entries) => [...entries].reduce((sum, [key, { value }]) => sum + key.length + value.length, 0)

function* walk(entries, { from, until, reverse }) {
  const [first, end] = [textOf(from), until && textOf(until)]
  const keys = [...entries.keys()].filter((key) => key >= first && (until === undefined || key < end)).sort()
  for (const key of reverse ? keys.reverse() : keys) yield { key: bytesOf(key), ...entries.get(key) }
}

class MapEngine {
  name = 'map'
  supports = Object.freeze({
    sync: true,
    ttl: true,
    orderedScan: 'instant',
    snapshots: true,
    changes: false,
    sharing: false,
    replace: true,
    inPlace: false,
    durable: false,
  })
  #entries = new Map()
  #maxBytes
  expired = 0

  constructor({ clock = systemClock, ttlMs = Infinity, maxBytes = Infinity }) {
    this.clock = new ForwardClock(clock)
    this.ttlMs = ttlMs
    this.#maxBytes = maxBytes
  }

  get entries() {
    return this.#entries.size
  }

  get nextExpiryAtMs() {
    return Math.min(Infinity, ...[...this.#entries.values()].map(({ expiresAtMs }) => expiresAtMs))
  }

  get(key) {
    return this.#alive(textOf(key))?.value.slice()
  }

  has(key) {
    return this.#alive(textOf(key)) !== undefined
  }

  expiredAtMs(key) {
    return this.#entries.get(textOf(key))?.expiresAtMs
  }

  put(key, value, expiresAtMs) {
    this.#change((entries) => this.#set(entries, textOf(key), { value: value.slice(), expiresAtMs }), true)
  }

  delete(key) {
    this.#change((entries) => this.#remove(entries, textOf(key)), false)
  }

  write({ cursor, expiry }) {
    while (cursor.next()) {
      if (cursor.kind === OperationKind.PUT || isDelete(cursor.kind)) continue
      const held = this.get(cursor.key())
      const wanted = cursor.kind === OperationKind.EXPECT_VALUE ? cursor.value() : undefined
      const holds = held === undefined || wanted === undefined ? held === wanted : equalBytes(held, wanted)
      if (!holds) throw new StateError('CONCURRENT_MODIFICATION', { key: cursor.key().slice() })
    }
    this.#change((entries) => {
      let puts = false
      cursor.rewind()
      while (cursor.next()) {
        const key = textOf(cursor.key())
        if (cursor.kind === OperationKind.PUT) {
          puts = true
          this.#set(entries, key, { value: cursor.value().slice(), expiresAtMs: expiry(cursor.ttlMs) })
        } else if (cursor.kind === OperationKind.DELETE) this.#remove(entries, key)
        else if (cursor.kind === OperationKind.DELETE_RANGE) this.#removeRange(entries, cursor.interval())
      }
      return puts
    })
  }

  deleteRange(interval) {
    this.#change((entries) => this.#removeRange(entries, interval), false)
  }

  clear() {
    this.#entries = new Map()
  }

  snapshot(takenAtMs) {
    const entries = new Map([...this.#entries].filter(([, { expiresAtMs }]) => expiresAtMs > takenAtMs))
    return {
      base: undefined,
      tellsChanges: false,
      get: (key) => entries.get(textOf(key))?.value.slice(),
      count: () => entries.size,
      *entries(interval) {
        for (const { key, value, expiresAtMs } of walk(entries, interval)) {
          yield { key, value: value.slice(), expiresAtMs }
        }
      },
      changes: () => [],
      close() {},
    }
  }

  sweep() {
    const nowMs = this.clock.now()
    for (const [key, { expiresAtMs }] of this.#entries) {
      if (expiresAtMs <= nowMs) this.#remove(this.#entries, key)
    }
    return true
  }

  async replace(blocks, interval, { clockMs }) {
    const loaded = new Map()
    for await (const { bytes } of blocks) {
      for (const cursor = new EntryBlockCursor(bytes); cursor.next(); ) {
        loaded.set(textOf(cursor.key()), { value: cursor.value().slice(), expiresAtMs: cursor.expiresAtMs })
      }
    }
    this.sweep()
    const entries = new Map(this.#entries)
    for (const { key } of walk(entries, interval)) entries.delete(textOf(key))
    for (const [key, entry] of loaded) entries.set(key, entry)
    this.#requireRoom(entries)
    this.#entries = entries
    if (clockMs !== undefined) this.clock.advanceTo(clockMs)
  }

  async flush() {}

  async close() {
    this.#entries = new Map()
  }

  #alive(key) {
    const entry = this.#entries.get(key)
    return entry !== undefined && entry.expiresAtMs > this.clock.now() ? entry : undefined
  }

  /** Changes a copy, which takes the place of the content once nothing can fail any more. */
  #change(change, putsAnyway) {
    const { expired } = this
    const entries = new Map(this.#entries)
    const puts = change(entries) ?? putsAnyway
    try {
      if (puts) this.#requireRoom(entries)
    } catch (error) {
      this.expired = expired
      throw error
    }
    this.#entries = entries
  }

  #set(entries, key, entry) {
    this.#remove(entries, key)
    entries.set(key, entry)
  }

  #remove(entries, key) {
    const { expiresAtMs } = entries.get(key) ?? { expiresAtMs: Infinity }
    if (expiresAtMs <= this.clock.now()) this.expired++
    entries.delete(key)
  }

  #removeRange(entries, interval) {
    for (const { key } of walk(entries, interval)) this.#remove(entries, textOf(key))
  }

  #requireRoom(entries) {
    const used = sizeOf(entries)
    if (used > this.#maxBytes) {
      throw new StateError('BACKEND_FULL', { used: sizeOf(this.#entries), capacity: this.#maxBytes })
    }
  }
}

export class MapBackend extends LocalBackend {
  constructor(options = {}) {
    rejectViolations(violationsOf(options, optionRules))
    super(new MapEngine(options), options.clock === undefined ? {} : { timers: options.clock })
  }
}
