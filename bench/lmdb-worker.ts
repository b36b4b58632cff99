// One turn of one subject, in a process of its own; prints its figures as JSON.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { AppendFloor } from './append-floor.js'
import { BATCH_WRITES, CACHE_BYTES, GROUP_PUTS, openSubject, type SubjectName } from './lmdb-subjects.js'

/** Nanoseconds for each operation, but for the pause. */
export interface Figures {
  readonly putAwaited: number
  readonly accepted: number
  /** One put that is durable before the next, on a fresh store and after bursts of updates; processor time beside. */
  readonly durablePut: number
  readonly durablePutAfter: number
  readonly durablePutProcessor: number
  readonly durablePutProcessorAfter: number
  /** A put, with a flush after each thousand. */
  readonly flushed: number
  readonly flushedAfter: number
  /** Some puts of one turn, durable at its end, on a fresh store and after bursts: all of them together. */
  readonly group: number
  readonly groupAfter: number
  /** The bytes of one put, of such a group, and of a thousand puts, appended to a file and synced: all of them together. */
  readonly floorOfPut: number
  readonly floorOfGroup: number
  readonly floorOfFlush: number
  /** Random puts that nobody waits for, as fast as the store takes them. */
  readonly sustained: number
  readonly durableUniform: number
  readonly durableZipf: number
  readonly hotGet: number
  readonly coldGet: number
  readonly scan: number
  /** Longest time between two firings of a 1 ms timer while a writer goes flat out, in milliseconds. */
  readonly pauseMs: number
}

const [name, entriesText, path, peerFolder] = process.argv.slice(2) as [SubjectName, string, string, string?]
const entries = Number(entriesText)
const KEY_BYTES = 30
const GROUP = 20
const SINGLE_PUTS = 500
const DURABLE_PUTS = 2_000
const GROUPS = 500
const FLUSHES = 30
const DURABLE_TURNS = 10
const UPDATES = Math.min(entries, 300_000)
const HOT_KEYS = 10_000
const GETS = 1_000_000
const SCANS = 20_000
const ZIPF_EXPONENT = 0.99
const PAUSE_MS = 4_000

const key = Buffer.alloc(KEY_BYTES, 'k')
const value = Buffer.alloc(100, 'v')
const PUT_BYTES = KEY_BYTES + value.length

let state = 0x9e3779b9
function random(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  return state / 2 ** 32
}

function keyOf(i: number): Buffer {
  key.write(`${Math.floor(i / GROUP)}`.padStart(10, '0'), 0, 'latin1')
  key.write(`:${i % GROUP}`.padEnd(4, ':'), 10, 'latin1')
  return key
}

/** A number below `entries`, the same for the same rank, so that popular keys lie scattered. */
const scattered = (rank: number): number => Number((BigInt(rank) * 2_654_435_761n) % BigInt(entries))

function* uniform(count: number): Generator<Buffer> {
  for (let i = 0; i < count; i++) {
    value.writeUInt32LE(i, 0)
    yield keyOf(Math.floor(random() * entries))
  }
}

/** Zipf's law by the cumulated weights of all ranks. */
const cumulated = new Float64Array(entries)
function* zipf(count: number): Generator<Buffer> {
  const total = cumulated[entries - 1] as number
  for (let i = 0; i < count; i++) {
    const at = random() * total
    let low = 0
    let high = entries - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((cumulated[middle] as number) < at) low = middle + 1
      else high = middle
    }
    value.writeUInt32LE(i, 0)
    yield keyOf(scattered(low))
  }
}

function* shuffled(): Generator<Buffer> {
  for (let i = 0; i < entries; i++) yield keyOf(scattered(i))
}

async function perOperation(count: number, work: () => unknown): Promise<number> {
  const startedAt = performance.now()
  await work()
  return ((performance.now() - startedAt) / count) * 1e6
}

/** Nanoseconds for each of some durable writes, of the processor too, and for the same bytes in a file. */
interface Durable {
  readonly own: number
  readonly processor: number
  readonly floor: number
}

/** `puts` at once, so many times. The store and the file take turns: a disk is not as fast in every second. */
async function durableWrites(puts: number, times: number): Promise<Durable> {
  const bytes = new Uint8Array(puts * PUT_BYTES).fill(1)
  const timesInTurn = times / DURABLE_TURNS
  let own = 0
  let processor = 0
  let floorOfBytes = 0
  for (let turn = 0; turn < DURABLE_TURNS; turn++) {
    const before = process.cpuUsage()
    own += await perOperation(times, async () => {
      for (let i = 0; i < timesInTurn; i++) await subject.store(uniform(puts), value)
    })
    const { user, system } = process.cpuUsage(before)
    processor += ((user + system) / times) * 1e3
    floorOfBytes += await perOperation(times, () => {
      for (let i = 0; i < timesInTurn; i++) floor.append(bytes)
    })
  }
  return { own, processor, floor: floorOfBytes }
}

async function allDurableWrites(): Promise<{ readonly [kind in 'put' | 'group' | 'flush']: Durable }> {
  return {
    put: await durableWrites(1, DURABLE_PUTS),
    group: await durableWrites(GROUP_PUTS, GROUPS),
    flush: await durableWrites(BATCH_WRITES, FLUSHES),
  }
}

let sum = 0
for (let i = 0; i < entries; i++) {
  sum += 1 / (i + 1) ** ZIPF_EXPONENT
  cumulated[i] = sum
}

const floor = new AppendFloor(`${path}-floor`)
let subject = await openSubject(name, path, peerFolder)
// The multiplier shares no factor with the count, so that every key comes once.
const accepted = await perOperation(entries, () => subject.accept(shuffled(), value))
await subject.store([keyOf(0)], value)
const fresh = await allDurableWrites()
const durableUniform = await perOperation(UPDATES, () => subject.store(uniform(UPDATES), value))
const durableZipf = await perOperation(UPDATES, () => subject.store(zipf(UPDATES), value))
const sustained = await perOperation(UPDATES, () => subject.accept(uniform(UPDATES), value))
await subject.store([keyOf(0)], value)
const worn = await allDurableWrites()
floor.close()
const putAwaited = await perOperation(SINGLE_PUTS, async () => {
  for (const each of uniform(SINGLE_PUTS)) await subject.put(each, value)
})

const hot = Array.from({ length: HOT_KEYS }, (_, i) => Buffer.from(keyOf(scattered(i))))
await subject.store(hot, value)
const hotGet = await perOperation(GETS, () => {
  for (let i = 0; i < GETS; i++) {
    if (subject.get(hot[Math.floor(random() * HOT_KEYS)] as Buffer) === undefined)
      throw new Error('a key is missing')
  }
})
await subject.close()

subject = await openSubject(name, path, peerFolder)
const coldGet = await perOperation(entries, () => {
  for (const each of shuffled()) if (subject.get(each) === undefined) throw new Error('a key is missing')
})
const scanned = await perOperation(SCANS, () => {
  if (name === 'classic-level') return
  for (let i = 0; i < SCANS; i++) {
    const group = Math.floor((random() * entries) / GROUP) * GROUP
    const prefix = Buffer.from(keyOf(group).subarray(0, 11))
    const end = Buffer.from(prefix)
    end[10] = (end[10] as number) + 1
    if (subject.scan(prefix, end) === 0) throw new Error('a group is missing')
  }
})
await subject.close()

const pauseMs = name === 'holdfast' ? await longestPause() : Number.NaN
const figures: Figures = {
  putAwaited,
  accepted,
  durablePut: fresh.put.own,
  durablePutAfter: worn.put.own,
  durablePutProcessor: fresh.put.processor,
  durablePutProcessorAfter: worn.put.processor,
  flushed: fresh.flush.own / BATCH_WRITES,
  flushedAfter: worn.flush.own / BATCH_WRITES,
  group: fresh.group.own,
  groupAfter: worn.group.own,
  floorOfPut: worn.put.floor,
  floorOfGroup: worn.group.floor,
  floorOfFlush: worn.flush.floor,
  sustained,
  durableUniform,
  durableZipf,
  hotGet,
  coldGet,
  scan: name === 'classic-level' ? Number.NaN : scanned,
  pauseMs,
}
console.log(JSON.stringify(figures))

async function longestPause(): Promise<number> {
  await using backend = await LmdbStateBackend.open({ path, cacheBytes: CACHE_BYTES })
  let longest = 0
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }, 1)
  await nextTurn()
  const until = performance.now() + PAUSE_MS
  while (performance.now() < until) {
    for (const each of uniform(1_000)) await backend.put(each, value)
  }
  clearInterval(timer)
  return longest
}
