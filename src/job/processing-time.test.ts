import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runs } from '../../test/support/long.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { json } from '../state/codec/json.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { JobTest, testJob } from '../testing/job-test.js'
import { ManualClock } from '../testing/manual-clock.js'
import { count } from '../window/aggregate/ready-made.js'
import { hopping, tumbling } from '../window/assign/assigner.js'
import { countWindows, session, sliding } from '../window/assign/by-key.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { type WindowOptions, type WindowResult, windowed } from '../window/windowed.js'
import { defineJob } from './define-job.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { arraySource } from './source/iterable-source.js'

const shown = ({ key, window, value }: WindowResult<string, unknown>) =>
  `${key} [${window.startMs}, ${window.endMs}) ${String(value)}`

const jobOf = (...windows: readonly Omit<WindowOptions<string, string, unknown, string>, 'time'>[]) =>
  defineJob<string, string>()({
    name: 'clicks',
    key: (user) => user,
    schema: defineState({ key: utf8, states: {} }),
    windows: Object.fromEntries(
      windows.map((each, i) => [`w${i}`, windowed({ ...each, time: 'processing', output: shown })]),
    ),
  })

const tens = { windows: tumbling({ sizeMs: 10 }), aggregate: count() }

describe('windows of processing time', () => {
  it('W7, T13: fire when the clock has come to their end, while nothing is read', async () => {
    await using test = await JobTest.start(jobOf(tens), { startMs: 3 })
    await test.send('b', 'a', 'b')
    await test.advance(6)
    expect(test.takeOutputs()).toEqual([])
    await test.advance(1)
    expect(test.takeOutputs()).toEqual(['a [0, 10) 1', 'b [0, 10) 2'])
    await test.send('a')
    await test.advance(100)
    expect(test.takeOutputs()).toEqual(['a [10, 20) 1'])
    expect(test.stats().lateEvents).toBe(0)
  })

  it('T8: fire at the end of the source, whatever the clock says', async () => {
    const { outputs } = await testJob(jobOf(tens, { ...tens, windows: session({ gapMs: 5 }) }), ['a', 'b'], {
      startMs: 3,
    })
    expect(outputs).toEqual(['a [3, 8) 1', 'b [3, 8) 1', 'a [0, 10) 1', 'b [0, 10) 1'])
  })

  it('J1, R5: are in the cut, and those that were due while the job did not run fire once, in order, before anything is read', async () => {
    await using test = await JobTest.start(jobOf(tens, { ...tens, windows: session({ gapMs: 5 }) }), {
      startMs: 3,
    })
    await test.send('b', 'a')
    await test.restart()
    await test.send('a')
    expect(test.takeOutputs()).toEqual([])
    await test.restart(1_000)
    expect(test.takeOutputs()).toEqual(['a [3, 8) 2', 'b [3, 8) 1', 'a [0, 10) 2', 'b [0, 10) 1'])
    await test.restart()
    await test.send('a')
    await test.end()
    expect(test.takeOutputs()).toEqual(['a [1003, 1008) 1', 'a [1000, 1010) 1'])
  })

  it('T13: a clock that is behind after a restart stays where windows have fired: none fires twice', async () => {
    const storage = new MemoryCheckpointStorage()
    const outputs: string[] = []
    const run = async (clock: ManualClock, events: readonly string[]) => {
      await using backend = new MemoryStateBackend({ clock })
      const job = await runJob({
        ...jobOf(tens),
        source: arraySource(events),
        sink: functionSink({
          write: async (some: readonly { readonly output: string }[]) =>
            void outputs.push(...some.map(({ output }) => output)),
        }),
        backend,
        checkpoints: { storage, intervalMs: 1_000, clock },
        clock,
      })
      await job.finished
    }
    await run(new ManualClock(25), ['a'])
    expect(outputs).toEqual(['a [20, 30) 1'])
    await run(new ManualClock(4), ['a', 'a'])
    expect(outputs.slice(1)).toEqual(['a [20, 30) 1'])
  })

  it('stand beside windows of event time, and neither follows the time of the other', async () => {
    const job = defineJob<{ readonly at: number }, string>()({
      name: 'both',
      key: () => 'k',
      timestamp: ({ at }) => at,
      time: { watermarks: ascending() },
      schema: defineState({ key: utf8, states: {} }),
      windows: {
        event: windowed({
          ...tens,
          output: (result: WindowResult<string, number>) => `event ${shown(result)}`,
        }),
        clock: windowed({
          ...tens,
          time: 'processing',
          output: (result: WindowResult<string, number>) => `clock ${shown(result)}`,
        }),
      },
    })
    await using test = await JobTest.start(job, { startMs: 3 })
    await test.send({ at: 1 }, { at: 11 })
    expect(test.takeOutputs()).toEqual(['event k [0, 10) 1'])
    await test.advance(10)
    expect(test.takeOutputs()).toEqual(['clock k [0, 10) 2'])
    await test.end()
    expect(test.takeOutputs()).toEqual(['event k [10, 20) 1'])
  })

  it('of a later stage count what the one before has put out, when it did', async () => {
    const job = jobOf(tens).pipe<string>()({
      name: 'all',
      key: () => 'all',
      schema: defineState({ key: utf8, states: {} }),
      windows: (of) => ({
        twenties: of({
          windows: tumbling({ sizeMs: 20 }),
          time: 'processing',
          aggregate: count(),
          output: (result) => shown(result),
        }),
      }),
    })
    await using test = await JobTest.start(job, { startMs: 3 })
    await test.send('a', 'b')
    await test.advance(10)
    await test.restart()
    await test.advance(10)
    expect(test.takeOutputs()).toEqual(['all [0, 20) 2'])
    await test.send('a')
    await test.end()
    expect(test.takeOutputs()).toEqual(['all [20, 40) 1'])
  })

  it('K5: what was kept of event time does not go on by the clock', async () => {
    const storage = new MemoryCheckpointStorage()
    const start = async (time: 'event' | 'processing') => {
      await using backend = new MemoryStateBackend()
      const job = await runJob({
        name: 'clicks',
        source: arraySource(['a']),
        key: (user) => user,
        timestamp: () => 0,
        time: { watermarks: ascending() },
        schema: defineState({ key: utf8, states: {} }),
        windows: { tens: windowed<string, string, number>({ ...tens, time }) },
        backend,
        checkpoints: { storage, intervalMs: 1_000 },
        sink: functionSink({ write: async () => {} }),
      })
      await job.finished
    }
    await start('event')
    await expect(start('processing')).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
  })

  it('refuse what has no meaning', () => {
    const given = { ...tens, time: 'processing' as const }
    expect(() => windowed({ ...given, allowedLatenessMs: 5, onLate: () => undefined })).toThrow(
      /options\.allowedLatenessMs has no meaning in processing time.*options\.onLate/s,
    )
    expect(() => windowed({ ...given, time: 'clock' as never })).toThrow(/options\.time/)
  })

  it('agree with lists and loops over the moments of processing, over random streams with pauses and restarts', async () => {
    const step = fc.record({
      keys: fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 4 }),
      passesMs: fc.nat({ max: 25 }),
      restartsAfterMs: fc.option(fc.nat({ max: 30 }), { freq: 3 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
        await using test = await JobTest.start(
          jobOf(
            tens,
            { windows: hopping({ sizeMs: 15, slideMs: 5 }), aggregate: count() },
            { windows: session({ gapMs: 7 }), aggregate: count() },
            { windows: sliding({ sizeMs: 6 }), events: json<string>(), process: (all) => [...all].length },
            { windows: countWindows({ size: 3 }), aggregate: count() },
          ),
          { startMs: 0 },
        )
        const seen: { readonly key: string; readonly at: number }[] = []
        for (const { keys, passesMs, restartsAfterMs } of steps) {
          for (const key of keys) seen.push({ key, at: test.clock.now() })
          await test.send(...keys)
          await test.advance(passesMs)
          if (restartsAfterMs !== null) await test.restart(restartsAfterMs)
        }
        await test.end()
        expect([...test.outputs].sort()).toEqual(expectedOf(seen).sort())
      }),
      { numRuns: runs(2_000, 10) },
    )
  })
})

interface Seen {
  readonly key: string
  readonly at: number
}

/** What the windows of the random streams come to; nothing of the windows is used here. */
function expectedOf(seen: readonly Seen[]): string[] {
  const lines: string[] = []
  for (const key of new Set(seen.map((each) => each.key))) {
    const times = seen.filter((each) => each.key === key).map(({ at }) => at)
    const line = (startMs: number, endMs: number, found: number) =>
      lines.push(`${key} [${startMs}, ${endMs}) ${found}`)
    const inside = (startMs: number, endMs: number) =>
      times.filter((at) => at >= startMs && at < endMs).length
    const last = Math.max(...times)
    for (const [size, slide] of [
      [10, 10],
      [15, 5],
    ] as const) {
      for (let startMs = -size; startMs <= last; startMs++) {
        if (startMs % slide === 0 && inside(startMs, startMs + size) > 0)
          line(startMs, startMs + size, inside(startMs, startMs + size))
      }
    }
    let first = times[0] as number
    let before = first
    let found = 0
    for (const at of [...times, Infinity]) {
      // It has fired at its end, before what is processed in that moment.
      if (at - before >= 7) {
        line(first, before + 7, found)
        first = at
        found = 0
      }
      before = at
      found++
    }
    for (const at of new Set(times)) line(at - 6, at + 1, inside(at - 6, at + 1))
    for (let from = 0; from < times.length; from += 3) {
      const some = times.slice(from, from + 3)
      line(some[0] as number, (some.at(-1) as number) + 1, some.length)
    }
  }
  return lines
}
