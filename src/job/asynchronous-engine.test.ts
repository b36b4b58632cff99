// Jobs on an engine that is far away.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from 'vitest'
import { runs } from '../../test/support/long.js'
import { RemoteServer, ToyBackend } from '../../test/support/remote-engine.js'
import { seededRandom } from '../base/random.js'
import { bytes, utf8 } from '../state/codec/byte-strings.js'
import { json } from '../state/codec/json.js'
import { float64, uint32 } from '../state/codec/numbers.js'
import { struct } from '../state/codec/struct.js'
import { aggregating, list, map, value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { count, sum } from '../window/aggregate/ready-made.js'
import { tumbling } from '../window/assign/assigner.js'
import { session } from '../window/assign/by-key.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { windowed } from '../window/windowed.js'
import { defineJob } from './define-job.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { ndjsonFileSink } from './sink/ndjson-file-sink.js'
import { outboxSink } from './sink/outbox-sink.js'
import { arraySource } from './source/iterable-source.js'

interface Click {
  readonly user: string
  readonly at: number
  readonly page: string
}

let folder: string
let server: RemoteServer
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-asynchronous-'))
  server = new RemoteServer()
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const clicks = (length: number): Click[] =>
  Array.from({ length }, (_, i) => ({
    user: `user ${(i * 7) % 13}`,
    at: i * 10,
    page: `page ${(i * 5) % 11}`,
  }))

const common = {
  name: 'clicks',
  key: ({ user }: Click) => user,
  timestamp: ({ at }: Click) => at,
  time: { watermarks: ascending(), maxAheadMs: Infinity },
}

async function lines(name = 'out.ndjson'): Promise<unknown[]> {
  const text = await readFile(join(folder, name), 'utf8')
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as unknown)
}

const sink = (name = 'out.ndjson') => ndjsonFileSink<string>({ path: join(folder, name) })

const visits = defineState({
  key: utf8,
  states: {
    total: aggregating(struct({ count: uint32, last: float64 }), (total, { at }: Click) => {
      total.count++
      total.last = at
    }),
    pages: map(utf8, uint32),
    trail: list(utf8),
    note: value(json<{ readonly at: number }>()),
  },
})

/** One that asks for entries of every kind, some of which are known only on the way. */
const visiting = defineJob<Click, string>()({
  ...common,
  schema: visits,
  process: (click, { state, key, emit, timers }) => {
    state.total.add(click)
    const before = state.pages.get(click.page) ?? 0
    state.pages.put(click.page, before + 1)
    if (before % 2 === 1) state.trail.append(click.page)
    if (state.trail.length() === 4) {
      emit(`${key} ${[...state.trail.values()].join(' ')} of ${[...state.pages.keys()].length}`)
      state.trail.clear()
    }
    state.note.put({ at: click.at })
    timers.event.set(click.at + 500)
  },
  onTimer: ({ timestampMs }, { state, key, emit, timers }) => {
    if (state.note.get()?.at !== timestampMs - 500) return
    emit(
      `${key} quiet at ${timestampMs} after ${state.total.get()?.count} (${state.pages.get('page 3') ?? 0})`,
    )
    if (timestampMs % 20 === 0) timers.event.set(timestampMs + 10, 'again')
  },
})

/** What the job comes to on an engine in this process. */
async function expectedOf(length: number): Promise<unknown[]> {
  const { testJob } = await import('../testing/job-test.js')
  const { outputs } = await testJob(visiting, clicks(length))
  return [...outputs]
}

describe('a job on an asynchronous engine', () => {
  it('J1: what the events of one poll have written goes to it in several batches where it is much', async () => {
    const pages = defineJob<number, number>()({
      name: 'pages',
      key: (n) => `${n}`,
      schema: defineState({ key: utf8, states: { page: value(bytes) } }),
      process(n, { state, emit }) {
        state.page.put(new Uint8Array(1 << 20).fill(n))
        emit(n)
      },
    })
    const all = Array.from({ length: 96 }, (_, n) => n)
    const outputs: number[] = []
    const taking = functionSink<number>({
      write: (some) => void outputs.push(...some.map(({ output }) => output)),
    })
    await using backend = new ToyBackend(server)
    // The clock is asked once for 32 events, and a slice is then over.
    let nowMs = performance.now()
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += 5))
    try {
      const job = await runJob({ ...pages, source: arraySource(all), sink: taking, backend })
      await job.finished
    } finally {
      clock.mockRestore()
    }
    expect(outputs).toEqual(all)
    expect(server.rows.size).toBeGreaterThan(all.length)
    expect(server.largestBatch).toBeLessThan(33 << 20)
  })

  it('J1: has the same outputs and states as on one in this process', async () => {
    const backend = new ToyBackend(server)
    const job = await runJob({
      ...visiting,
      source: arraySource(clicks(150)),
      sink: sink(),
      backend,
      maxPollEvents: 40,
    })
    await job.finished
    expect(await lines()).toEqual(await expectedOf(150))
    expect(await job.store.total.get('user 0')).toMatchObject({ count: 12 })
    expect(job.stats()).toMatchObject({ events: 150, badEvents: 0 })
    await backend.close()
  })

  it('shows the states of its later stages by promises, as those of the first one', async () => {
    const backend = new ToyBackend(server)
    const perPage = defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } })
    const pages = defineJob<Click, string>()({
      ...common,
      schema: visits,
      process: ({ page }, { state, emit }) => {
        state.pages.put(page, 1)
        emit(page)
      },
    }).pipe<never>()({
      name: 'per page',
      key: (page) => page,
      schema: perPage,
      process: (_, { state }) => void state.seen.update((before) => before + 1),
    })
    const first = await runJob({ ...pages, source: arraySource(clicks(30)), backend })
    await first.finished
    // One that has fetched nothing of it.
    const job = await runJob({ ...pages, source: arraySource(clicks(30)), backend })
    await job.finished
    expectTypeOf(job.stages['per page'].seen.get('page 1')).toEqualTypeOf<Promise<number>>()
    const expected = clicks(30).filter(({ page }) => page === 'page 1').length
    expect(await job.stages['per page'].seen.get('page 1')).toBe(expected)
    expect(await job.store.pages.get('user 0', 'page 0')).toBeDefined()
    await backend.close()
  })

  it('asks for what a thousand events want at once', async () => {
    const backend = new ToyBackend(server)
    const schema = defineState({ key: utf8, states: { total: visits.states.total } })
    const job = await runJob<Click, typeof schema>({
      ...common,
      key: ({ at }) => `key ${at}`,
      schema,
      process: (click, { state }) => state.total.add(click),
      source: arraySource(clicks(1_000)),
      backend,
    })
    const before = server.reads
    await job.finished
    expect(server.reads - before).toBeLessThan(10)
    expect(server.writes).toBeLessThan(12)
    await backend.close()
  })

  it('J3, J8: puts everything out once, whatever is refused or lost on its way, and goes on after each restart', async () => {
    const random = seededRandom(20_261_127)
    const length = runs(3_000, 200)
    const failures = runs(60, 4)
    let failed = 0
    for (let i = 0; i <= failures; i++) {
      const backend = new ToyBackend(server)
      if (i < failures) {
        const fault = random() < 0.5 ? 'refused' : 'answer lost'
        server.faults.push(...Array<undefined>(1 + Math.floor(random() * 4)), fault)
      }
      const job = await runJob({
        ...visiting,
        source: arraySource(clicks(length)),
        sink: sink(),
        backend,
        maxPollEvents: 7,
        flushIntervalMs: 1,
      }).catch(() => undefined)
      const outcome = await job?.finished.then(
        () => 'done',
        () => 'failed',
      )
      if (outcome !== 'done') failed++
      server.faults.length = 0
      await backend.close()
      if (outcome === 'done') break
    }
    expect(failed).toBe(failures)
    expect(await lines()).toEqual(await expectedOf(length))
  })

  it('J4: an outbox lies in it until it was delivered: each output at least once, under an id that stays, whatever fails', async () => {
    const random = seededRandom(20_261_128)
    const length = runs(3_000, 200)
    const failures = runs(60, 6)
    const delivered = new Map<string, string>()
    let failed = 0
    for (let i = 0; i <= failures; i++) {
      const backend = new ToyBackend(server)
      let untilFault = Infinity
      if (i < failures) {
        if (i % 3 === 2) untilFault = 1 + Math.floor(random() * 3)
        else {
          const fault = random() < 0.5 ? 'refused' : 'answer lost'
          server.faults.push(...Array<undefined>(1 + Math.floor(random() * 6)), fault)
        }
      }
      const deliver = (outputs: readonly { readonly id: string; readonly output: string }[]) => {
        for (const { id, output } of outputs) {
          expect(delivered.get(id) ?? output).toBe(output)
          delivered.set(id, output)
        }
        if (--untilFault === 0) throw new Error('nobody answers')
      }
      const job = await runJob({
        ...visiting,
        source: arraySource(clicks(length)),
        sink: outboxSink<string>({ deliver, maxOutputs: 3 }),
        backend,
        maxPollEvents: 7,
        flushIntervalMs: 1,
      }).catch(() => undefined)
      const outcome = await job?.finished.then(
        () => 'done',
        () => 'failed',
      )
      if (outcome !== 'done') failed++
      server.faults.length = 0
      await backend.close()
      if (outcome === 'done') break
    }
    expect(failed).toBeGreaterThan(1)
    expect([...delivered.values()]).toEqual(await expectedOf(length))
    expect([...server.rows.keys()].filter((key) => key.includes('sink'))).toEqual([])
  })

  it('J1: windows and sessions lie in its cuts, and go on after a restart', async () => {
    const job = defineJob<Click, string>()({
      ...common,
      schema: defineState({ key: utf8, states: {} }),
      windows: {
        perSecond: windowed({
          windows: tumbling({ sizeMs: 1_000 }),
          aggregate: sum(({ at }: Click) => at),
          output: ({ key, window, value: total }) => `${key} ${window.startMs} ${total}`,
        }),
        sessions: windowed({
          windows: session({ gapMs: 135 }),
          aggregate: count(),
          output: ({ key, window, value: times }) => `${key} ${window.startMs}-${window.endMs} ${times}`,
        }),
      },
    })
    const { testJob } = await import('../testing/job-test.js')
    const { outputs } = await testJob(job, clicks(400))
    for (const length of [130, 290, 400]) {
      const backend = new ToyBackend(server)
      const source = arraySource(clicks(400).slice(0, length))
      const open = source.open.bind(source)
      const bounded = length < 400
      const running = await runJob({
        ...job,
        // One that waits at its end, to be stopped there.
        source: bounded
          ? { ...source, open: async (options) => waitingAtTheEnd(await open(options)) }
          : source,
        sink: sink(),
        backend,
        maxPollEvents: 50,
      })
      if (bounded) {
        await expect.poll(() => running.stats().positions['0']).toBe(length)
        await running.stop()
      } else {
        await running.finished
      }
      await backend.close()
    }
    expect(await lines()).toEqual([...outputs])
  })

  it('J10: is fenced by another one that has written since: nothing of it is kept', async () => {
    const first = new ToyBackend(server)
    let letGo = () => {}
    const held = new Promise<void>((resolve) => {
      letGo = resolve
    })
    async function* slowly(): AsyncGenerator<readonly [Click, number]> {
      for (const [i, click] of clicks(20).entries()) {
        if (i === 10) await held
        yield [click, i + 1]
      }
    }
    const { iterableSource } = await import('./source/iterable-source.js')
    const slow = await runJob({
      ...visiting,
      source: iterableSource({ from: slowly }),
      sink: functionSink({ write: () => {} }),
      backend: first,
    })
    await expect.poll(() => slow.stats().events).toBe(10)
    const second = new ToyBackend(server)
    const other = await runJob({
      ...visiting,
      source: arraySource(clicks(20)),
      sink: sink(),
      backend: second,
    })
    await other.finished
    const rows = new Map(server.rows)
    letGo()
    await expect(slow.finished).rejects.toMatchObject({ code: 'FENCED' })
    expect(server.rows).toEqual(rows)
  })

  it('a bad event is skipped, and nothing of it is kept', async () => {
    const backend = new ToyBackend(server)
    const schema = defineState({ key: utf8, states: { total: value(uint32, { default: () => 0 }) } })
    const job = await runJob<Click, typeof schema>({
      ...common,
      schema,
      process: (click, { state }) => state.total.update((total) => (click.at === 50 ? -1 : total + 1)),
      onBadEvent: 'skip',
      source: arraySource(clicks(26)),
      backend,
    })
    await job.finished
    expect(job.stats()).toMatchObject({ events: 25, badEvents: 1 })
    expect(await job.store.total.get('user 9')).toBe(1)
    await backend.close()
  })

  it('whoever swallows what tells the job that an entry is missing changes nothing', async () => {
    const backend = new ToyBackend(server)
    const schema = defineState({ key: utf8, states: { pages: map(utf8, uint32) } })
    const job = await runJob<Click, typeof schema, number>({
      ...common,
      schema,
      process: ({ page }, { state, emit }) => {
        let before = -1
        try {
          before = state.pages.get(page) ?? 0
          state.pages.put(page, before + 1)
        } catch {}
        emit(before)
      },
      source: arraySource(clicks(30)),
      sink: ndjsonFileSink<number>({ path: join(folder, 'swallowed.ndjson') }),
      backend,
    })
    await job.finished
    expect(await lines('swallowed.ndjson')).toEqual(Array<number>(30).fill(0))
    await backend.close()
  })

  it('what it lacks is refused when the job starts', async () => {
    const schema = defineState({
      key: utf8,
      states: { seen: value(uint32, { ttl: { afterMs: 1_000, time: 'event' } }) },
    })
    const options = { ...common, process: () => {}, source: arraySource<Click>([]) }
    const start = (more: object) => runJob({ ...options, ...more } as never)
    const backend = new ToyBackend(server)
    await expect(start({ schema, backend })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining("must not live by event time on 'toy'"),
    })
    const forgetful = new ToyBackend(server, { durable: false })
    await expect(start({ schema: visits, backend: forgetful })).rejects.toThrow(/keeps nothing/)
    const checkpoints = { storage: new MemoryCheckpointStorage() }
    await expect(start({ schema: visits, backend, checkpoints })).rejects.toThrow(/snapshots/)
  })
})

/** A reader that has nothing more where another one ends. */
function waitingAtTheEnd<Reader extends { poll: (request: never) => Promise<readonly object[]> }>(
  reader: Reader,
): Reader {
  return new Proxy(reader, {
    get: (target, name) => {
      const member = Reflect.get(target, name) as unknown
      if (name !== 'poll') return typeof member === 'function' ? member.bind(target) : member
      return async (request: never) =>
        (await target.poll(request)).map((each) => ({ ...each, hasEnded: false }))
    },
  })
}
