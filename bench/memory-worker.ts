// One subject at one size in a process of its own: prints its figures as JSON.

import { MemoryStateBackend, Slot } from 'holdfast'
import { createSubject, HoldfastSubject, type Subject, type SubjectName } from './memory-subjects.js'
import { median } from './statistics.js'

/** Nanoseconds per operation, except `scan` (per scan) and the memory figures. */
export interface Figures {
  insert: number
  get: number
  update: number
  batch: number
  scan: number
  /** Resident memory: after the inserts, and after the updates. */
  insertedBytes?: number
  updatedBytes?: number
  snapshotPauseMs?: number
  updateInSnapshot?: number
  ownBytesPerEntry?: number
  counters?: CounterFigures
}

/** Counters of eight bytes, added to one by one: nanoseconds per operation. */
export interface CounterFigures {
  updateInPlace: number
  getAndPut: number
  /** A `Map` of strings to objects whose count is raised: no copy, and no snapshot either. */
  mapOfObjects: number
  peek: number
  get: number
  /** Puts of the usual values, without and with a time to live. */
  put: number
  putExpiring: number
  /** The same with options that are frozen, and so are checked once. */
  putExpiringFrozen: number
}

const KEY_BYTES = 24
const VALUE_BYTES = 100
const BATCH_SIZE = 1_000
const PREFIX_BYTES = 22
const SCANS = 200
const COUNTER_TURNS = 160
const COUNTER_OPERATIONS = 5_000
const DIGITS = Buffer.from('0123456789abcdef')

const key = Buffer.from('window:us-east:0'.padEnd(KEY_BYTES, '0'))
const value = Buffer.alloc(VALUE_BYTES, 'v')

/** Makes the 24-byte key of entry `i` in place. */
function makeKey(i: number): Buffer {
  for (let at = KEY_BYTES - 1, rest = i; at >= KEY_BYTES - 8; at--, rest >>>= 4)
    key[at] = DIGITS[rest & 15] as number
  return key
}

/** Makes a value that differs from the last one. */
function makeValue(i: number): Buffer {
  value[0] = i & 0xff
  value[50] = (i >>> 8) & 0xff
  return value
}

function shuffled(count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  const random = nextRandom()
  for (let i = count - 1; i > 0; i--) {
    const j = random() % (i + 1)
    const swapped = order[i] as number
    order[i] = order[j] as number
    order[j] = swapped
  }
  return order
}

/** As keys come in a stream: any of them, some often and some not at all. */
function drawn(count: number): Uint32Array {
  const random = nextRandom()
  return new Uint32Array(count).map(() => random() % count)
}

function nextRandom(): () => number {
  let state = 0x9e3779b9
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

/** Runs `step` for each of `order`, awaiting only where it returns a promise; nanoseconds per step. */
async function perStep(order: Uint32Array, step: (i: number) => unknown): Promise<number> {
  const start = process.hrtime.bigint()
  for (let at = 0; at < order.length; at++) {
    const result = step(order[at] as number)
    if (result instanceof Promise) await result
  }
  return Number(process.hrtime.bigint() - start) / order.length
}

let touched = 0

async function measure(name: SubjectName, entries: number, rounds: number): Promise<Figures> {
  const inOrder = Uint32Array.from({ length: entries }, (_, i) => i)
  const scattered = shuffled(entries)
  // A store that takes microseconds for each call is measured on a sample of the same keys.
  const sampleSize = name === 'memory-level' ? Math.min(entries, 100_000) : entries
  const sample = scattered.subarray(0, sampleSize)
  const updates = drawn(entries).subarray(0, sampleSize)
  const sums = { insert: 0, get: 0, update: 0, batch: 0, scan: 0 }
  let subject: Subject = createSubject(name, entries)
  const warmUp = rounds > 1 ? 5 : 0
  globalThis.gc?.()
  const rssBefore = process.memoryUsage().rss
  const residentBytes = () => {
    globalThis.gc?.()
    return (process.memoryUsage().rss - rssBefore) / entries
  }
  const resident: { insertedBytes?: number; updatedBytes?: number } = {}
  for (let round = -warmUp; round < rounds; round++) {
    if (round > -warmUp) subject = createSubject(name, entries)
    const insert = await perStep(inOrder, (i) => subject.put(makeKey(i), makeValue(i)))
    if (rounds === 1) resident.insertedBytes = residentBytes()
    const get = await perStep(sample, (i) => {
      const got = subject.get(makeKey(i))
      if (got instanceof Promise) return got.then((later) => (touched += later?.[0] ?? 0))
      touched += got?.[0] ?? 0
      return undefined
    })
    const update = await perStep(updates, (i) => subject.put(makeKey(i), makeValue(i + 1)))
    if (rounds === 1) resident.updatedBytes = residentBytes()
    const batch = await perStep(sample, (i) => {
      subject.add(makeKey(i), makeValue(i + 2))
      return i % BATCH_SIZE === 0 ? subject.apply() : undefined
    })
    await subject.apply()
    const prefixes = scattered.subarray(
      0,
      name === 'holdfast' || name === 'memory-level' ? SCANS : SCANS / 20,
    )
    touched += await subject.scan(makeKey(0).subarray(0, PREFIX_BYTES))
    const scan = await perStep(prefixes, (i) => subject.scan(makeKey(i).subarray(0, PREFIX_BYTES)))
    if (round < 0) continue
    const figures = { insert, get, update, batch, scan }
    for (const figure of Object.keys(sums) as (keyof typeof sums)[]) sums[figure] += figures[figure] / rounds
  }
  return {
    ...sums,
    ...resident,
    ...(subject instanceof HoldfastSubject ? ownFigures(subject, scattered) : {}),
  }
}

/** The same entries with counters in them: subjects take turns, a few thousand operations at a time; the median turn counts. */
function counterFigures(scattered: Uint32Array): CounterFigures {
  const counters = new MemoryStateBackend()
  const values = new MemoryStateBackend()
  const expiring = new MemoryStateBackend()
  const objects = new Map<string, { count: number }>()
  const slot = new Slot()
  const options = { ttlMs: 3_600_000 }
  const frozen = Object.freeze({ ttlMs: 3_600_000 })
  for (const i of scattered) {
    counters.putSync(makeKey(i), Buffer.alloc(8))
    values.putSync(makeKey(i), makeValue(i))
    expiring.putSync(makeKey(i), makeValue(i), options)
    objects.set(makeKey(i).toString('latin1'), { count: 0 })
  }
  const operations: { readonly [Name in keyof CounterFigures]: (i: number) => void } = {
    updateInPlace: (i) => {
      counters.updateSync(makeKey(i), 8, slot)
      slot.view.setFloat64(slot.offset, slot.view.getFloat64(slot.offset, true) + 1, true)
    },
    getAndPut: (i) => {
      const current = counters.getSync(makeKey(i))
      const next = Buffer.allocUnsafe(8)
      const count =
        current === undefined ? 0 : new DataView(current.buffer, current.byteOffset, 8).getFloat64(0, true)
      next.writeDoubleLE(count + 1)
      counters.putSync(key, next)
    },
    mapOfObjects: (i) => {
      const counter = objects.get(makeKey(i).toString('latin1'))
      if (counter !== undefined) counter.count++
    },
    peek: (i) => {
      if (counters.peekSync(makeKey(i), slot)) touched += slot.bytes[slot.offset] ?? 0
    },
    get: (i) => {
      touched += counters.getSync(makeKey(i))?.[0] ?? 0
    },
    put: (i) => values.putSync(makeKey(i), makeValue(i)),
    putExpiring: (i) => expiring.putSync(makeKey(i), makeValue(i), options),
    putExpiringFrozen: (i) => expiring.putSync(makeKey(i), makeValue(i), frozen),
  }
  const names = Object.keys(operations) as (keyof CounterFigures)[]
  const turns = {
    updateInPlace: [],
    getAndPut: [],
    mapOfObjects: [],
    peek: [],
    get: [],
    put: [],
    putExpiring: [],
    putExpiringFrozen: [],
  } as {
    [Name in keyof CounterFigures]: number[]
  }
  for (let turn = 0; turn < COUNTER_TURNS; turn++) {
    for (const [place, name] of names.entries()) {
      // Each has keys of its own: those that the one before it has just brought into the processor's cache would be nearer.
      const start = ((turn * names.length + place) * COUNTER_OPERATIONS) % scattered.length
      const order = scattered.subarray(start, start + COUNTER_OPERATIONS)
      const operation = operations[name]
      const began = process.hrtime.bigint()
      for (const i of order) operation(i)
      turns[name].push(Number(process.hrtime.bigint() - began) / order.length)
    }
  }
  const warm = (name: keyof CounterFigures) => median(turns[name].slice(COUNTER_TURNS >> 2))
  return {
    updateInPlace: warm('updateInPlace'),
    getAndPut: warm('getAndPut'),
    mapOfObjects: warm('mapOfObjects'),
    peek: warm('peek'),
    get: warm('get'),
    put: warm('put'),
    putExpiring: warm('putExpiring'),
    putExpiringFrozen: warm('putExpiringFrozen'),
  }
}

/** What only this engine has: snapshots, and an account of its memory. */
function ownFigures(subject: HoldfastSubject, scattered: Uint32Array): Partial<Figures> {
  const { backend } = subject
  const memory = backend.memoryUsage()
  const ownBytes = memory.liveBytes + memory.deadBytes + memory.indexBytes
  // As often as it takes to write about a million entries; the longest pause counts.
  const cycles = Math.max(1, Math.round(1_000_000 / scattered.length))
  let snapshotPauseMs = 0
  let updateNs = 0
  for (let cycle = 0; cycle < cycles; cycle++) {
    const start = performance.now()
    const snapshot = backend.snapshotSync()
    snapshotPauseMs = Math.max(snapshotPauseMs, performance.now() - start)
    const updateStart = process.hrtime.bigint()
    for (const i of scattered) backend.putSync(makeKey(i), makeValue(i + cycle))
    updateNs += Number(process.hrtime.bigint() - updateStart)
    snapshot.closeSync()
  }
  const updateInSnapshot = updateNs / cycles / scattered.length
  return {
    snapshotPauseMs,
    updateInSnapshot,
    ownBytesPerEntry: ownBytes / scattered.length - KEY_BYTES - VALUE_BYTES,
    counters: counterFigures(scattered),
  }
}

const [name, entries, rounds] = process.argv.slice(2)
const figures = await measure(name as SubjectName, Number(entries), Number(rounds))
process.stdout.write(JSON.stringify({ ...figures, touched: touched > 0 }))
