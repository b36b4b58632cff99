import fc from 'fast-check'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { SCHEMA_KEY } from '../backend/schema-entry.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { tuple } from '../state/codec/composite.js'
import { json } from '../state/codec/json.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { StateStore } from '../state/store.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { JobTest, testJob } from '../testing/job-test.js'
import type { Aggregate } from '../window/aggregate/aggregate.js'
import { approximateDistinctCount } from '../window/aggregate/hyper-log-log.js'
import { combined, count, sum } from '../window/aggregate/ready-made.js'
import { hopping, tumbling } from '../window/assign/assigner.js'
import { session } from '../window/assign/by-key.js'
import { calendar } from '../window/assign/calendar.js'
import { ascending, boundedDisorder, watermarksBy } from '../window/time/watermark-strategy.js'
import { type WindowResult, windowed } from '../window/windowed.js'
import { defineJob } from './define-job.js'
import { withWindows } from './job-windows.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { arraySource } from './source/iterable-source.js'

interface Request {
  readonly tenant: string
  readonly at: number
  readonly tokens: number
}

const request = (tenant: string, at: number, tokens = 1): Request => ({ tenant, at, tokens })
const usage = () => combined({ requests: count(), tokens: sum((each: Request) => each.tokens) })
const noStates = defineState({ key: utf8, states: {} })
const common = {
  name: 'usage',
  key: ({ tenant }: Request) => tenant,
  timestamp: ({ at }: Request) => at,
  time: { watermarks: ascending() },
  schema: noStates,
}
type Usage = WindowResult<string, { readonly requests: number; readonly tokens: number }>

describe('windows of a job', () => {
  const job = defineJob<Request, Usage>()({
    ...common,
    windows: { perTen: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: usage() }) },
  })

  it('T8, T12: give their results as the watermark goes on, and at the end all', async () => {
    await using test = await JobTest.start(job)
    await test.send(request('a', 1, 5), request('b', 2), request('a', 9, 7))
    expect(test.takeOutputs()).toEqual([])
    await test.send(request('a', 10))
    expect(test.takeOutputs().map(({ key, value: found }) => [key, found])).toEqual([
      ['a', { requests: 2, tokens: 12 }],
      ['b', { requests: 1, tokens: 1 }],
    ])
    await test.end()
    expect(test.takeOutputs()).toEqual([
      {
        key: 'a',
        window: { startMs: 10, endMs: 20 },
        value: { requests: 1, tokens: 1 },
        timestampMs: 19,
        pane: { index: 0, kind: 'onTime', isFinal: true },
      },
    ])
  })

  it('J1, T9: go on after a restart with what was in them', async () => {
    await using test = await JobTest.start(job)
    await test.send(request('a', 1, 5))
    await test.restart()
    await test.send(request('a', 2, 6))
    await test.restart()
    await test.end()
    expect(test.outputs.map(({ value: found }) => found)).toEqual([{ requests: 2, tokens: 11 }])
  })

  it('W16: results of one advance come by window end, start and key bytes, whichever windows they are of', async () => {
    const shown = (name: string) => (result: WindowResult<string, number>) =>
      `${result.window.endMs} ${result.window.startMs} ${result.key} ${name}`
    const several = defineJob<Request, string>()({
      ...common,
      windows: {
        twenties: windowed({
          windows: tumbling({ sizeMs: 20 }),
          aggregate: count(),
          output: shown('twenties'),
        }),
        tens: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: count(), output: shown('tens') }),
        sessions: windowed({ windows: session({ gapMs: 5 }), aggregate: count(), output: shown('sessions') }),
        again: windowed({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: count(),
          outputs: (result: WindowResult<string, number>) => [shown('again')(result), shown('twice')(result)],
        }),
      },
    })
    const events = ['b', 'a', 'c'].flatMap((tenant) => [
      request(tenant, 3),
      request(tenant, 5),
      request(tenant, 15),
    ])
    const disorder = { ...several, time: { watermarks: boundedDisorder(100) } }
    const { outputs } = await testJob(disorder, events)
    const keys = ['a', 'b', 'c']
    const tens = (endMs: number) =>
      keys.flatMap((key) => ['tens', 'again', 'twice'].map((name) => `${endMs} ${endMs - 10} ${key} ${name}`))
    expect(outputs).toEqual([
      ...tens(10),
      ...keys.map((key) => `10 3 ${key} sessions`),
      ...keys.map((key) => `20 0 ${key} twenties`),
      ...tens(20),
      ...keys.map((key) => `20 15 ${key} sessions`),
    ])
  })

  it('W16: results of several windows over random streams come in order, and are those of each alone', async () => {
    const shown = (name: string) => (result: WindowResult<string, number>) => ({ name, ...result })
    const windows = {
      hops: windowed({
        windows: hopping({ sizeMs: 12, slideMs: 4 }),
        aggregate: count(),
        output: shown('hops'),
      }),
      gaps: windowed({ windows: session({ gapMs: 3 }), aggregate: count(), output: shown('gaps') }),
      late: windowed({
        windows: tumbling({ sizeMs: 4 }),
        aggregate: count(),
        early: { everyEvents: 3 },
        output: shown('late'),
      }),
    }
    type Shown = ReturnType<ReturnType<typeof shown>>
    const run = async (some: object, events: readonly Request[]) => {
      const made = defineJob<Request, Shown>()({ ...common, windows: some as typeof windows })
      return (await testJob({ ...made, time: { watermarks: boundedDisorder(20) } }, events)).outputs
    }
    const stream = fc.array(
      fc.record({ tenant: fc.constantFrom('a', 'b', 'ab'), at: fc.integer({ min: 0, max: 60 }) }),
      { maxLength: 40 },
    )
    await fc.assert(
      fc.asyncProperty(stream, async (made) => {
        const events = made.map(({ tenant, at }) => request(tenant, at))
        const all = await run(windows, events)
        for (const [name, definition] of Object.entries(windows)) {
          expect(all.filter((result) => result.name === name)).toEqual(
            await run({ [name]: definition }, events),
          )
        }
        // The watermark has come to the end only once all was read: within one advance nothing comes before its turn.
        const onTime = all.filter(({ pane, window }) => pane.kind === 'onTime' && window.endMs > 60)
        const sorted = [...onTime].sort(
          (left, right) =>
            left.window.endMs - right.window.endMs ||
            left.window.startMs - right.window.startMs ||
            Buffer.compare(Buffer.from(left.key), Buffer.from(right.key)),
        )
        expect(onTime.map(({ window, key }) => [window, key])).toEqual(
          sorted.map(({ window, key }) => [window, key]),
        )
      }),
      { numRuns: process.env['HOLDFAST_LONG'] === '1' ? 500 : 15 },
    )
  })

  it('know the keys of the job where a function makes them, also in a later stage', async () => {
    const made = defineJob<Request, string>()({
      ...common,
      windows: (windowedBy) => ({
        tens: windowedBy({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: count(),
          output: ({ key, value: found }) => {
            expectTypeOf(key).toEqualTypeOf<string>()
            expectTypeOf(found).toEqualTypeOf<number>()
            return key.repeat(found)
          },
        }),
      }),
    }).pipe<number>()({
      name: 'lengths',
      key: (text) => text.length,
      schema: defineState({ key: uint32, states: {} }),
      windows: (windowedBy) => ({
        tens: windowedBy({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: count(),
          output: ({ key, value: found }) => {
            expectTypeOf(key).toEqualTypeOf<number>()
            return key * 10 + found
          },
        }),
      }),
    })
    const { outputs } = await testJob(made, [request('a', 1), request('b', 2), request('a', 3)])
    expect(outputs).toEqual([11, 21])
    expect(Object.keys(withWindows(noStates, made.stages[0]?.windows ?? {}).states)).toEqual(['tens'])
  })

  it('J7, W20: a bad event enters none of the windows, and the others go on', async () => {
    const bad: string[] = []
    const { outputs, stats } = await testJob(
      defineJob<Request, WindowResult<string, unknown>>()({
        ...common,
        windows: {
          perTen: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: count() }),
          sums: windowed({ windows: session({ gapMs: 5 }), aggregate: usage() }),
        },
        onBadEvent: ({ reason, error }) => void bad.push(`${reason} ${error.message}`),
      }),
      [request('a', 1, 5), request('a', 2, Number.NaN), request('a', 3, 4)],
    )
    expect(outputs.map(({ value: found }) => found)).toEqual([{ requests: 2, tokens: 9 }, 2])
    expect(stats.badEvents).toBe(1)
    expect(bad).toEqual([expect.stringContaining('badValue')])
  })

  it('J7: what is no fault of an event ends the job, also where bad ones are skipped', async () => {
    const watermarks = watermarksBy(({ timestampMs }) => (timestampMs === 3 ? 0.5 : timestampMs))
    const failing = defineJob<Request, Usage>()({
      ...common,
      time: { watermarks },
      windows: { perTen: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: usage() }) },
      onBadEvent: 'skip',
    })
    await expect(testJob(failing, [request('a', 1), request('a', 3)])).rejects.toThrow(/watermark/)
    const skipped = await testJob(failing, [request('a', 1), request('a', 0.5), request('a', 2)])
    expect(skipped.stats).toMatchObject({ events: 2, badEvents: 1 })
  })

  it('J7, J8: tell which event was bad, by what it lacks, and go on behind it', async () => {
    const bad: unknown[] = []
    const told = defineJob<Request, Usage>()({
      ...common,
      key: (event) => (event.tenant === '' ? (undefined as never) : event.tenant),
      timestamp: (event) => {
        if (event.at < 0) throw new Error('no time')
        return event.at
      },
      windows: { perTen: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: usage() }) },
      onBadEvent: ({ reason, position }) => void bad.push([reason, position]),
    })
    const events = [request('a', 1), request('', 2), request('a', -1), request('\ud800', 3), request('a', 4)]
    const { outputs, stats } = await testJob(told, events)
    expect(bad).toEqual([
      ['noKey', 2],
      ['badTimestamp', 3],
      ['badValue', 4],
    ])
    expect(outputs.map(({ value: found }) => found)).toEqual([{ requests: 2, tokens: 2 }])
    expect(stats).toMatchObject({ events: 2, badEvents: 3 })
  })

  it('W8, W18: count late events, and show what is open', async () => {
    await using test = await JobTest.start(job)
    await test.send(request('a', 25, 5))
    await test.send(request('a', 1))
    expect(test.stats()).toMatchObject({ lateEvents: 1, missedWindows: 1 })
    expect(test.peek('perTen', 'a')).toMatchObject([
      { value: { requests: 1, tokens: 5 }, pane: { kind: 'early' } },
    ])
    expect(() => test.peek('none', 'a')).toThrowError(/windows/)
  })

  it('W18: early results come when the clock says so', async () => {
    const early = defineJob<Request, Usage>()({
      ...common,
      windows: {
        perTen: windowed({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: usage(),
          early: { everyMs: 1_000 },
        }),
      },
    })
    await using test = await JobTest.start(early, { startMs: 0 })
    await test.send(request('a', 1, 5))
    await test.advance(999)
    expect(test.takeOutputs()).toEqual([])
    await test.advance(1)
    expect(test.takeOutputs().map(({ pane }) => pane.kind)).toEqual(['early'])
    await test.restart()
    await test.end()
    expect(test.takeOutputs().map(({ pane }) => [pane.kind, pane.index])).toEqual([['onTime', 1]])
  })

  it('T4: wait for the slowest partition', async () => {
    const { outputs } = await testJob(
      defineJob<Request, Usage>()({
        ...common,
        time: { watermarks: boundedDisorder(0) },
        windows: { perTen: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: usage() }) },
      }),
      { one: [request('a', 1), request('a', 35)], two: [request('a', 2), request('a', 12)] },
    )
    expect(outputs.map(({ window, value: found }) => [window.startMs, found.requests])).toEqual([
      [0, 2],
      [10, 1],
      [30, 1],
    ])
  })

  it('are in the store at a cut, which is opened without the job by their schema', async () => {
    await using test = await JobTest.start(job)
    await test.send(request('a', 1, 5))
    expect(Object.keys(withWindows(noStates, job.windows ?? {}).states)).toEqual(['perTen'])
  })

  it('T8, T9: lose nothing of a source that has more than when the job came to its end', async () => {
    const storage = new MemoryCheckpointStorage()
    const all = Array.from({ length: 60 }, (_, i) => request('a', i))
    const outputs: Usage[] = []
    const run = async (events: readonly Request[]) => {
      await using backend = new MemoryStateBackend()
      const sink = functionSink<Usage>({
        write: (some) => void outputs.push(...some.map(({ output }) => output)),
      })
      const where = { source: arraySource(events), sink, backend, checkpoints: { storage }, maxPollEvents: 7 }
      return await (await runJob({ ...job, ...where })).finished
    }
    await run(all.slice(0, 20))
    expect(await run(all)).toMatchObject({ events: 40, lateEvents: 0 })
    await run(all)
    expect(outputs.map(({ window, value: found }) => [window.startMs, found.requests])).toEqual(
      [0, 10, 20, 30, 40, 50].map((startMs) => [startMs, 10]),
    )
  })

  it('refuse what does not go together', async () => {
    const backend = new MemoryStateBackend()
    const { perTen } = job.windows as { perTen: never }
    const options = { ...common, source: arraySource([request('a', 1)]), backend }
    const wrong = async (given: object, reason: RegExp) => {
      await expect(runJob({ ...options, ...given } as never)).rejects.toThrow(reason)
    }
    await wrong({ windows: { perTen }, process: () => {} }, /only one of them/)
    await wrong({}, /process or windows is required/)
    await wrong(
      { windows: { perTen }, timestamp: undefined, time: undefined },
      /timestamp is required by windows/,
    )
    await wrong({ windows: { perTen: {} } }, /perTen must be made by windowed/)
    await wrong({ windows: {} }, /one at least/)
    for (const name of ['batch', 'clear', 'advanceWatermark']) {
      await wrong({ windows: { [name]: perTen } }, /has a name of the store itself/)
    }
    const kept = windowed<Request, string, number>({
      windows: session({ gapMs: 5 }),
      events: json<Request>(),
      process: (all) => [...all].length,
    })
    await wrong({ windows: { w: kept, 'w.events': perTen } }, /name of a state of other windows/)
    const schema = defineState({ key: utf8, states: { perTen: value(uint32) } })
    await wrong({ schema, windows: { perTen } }, /has the name of a state/)
    await backend.close()
  })

  it('J7: a time that the calendar does not have is a bad event, as is the least time of all', async () => {
    const daily = defineJob<Request, string>()({
      ...common,
      time: { watermarks: boundedDisorder(5), maxAheadMs: Infinity },
      windows: {
        days: windowed({
          windows: calendar({ unit: 'month', timeZone: 'Europe/Berlin' }),
          aggregate: count(),
          output: ({ window, value: found }: WindowResult<string, number>) => `${window.startMs} ${found}`,
        }),
      },
      onBadEvent: 'skip',
    })
    for (const at of [8.64e15, -8.64e15, Number.MAX_SAFE_INTEGER]) {
      const { outputs, stats } = await testJob(daily, [request('a', 0), request('a', at), request('a', 1)])
      expect(outputs).toEqual(['-3600000 2'])
      expect(stats.badEvents).toBe(1)
    }
    const least = -Number.MAX_SAFE_INTEGER
    for (const [at, badEvents] of [
      [least, 1],
      [least + 1, 1],
      [least + 100, 1],
    ] as const) {
      const { stats } = await testJob(daily, [request('a', at), request('a', 0)], { startMs: 0 })
      expect([stats.events, stats.badEvents]).toEqual([1, badEvents])
    }
  })

  it('T1: the earliest times of all have no watermark that a store could tell, and are events all the same', async () => {
    const counted = defineJob<Request, number>()({
      ...common,
      schema: defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } }),
      process: (_, { state }) => state.seen.update((seen) => seen + 1),
      onBadEvent: 'skip',
    })
    const least = -Number.MAX_SAFE_INTEGER
    const all = [least, least + 1, least + 2, 0].map((at) => request('a', at))
    const { stats, store } = await testJob(counted, all, { startMs: 0 })
    expect([stats.events, stats.badEvents, store.seen.get('a')]).toEqual([3, 1, 3])
  })

  it('K5: windows whose results become discarding, or cease to be, are INCOMPATIBLE: what is open would be told twice, or not at all', async () => {
    const early = { everyEvents: 3 }
    const all = windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: count(), early })
    const open = (backend: MemoryStateBackend, windows: object) =>
      StateStore.open(backend, withWindows(noStates, { perTen: windows }))
    for (const [before, after] of [
      [all, { ...all, panes: 'discarding' }],
      [{ ...all, panes: 'discarding' }, all],
    ] as const) {
      await using backend = new MemoryStateBackend()
      await open(backend, before)
      await expect(open(backend, after)).rejects.toThrow(/'perTen'.*discarding.*drain: true/s)
      const record = JSON.parse(Buffer.from(backend.getSync(SCHEMA_KEY) as Uint8Array).toString())
      delete record.states[0].codec.panes
      backend.putSync(SCHEMA_KEY, Buffer.from(JSON.stringify(record)))
      await open(backend, before)
    }
  })

  it('K5: an approximate distinct count of another codec is INCOMPATIBLE, also as a part, and an older store without its name is not', async () => {
    const open = (backend: MemoryStateBackend, aggregate: Aggregate<unknown, never, unknown>) =>
      StateStore.open(
        backend,
        withWindows(noStates, { perTen: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate }) }),
      )
    const words = approximateDistinctCount(utf8, String)
    const pair = tuple(tuple(uint32, utf8), utf8)
    const numbers = approximateDistinctCount(pair, () => [[1, ''], ''] as [[number, string], string])
    for (const [before, after, older] of [
      [words, numbers, undefined],
      [
        combined({ a: count(), b: words }),
        combined({ a: count(), b: numbers }),
        'combined(a: count, b: own)',
      ],
      [
        combined({ b: numbers, a: count() }),
        combined({ b: words, a: count() }),
        'combined(b: own, a: count)',
      ],
    ] as const) {
      await using backend = new MemoryStateBackend()
      await open(backend, before as never)
      await expect(open(backend, after as never)).rejects.toThrow(/'perTen'.*drain: true/s)
      const record = JSON.parse(Buffer.from(backend.getSync(SCHEMA_KEY) as Uint8Array).toString())
      record.states[0].codec.aggregate = older
      backend.putSync(SCHEMA_KEY, Buffer.from(JSON.stringify(record)))
      await open(backend, before as never)
    }
  })

  it('K5: another aggregate of the same form is INCOMPATIBLE, and an older store without its name is not; lateness says what to do', async () => {
    const counting = windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: count() })
    const summing = windowed({
      windows: tumbling({ sizeMs: 10 }),
      aggregate: sum(({ tokens }: Request) => tokens),
    })
    const open = (backend: MemoryStateBackend, windows: object) =>
      StateStore.open(backend, withWindows(noStates, { perTen: windows }))
    await using backend = new MemoryStateBackend()
    await open(backend, counting)
    await expect(open(backend, summing)).rejects.toThrow(/'perTen'.*sum.*drain: true/s)
    await expect(open(backend, { ...counting, allowedLatenessMs: 5 })).rejects.toThrow(
      /take late events.*drain: true/s,
    )
    const record = JSON.parse(Buffer.from(backend.getSync(SCHEMA_KEY) as Uint8Array).toString())
    expect(record.states[0].codec.aggregate).toBe('count')
    delete record.states[0].codec.aggregate
    backend.putSync(SCHEMA_KEY, Buffer.from(JSON.stringify(record)))
    await open(backend, counting)
    expect(Buffer.from(backend.getSync(SCHEMA_KEY) as Uint8Array).toString()).toContain('"count"')
    const both = combined({ a: count(), b: sum(({ tokens }: Request) => tokens) })
    expect(both.kind).toBe('combined(a: count, b: sum)')
  })
})
