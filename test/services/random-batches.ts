// What a store holds behind batches that were written while something broke: each of them once, in their order.

import { expect } from 'vitest'
import type { StateBackend } from '../../src/backend/state-backend.js'
import { WriteBatch } from '../../src/backend/write-batch.js'
import { seededRandom } from '../../src/base/random.js'
import { runs } from '../support/long.js'

const bytes = (text: string) => Buffer.from(text)

export async function contentsOf(backend: StateBackend): Promise<[string, string][]> {
  const found: [string, string][] = []
  for await (const [key, value] of backend.scan())
    found.push([String(Buffer.from(key)), String(Buffer.from(value))])
  return found
}

/** Random batches, several under way at once, while `disturb` breaks things; then the store is what the batches come to, each once. */
export async function holdsRandomBatches(
  backend: StateBackend,
  disturb: (random: () => number) => Promise<void>,
  rounds: number,
) {
  const random = seededRandom(20_261_127)
  const model = new Map<string, string>()
  let batches = 0
  for (let round = 0; round < rounds; round++) {
    const written: Promise<void>[] = []
    for (let i = 0; i < 40; i++) {
      const batch = new WriteBatch()
      for (let j = 0; j < 5; j++) {
        const key = `key ${Math.floor(random() * 60)}`
        const roll = random()
        if (roll < 0.2) {
          batch.delete(bytes(key))
          model.delete(key)
        } else if (roll < 0.23) {
          batch.deleteRange({ prefix: bytes('key 3') })
          for (const each of model.keys()) if (each.startsWith('key 3')) model.delete(each)
        } else {
          batch.put(bytes(key), bytes(`${round} ${i} ${j}`))
          model.set(key, `${round} ${i} ${j}`)
        }
      }
      // Counts what was applied: a batch that came twice, or not at all, would show.
      const counted = bytes(`counted ${batches % 7}`)
      batch.put(counted, bytes(String(batches)))
      model.set(`counted ${batches % 7}`, String(batches))
      batches++
      written.push(backend.write(batch))
      if (i === 20) await disturb(random)
    }
    await Promise.all(written)
  }
  const sorted = [...model].sort(([left], [right]) => Buffer.compare(bytes(left), bytes(right)))
  expect(await contentsOf(backend)).toEqual(sorted)
  // Expectations over all of it: each increment is there once.
  const increments = runs(200, 20)
  for (let i = 0; i < increments; i++) {
    if (i % 10 === 5) await disturb(random)
    const key = bytes('counter')
    const seen = await backend.get(key)
    expect(String(seen === undefined ? 0 : Buffer.from(seen))).toBe(String(i))
    await backend.write(new WriteBatch().expect(key, seen).put(key, bytes(String(i + 1))))
  }
  return batches + increments
}
