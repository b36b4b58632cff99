import { describe, expect, it } from 'vitest'
import { MAX_KEY_BYTES } from '../base/limits.js'
import { seededRandom } from '../base/random.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { defineState } from '../state/schema/define-state.js'
import { JobTest, testJob } from '../testing/job-test.js'
import { combined, count, sum } from '../window/aggregate/ready-made.js'
import { cumulative, hopping, tumbling } from '../window/assign/assigner.js'
import { session } from '../window/assign/by-key.js'
import { boundedDisorder } from '../window/time/watermark-strategy.js'
import { type WindowResult, type Windows, windowed } from '../window/windowed.js'
import { defineJob } from './define-job.js'

interface Reading {
  readonly key: string
  readonly at: number
  readonly value: number
}

type Counted = WindowResult<string, { readonly events: number; readonly sum: number }>

const aggregate = combined({ events: count(), sum: sum(({ value }: Reading) => value) })
const common = {
  name: 'extreme',
  key: ({ key }: Reading) => key,
  timestamp: ({ at }: Reading) => at,
  time: { watermarks: boundedDisorder(20), maxAheadMs: Infinity },
  schema: defineState({ key: utf8, states: {} }),
}
const shown = (name: string) => (result: Counted) =>
  `${name} ${result.window.startMs} ${result.window.endMs} ${result.key.length} ${result.key.at(-1)} ${result.value.events} ${result.value.sum}`

/** Keys that differ behind a kilobyte only. */
const keyOf = (n: number) => `${'x'.repeat(1_024)}${n}`

describe('windows in extremes', () => {
  it('T1: a timestamp of negative zero is zero, for windows and in each stage', async () => {
    const readings: Reading[] = [{ key: 'a', at: -0, value: 1 }]
    const seen: number[] = []
    const sessions = windowed({
      windows: session({ gapMs: 10 }),
      aggregate,
      output: ({ window }: Counted) => window.startMs,
    })
    const alone = defineJob<Reading, number>()({ ...common, windows: { sessions } })
    expect((await testJob(alone, readings)).outputs).toEqual([0])
    const first = defineJob<Reading, string>()({
      ...common,
      process: ({ key }, { emit, timestampMs }) => {
        seen.push(timestampMs)
        emit(key)
      },
    })
    const second = first.pipe<number>()({
      name: 'second',
      key: (key) => key,
      timestamp: () => -0,
      schema: defineState({ key: utf8, states: {} }),
      process: (_, { timestampMs }) => void seen.push(timestampMs),
    })
    await testJob(second, readings)
    expect(seen).toEqual([0, 0])
  })

  it('W1: a hundred over one stream, with keys of a kilobyte and a restart, each have what they would have alone', async () => {
    const random = seededRandom(11)
    const readings = Array.from({ length: 90 }, (_, i): Reading => {
      return { key: keyOf(i % 5), at: i * 3 - Math.floor(random() * 20), value: i }
    })
    const sizes = Array.from({ length: 100 }, (_, i) => 20 + i * 7)
    const windows = Object.fromEntries(
      sizes.map((sizeMs) => [
        `w${sizeMs}`,
        windowed({ windows: tumbling({ sizeMs }), aggregate, output: shown(`w${sizeMs}`) }),
      ]),
    )
    await using test = await JobTest.start(defineJob<Reading, string>()({ ...common, windows }))
    await test.send(...readings.slice(0, 40))
    await test.restart()
    await test.send(...readings.slice(40))
    await test.end()
    const expected = new Map<
      string,
      { endMs: number; startMs: number; key: string; events: number; sum: number }
    >()
    for (const sizeMs of sizes) {
      for (const { key, at, value } of readings) {
        const startMs = Math.floor(at / sizeMs) * sizeMs
        const name = `w${sizeMs} ${startMs} ${key}`
        const before = expected.get(name) ?? { endMs: startMs + sizeMs, startMs, key, events: 0, sum: 0 }
        expected.set(name, { ...before, events: before.events + 1, sum: before.sum + value })
      }
    }
    const lines = Array.from(expected, ([name, { startMs, endMs, key, events, sum: total }]) => {
      return `${name.split(' ')[0]} ${startMs} ${endMs} ${key.length} ${key.at(-1)} ${events} ${total}`
    })
    expect([...test.outputs].sort()).toEqual(lines.sort())
    const ends = test.outputs.map((line) => Number(line.split(' ')[2]))
    expect(ends).toEqual(ends.toSorted((one, other) => one - other))
  })

  it('J7: a key that is too long for a stored window is a bad event, and the longest one is not', async () => {
    const longest = MAX_KEY_BYTES - 64
    const job = defineJob<Reading, string>()({
      ...common,
      windows: { ten: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate, output: shown('ten') }) },
      onBadEvent: 'skip',
    })
    const lengths = [longest, MAX_KEY_BYTES, MAX_KEY_BYTES + 1, 1]
    const readings = lengths.map((length, at) => ({ key: 'k'.repeat(length), at, value: 1 }))
    const { outputs, stats } = await testJob(job, readings)
    expect(outputs).toEqual(['ten 0 10 1 k 1 1', `ten 0 10 ${longest} k 1 1`])
    expect([stats.events, stats.badEvents]).toEqual([2, 2])
  })

  const kinds: { readonly [name: string]: Windows } = {
    tumbling: tumbling({ sizeMs: 60_000 }),
    hopping: hopping({ sizeMs: 60_000, slideMs: 1_000 }),
    cumulative: cumulative({ maxMs: 60_000, stepMs: 1_000 }),
    sessions: session({ gapMs: 1_000 }),
  }
  const far = Number.MAX_SAFE_INTEGER
  const times: readonly unknown[] = [
    -far,
    -far + 100_000,
    -8.64e15,
    -1,
    -0,
    0.5,
    Number.NaN,
    1,
    8.64e15,
    far - 100_000,
    far,
    far + 1,
    1e300,
    Infinity,
    -Infinity,
    '7',
    null,
    undefined,
    {},
  ]
  for (const [name, windows] of Object.entries(kinds)) {
    it(`T1, J7: ${name}, an event at a hostile time is a bad one, or is counted, and nothing is walked through in between`, async () => {
      let results = 0
      const output = ({ value }: Counted) => {
        results++
        return value.events
      }
      const job = defineJob<Reading, number>()({
        ...common,
        windows: { w: windowed({ windows, aggregate, output }) },
        onBadEvent: 'skip',
      })
      const readings = times.flatMap((at) => [
        { key: 'a', at: at as number, value: 1 },
        { key: 'b', at: at as number, value: 1 },
      ])
      const { stats } = await testJob(job, readings, { startMs: 0 })
      expect(stats.events + stats.badEvents).toBe(readings.length)
      // What is a whole number, and not at an end of time, and not behind the watermark.
      expect(stats.events).toBeGreaterThanOrEqual(10)
      expect(stats.badEvents).toBeGreaterThanOrEqual(20)
      expect(results).toBeGreaterThanOrEqual(10)
      expect(results).toBeLessThanOrEqual(stats.events * 60)
    })
  }
})
