import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { defineState, list, StateStore, uint32, utf8 } from '../../src/state.js'
import { runs } from '../support/long.js'

const schema = defineState({ key: utf8, states: { steps: list(uint32) } })
/** A million in a long run. */
const PART = runs(100_000, 2_000)
const PARTS = 10

/** Milliseconds of this process, of all its threads. */
function processorMs(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000
}

describe('a list of a million elements', () => {
  it('is appended to in constant time, read as a stream, and trimmed from the front', async () => {
    await using backend = new MemoryStateBackend()
    const store = await StateStore.open(backend, schema)
    const length = PART * PARTS
    const times: number[] = []
    for (let part = 0; part < PARTS; part++) {
      times.push(
        processorMs(() => {
          for (let i = 0; i < PART; i++) store.steps.append('a', part * PART + i)
        }),
      )
    }
    expect(store.steps.length('a')).toBe(length)
    expect(store.steps.at('a', length - 1)).toBe(length - 1)
    expect(store.steps.at('a', length >> 1)).toBe(length >> 1)
    // A rewrite of the whole would make the last part nineteen times the work of the first: judged where that is seen.
    const [first, ...later] = times as [number, ...number[]]
    const isLong = length === 1_000_000
    const usual = [...later].sort((left, right) => left - right)[later.length >> 1] as number
    if (isLong) {
      expect(usual).toBeLessThan(first * 4)
      console.log(
        `appending ${PART}, ten times: ${times.map((ms) => ms.toFixed(0)).join(' ')} ms of processor`,
      )
    }

    let next = 0
    const reading = processorMs(() => {
      for (const element of store.steps.values('a')) {
        if (element !== next++) expect.fail(`element ${next - 1} is ${element}`)
      }
    })
    expect(next).toBe(length)
    // The first of a stream does not wait for the last: what was read of it is all that was made.
    const stream = store.steps.values('a')
    const begun = processorMs(() => expect(stream.next().value).toBe(0))
    stream.return?.()

    const trimming = processorMs(() => store.steps.trim('a', 10))
    expect(store.steps.get('a')).toEqual(Array.from({ length: 10 }, (_, i) => length - 10 + i))
    // Ten elements, the head, and the record of the schema.
    expect(await backend.count()).toBe(12)
    store.steps.append('a', 7)
    expect(store.steps.length('a')).toBe(11)
    if (isLong) {
      console.log(
        `reading ${reading.toFixed(0)}, the first ${begun.toFixed(1)}, trimming ${trimming.toFixed(0)} ms`,
      )
      expect(begun).toBeLessThan(reading / 20)
    }
  })
})
