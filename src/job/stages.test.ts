import fc from 'fast-check'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { int64, uint32 } from '../state/codec/numbers.js'
import { map, value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { describe as describeSchema } from '../state/schema/describe.js'
import { StateStore } from '../state/store.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { JobTest, testJob } from '../testing/job-test.js'
import { combined, count, sum } from '../window/aggregate/ready-made.js'
import { tumbling } from '../window/assign/assigner.js'
import { ascending, boundedDisorder } from '../window/time/watermark-strategy.js'
import { type WindowResult, windowed } from '../window/windowed.js'
import { defineJob } from './define-job.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { arraySource } from './source/iterable-source.js'
import { withStages } from './stage-definition.js'

interface Bid {
  readonly item: string
  readonly at: number
  readonly price: number
}
const bid = (item: string, at: number, price = 1): Bid => ({ item, at, price })

interface Counted {
  readonly item: string
  readonly endMs: number
  readonly bids: number
}

const noStates = defineState({ key: utf8, states: {} })
const counts = defineJob<Bid, Counted>()({
  name: 'hot items',
  key: ({ item }) => item,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(0) },
  schema: noStates,
  windows: {
    perTen: windowed({
      windows: tumbling({ sizeMs: 10 }),
      aggregate: combined({ bids: count() }),
      output: ({ key, window, value: found }: WindowResult<string, { bids: number }>): Counted => ({
        item: key,
        endMs: window.endMs,
        ...found,
      }),
    }),
  },
})
const best = defineState({ key: int64, states: { items: map(utf8, uint32) } })
/** The items with the most bids of each window: one result when all of the window has come. */
const hotItems = counts.pipe<string>()({
  name: 'best',
  key: ({ endMs }) => endMs,
  schema: best,
  process: ({ item, endMs, bids }, { state, timers, timestampMs }) => {
    if (timestampMs !== endMs - 1) throw new Error('W17: a result has the time before its end')
    state.items.put(item, bids)
    timers.event.set(endMs - 1)
  },
  onTimer: (_, { state, key, emit }) => {
    const all = [...state.items.entries()]
    const most = Math.max(...all.map(([, bids]) => bids))
    emit(`${key}: ${all.filter(([, bids]) => bids === most).map(([item]) => item)} (${most})`)
    state.items.clear()
  },
})

const BIDS = [bid('a', 1), bid('b', 2), bid('b', 5), bid('c', 12), bid('a', 19), bid('a', 31)]
const HOT = ['10: b (2)', '20: a,c (1)', '40: a (1)']

describe('several stages', () => {
  it('W17, T12: a later stage has the results of a window at its end, and its watermark behind them', async () => {
    await using test = await JobTest.start(hotItems)
    await test.send(...BIDS.slice(0, 3))
    expect(test.outputs).toEqual([])
    await test.send(...BIDS.slice(3))
    expect(test.outputs).toEqual(HOT.slice(0, 2))
    await test.end()
    expect(test.outputs).toEqual(HOT)
    expect(test.stats()).toMatchObject({
      events: 6,
      firedTimers: 3,
      stages: { best: { events: 5, badEvents: 0 } },
    })
  })

  it('J1: go on together after a restart anywhere', async () => {
    for (let at = 0; at <= BIDS.length; at++) {
      await using test = await JobTest.start(hotItems)
      await test.send(...BIDS.slice(0, at))
      await test.restart()
      await test.send(...BIDS.slice(at))
      await test.end()
      expect(test.outputs).toEqual(HOT)
    }
  })

  it('have types that follow from stage to stage', () => {
    counts.pipe<boolean>()({
      name: 'next',
      key: (found) => {
        expectTypeOf(found).toEqualTypeOf<Counted>()
        return found.item
      },
      schema: defineState({ key: utf8, states: { total: value(uint32, { default: () => 0 }) } }),
      process: (found, { state, key, emit }) => {
        expectTypeOf(found).toEqualTypeOf<Counted>()
        expectTypeOf(key).toEqualTypeOf<string>()
        expectTypeOf(state.total.get()).toEqualTypeOf<number>()
        expectTypeOf(emit).parameter(0).toEqualTypeOf<boolean>()
      },
    })
    expectTypeOf(testJob(hotItems, BIDS))
      .resolves.toHaveProperty('outputs')
      .toEqualTypeOf<readonly string[]>()
  })

  it('show the states of each under its name, and a store that is opened elsewhere has those of all', async () => {
    await using backend = new MemoryStateBackend()
    const storage = new MemoryCheckpointStorage()
    const where = { source: arraySource(BIDS), backend, checkpoints: { storage } }
    const outputs: string[] = []
    const sink = functionSink<string>({
      write: (all) => void outputs.push(...all.map(({ output }) => output)),
    })
    const keyed = counts.pipe<string>()({
      name: 'per item',
      key: ({ item }) => item,
      schema: defineState({ key: utf8, states: { bids: value(uint32, { default: () => 0 }) } }),
      process: ({ bids }, { state, key, emit }) => {
        state.bids.update((before) => before + bids)
        emit(`${key} ${state.bids.get()}`)
      },
    })
    const job = await runJob({ ...keyed, ...where, sink })
    await job.finished
    expect(outputs).toEqual(['a 1', 'b 2', 'a 2', 'c 1', 'a 3'])
    expect(job.stages['per item'].bids.get('a')).toBe(3)
    expect(job.stages['per item'].watermark).toBe(job.store.watermark)

    const whole = withStages(noStates, keyed.stages)
    expect(describeSchema(whole).states.map(({ name }) => name)).toEqual(['per item.bids'])
    const { stages: _, ...first } = keyed
    await expect(StateStore.open(backend, defineState({ key: utf8, states: {} }))).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
    })
    expect(first.name).toBe('hot items')
  })

  it('T2, W16: windows of windows, over random streams with restarts, agree with sums by hand', async () => {
    const bids = fc.array(
      fc.record({ item: fc.constantFrom('a', 'b', 'c'), at: fc.nat(200), price: fc.nat(9) }),
      { maxLength: 40 },
    )
    interface Sums {
      readonly key: string
      readonly endMs: number
      readonly total: number
    }
    const toSums = ({ key, window, value: total }: WindowResult<string, number>): Sums => {
      return { key, endMs: window.endMs, total }
    }
    const sums = defineJob<Bid, Sums>()({
      name: 'sums of sums',
      key: ({ item }) => item,
      timestamp: ({ at }) => at,
      time: { watermarks: boundedDisorder(200) },
      schema: noStates,
      windows: {
        short: windowed({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: sum(({ price }: Bid) => price),
          output: toSums,
        }),
      },
    })
      .pipe<Sums>()({
        name: 'all',
        key: () => 'all',
        schema: noStates,
        windows: {
          long: windowed({
            windows: tumbling({ sizeMs: 40 }),
            aggregate: sum(({ total }: Sums) => total),
            output: toSums,
          }),
        },
      })
      .pipe<string>()({
      name: 'shown',
      key: ({ key }) => key,
      schema: noStates,
      process: ({ endMs, total }, { emit, timestampMs }) => emit(`${timestampMs} ${endMs} ${total}`),
    })
    await fc.assert(
      fc.asyncProperty(bids, fc.nat(40), async (all, restartAt) => {
        await using test = await JobTest.start(sums)
        await test.send(...all.slice(0, restartAt))
        await test.restart()
        await test.send(...all.slice(restartAt))
        await test.end()
        const expected = new Map<number, number>()
        for (const { at, price } of all) {
          const endMs = (Math.floor(at / 40) + 1) * 40
          expected.set(endMs, (expected.get(endMs) ?? 0) + price)
        }
        const lines = [...expected].sort(([left], [right]) => left - right)
        expect(test.outputs).toEqual(lines.map(([endMs, total]) => `${endMs - 1} ${endMs} ${total}`))
      }),
      { numRuns: 40 },
    )
  })

  const paid = defineJob<Bid, Bid>()({
    name: 'stages that process',
    key: ({ item }) => item,
    timestamp: ({ at }) => at,
    time: { watermarks: ascending() },
    schema: defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } }),
    process: (each, { state, emit, timers, now }) => {
      state.seen.update((seen) => seen + 1)
      emit(each)
      if (each.item === 'clock') timers.processing.set(now() + 5)
    },
    onTimer: (_, { emit, key, watermarkMs }) => emit(bid(key, watermarkMs + 1, 3)),
  })
  const totals = defineState({
    key: utf8,
    states: { first: value(uint32, { default: () => 0 }), second: value(uint32, { default: () => 0 }) },
  })
  const summed = (onBadEvent?: 'skip') =>
    paid.pipe<string>()({
      name: 'totals',
      key: ({ item, price }) => (price === 0 ? undefined : item),
      schema: totals,
      process: ({ price }, { state, key, emit, timestampMs }) => {
        state.first.update((total) => total + 1)
        emit(`${key} ${timestampMs}`)
        state.second.put(price)
      },
      ...(onBadEvent !== undefined && { onBadEvent }),
    })

  it('J7: what a later stage cannot process is a bad event of it, and nothing of that is kept there', async () => {
    const events = [bid('a', 1, 5), bid('a', 2, -1), bid('a', 3, 0), bid('a', 4, 6)]
    const { outputs, stats } = await testJob(summed('skip'), events)
    expect(outputs).toEqual(['a 1', 'a 4'])
    expect(stats).toMatchObject({ events: 4, badEvents: 0, stages: { totals: { events: 2, badEvents: 2 } } })
    await using test = await JobTest.start(summed('skip'))
    await test.send(...events)
    expect(test.store.seen.get('a')).toBe(4)
    const stage = test.stages.totals
    expect([stage.first.get('a'), stage.second.get('a')]).toEqual([2, 6])
    await expect(testJob(summed(), events)).rejects.toMatchObject({
      code: 'JOB_FAILED',
      message: expect.stringContaining("stage 'totals'"),
    })
  })

  it('show the windows of each under its name, also where one of the first begins like another stage', async () => {
    const perTen = windowed<Bid, string, number>({ windows: tumbling({ sizeMs: 10 }), aggregate: count() })
    const job = defineJob<Bid, WindowResult<string, number>>()({
      name: 'shown windows',
      key: ({ item }) => item,
      timestamp: ({ at }) => at,
      time: { watermarks: ascending() },
      schema: noStates,
      windows: { 'x.y': perTen },
    }).pipe<WindowResult<string, number>>()({
      name: 'x',
      key: ({ key }) => key,
      schema: noStates,
      windows: { z: windowed({ windows: tumbling({ sizeMs: 100 }), aggregate: count() }) },
    })
    await using test = await JobTest.start(job)
    await test.send(bid('a', 1), bid('a', 2), bid('a', 12))
    expect(test.peek('x.y', 'a')).toMatchObject([{ window: { startMs: 10 }, value: 1 }])
    expect(test.peek('x.z', 'a')).toMatchObject([{ window: { startMs: 0 }, value: 1 }])
    expect(() => test.peek('x.x', 'a')).toThrow(/must be the name of windows/)
  })

  it('J7: what is put out about a bad event of a later stage has the time of what that was made of', async () => {
    const job = paid
      .pipe<Bid>()({
        name: 'picky',
        key: ({ item, price }) => (price === 0 ? undefined : item),
        timestamp: ({ at, price }) => (price === 1 ? Number.NaN : at),
        schema: totals,
        process: ({ price }, { state }) => state.first.put(price),
        onBadEvent: ({ event }, emit) => emit(event),
      })
      .pipe<readonly [at: number, timestampMs: number]>()({
      name: 'told',
      key: ({ item }) => item,
      schema: noStates,
      process: ({ at }, { emit, timestampMs }) => emit([at, timestampMs]),
    })
    const events = [bid('a', 10, 0), bid('a', 20, 5), bid('a', 30, 0), bid('a', 40, 1), bid('a', 50, -1)]
    const { outputs } = await testJob(job, events)
    expect(outputs).toEqual([10, 30, 40, 50].map((at) => [at, at]))
  })

  it('J8: what a later stage throws ends the job and names stage and key', async () => {
    const failing = paid.pipe()({
      name: 'failing',
      key: ({ item }) => item,
      schema: totals,
      process: () => {
        throw new Error('on purpose')
      },
    })
    await expect(testJob(failing, [bid('k', 1)])).rejects.toThrow(
      /stage 'failing', key "k", time 1: on purpose/,
    )
  })

  it('R3: what a timer of processing time emits has the time behind the watermark', async () => {
    await using test = await JobTest.start(summed())
    await test.send(bid('clock', 100))
    await test.advance(10)
    expect(test.outputs).toEqual(['clock 100', 'clock 100'])
  })

  it('refuses what does not go together', async () => {
    const where = {
      source: arraySource<Bid>([]),
      backend: new MemoryStateBackend(),
      sink: functionSink({ write: () => {} }),
    }
    const checkpoints = { storage: new MemoryCheckpointStorage() }
    const refusal = async (job: object, more: object = { checkpoints }) =>
      String(await runJob({ ...job, ...where, ...more } as never).catch((error: Error) => error.message))
    const stage = { name: 'x', key: () => 'k', schema: noStates, process: () => {} }
    expect(await refusal(counts.pipe()({ ...stage, name: 'a.b' }))).toContain("must be text without '.'")
    expect(await refusal(counts.pipe()({ ...stage, process: undefined } as never))).toContain(
      'stages[0].process',
    )
    expect(
      await refusal(
        counts
          .pipe()(stage as never)
          .pipe()(stage as never),
      ),
    ).toContain('is that of another stage')
    const perTen = windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: count() })
    const kept = { ...stage, process: undefined, windows: { 'w.x': perTen } }
    const windows = { 'x.w.x': perTen, 'x.other': perTen }
    expect(await refusal({ ...counts.pipe()(kept as never), windows })).toContain(
      "stages[0].schema.states['w.x'] has the name of a state of the first stage",
    )
    const timed = defineState({ key: utf8, states: { event: value(uint32) } })
    expect(await refusal(paid.pipe()({ ...stage, name: 'onTimer', schema: timed } as never))).toContain(
      "states['event']",
    )
    const other = defineState({ key: utf8, keyGroups: 7, states: {} })
    expect(await refusal(counts.pipe()({ ...stage, schema: other } as never))).toContain(
      'must be that of the first stage',
    )
    const durable = { supports: { durable: true } }
    const stored = Object.assign(Object.create(where.backend), durable)
    expect(await refusal(counts.pipe()(stage as never), { backend: stored })).toContain('options.checkpoints')
    await where.backend.close()
  })

  it('has a name for each state: a stage that is renamed is INCOMPATIBLE, as is another key under the same name', async () => {
    await using backend = new MemoryStateBackend()
    const storage = new MemoryCheckpointStorage()
    const run = async (job: object) =>
      await (
        await runJob({
          ...job,
          source: arraySource([bid('a', 1)]),
          backend,
          checkpoints: { storage },
          sink: functionSink({ write: () => {} }),
        } as never)
      ).finished
    await run(summed())
    const { stages } = summed()
    await expect(run({ ...summed(), stages: [{ ...stages[0], name: 'other' }] })).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
    })
    const rekeyed = { ...totals, key: int64 }
    await expect(run({ ...summed(), stages: [{ ...stages[0], schema: rekeyed }] })).rejects.toThrow(
      /state 'totals.first'.*key/s,
    )
  })
})
