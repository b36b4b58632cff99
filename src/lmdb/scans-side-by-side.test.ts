import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Entry } from '../backend/types.js'
import { WriteBatch } from '../backend/write-batch.js'
import { seededRandom } from '../base/random.js'
import { nextTurn } from '../base/slices.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

// Scans use each other's pages once they are over. So whatever is read side by side, however it ends, each reads what is there, and what was
// given stays as it is.

const KEYS = 900
const random = seededRandom(5)
const below = (end: number) => Math.floor(random() * end)
const keyOf = (i: number) => Buffer.from(`k${String(i).padStart(4, '0')}`)
/** Of all lengths, compressed ones among them. */
const valueOf = (i: number) => Buffer.alloc(i % 97 === 0 ? 5_000 : i % 230, `${i},`)

let backend: LmdbStateBackend

beforeEach(async () => {
  backend = await LmdbStateBackend.temporary({ compression: 'lz4', flushIntervalMs: Infinity })
  const batch = new WriteBatch()
  for (let i = 0; i < KEYS; i++) batch.put(keyOf(i), valueOf(i))
  backend.writeSync(batch)
  await backend.flush()
  while (backend.stats().bufferedKeys > 0) await nextTurn()
})

afterEach(() => backend.close())

interface Reading {
  readonly scan: IterableIterator<Entry>
  /** The number of the next key. */
  at: number
  readonly step: 1 | -1
  readonly end: number
}

function begin(): Reading {
  const from = below(KEYS)
  const until = from + below(Math.min(KEYS - from, random() < 0.8 ? 60 : KEYS)) + 1
  const reverse = random() < 0.3
  const limit = random() < 0.3 ? 1 + below(40) : Infinity
  const count = Math.min(until - from, limit)
  const range = { gte: keyOf(from), lt: keyOf(until), reverse, ...(limit !== Infinity && { limit }) }
  const scan = backend.scanSync(range)
  return reverse
    ? { scan, at: until - 1, step: -1, end: until - 1 - count }
    : { scan, at: from, step: 1, end: from + count }
}

it('scans that are read side by side, to their end or not, give what is there, and it stays as it was given', () => {
  const given: [Entry, number][] = []
  const readings: Reading[] = []
  for (let step = 0; step < 20_000; step++) {
    if (readings.length === 0 || (readings.length < 6 && random() < 0.05)) readings.push(begin())
    const which = below(readings.length)
    const reading = readings[which] as Reading
    if (random() < 0.01) {
      reading.scan.return?.()
      readings.splice(which, 1)
      continue
    }
    const next = reading.scan.next()
    if ((next.done ?? false) !== (reading.at === reading.end))
      expect.fail(`entry ${reading.at} was to be the next one`)
    if (next.done === true) readings.splice(which, 1)
    else {
      given.push([next.value, reading.at])
      reading.at += reading.step
    }
  }
  expect(given.length).toBeGreaterThan(10_000)
  for (const [[key, value], i] of given) {
    if (keyOf(i).equals(key) && valueOf(i).equals(value)) continue
    expect.fail(`entry ${i} is not what was put: ${Buffer.from(key)}`)
  }
})
