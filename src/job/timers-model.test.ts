import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { modelRuns, runs } from '../../test/support/long.js'
import { onRandomRuns } from '../../test/support/random-runs.js'
import { runThrough } from '../base/slices.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { boundStatesOf, openStateOf, StateStore } from '../state/store.js'
import { JobTest } from '../testing/job-test.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { KeptTimers } from '../window/timers/kept-timers.js'
import { timerStates, withTimers } from '../window/timers/timer-states.js'
import { defineJob } from './define-job.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { iterableSource } from './source/iterable-source.js'

interface Step {
  readonly key: string
  readonly at: number
  readonly action: 'set' | 'delete' | 'move'
  readonly timer: readonly [timestampMs: number, name: string]
}

const schema = defineState({ key: utf8, states: { moved: value(uint32, { default: () => 0 }) } })

const job = defineJob<Step, string>()({
  name: 'timers',
  key: ({ key }) => key,
  timestamp: ({ at }) => at,
  time: { watermarks: ascending() },
  schema,
  process({ action, timer: [timestampMs, name] }, { timers, state }) {
    if (action !== 'delete') timers.event.set(timestampMs, name)
    if (action === 'delete') timers.event.delete(timestampMs, name)
    // As a session that goes on does.
    if (action === 'move') {
      timers.event.delete(state.moved.get(), 'moved')
      state.moved.put(timestampMs)
      timers.event.set(timestampMs, 'moved')
    }
  },
  onTimer({ timestampMs, name }, { key, timers, emit }) {
    emit(`${key} ${timestampMs} ${name}`)
    if (name === 'b') timers.event.set(timestampMs + 7, 'c')
  },
})

/** The same, as simply as it can be said. */
class Model {
  readonly outputs: string[] = []
  readonly #timers = new Map<string, { key: string; timestampMs: number; name: string }>()
  readonly #moved = new Map<string, number>()
  #watermarkMs = -Infinity

  step({ key, at, action, timer: [timestampMs, name] }: Step): void {
    if (action === 'delete') this.#timers.delete(`${key} ${timestampMs} ${name}`)
    else this.#set(key, timestampMs, name)
    if (action === 'move') {
      this.#timers.delete(`${key} ${this.#moved.get(key) ?? 0} moved`)
      this.#moved.set(key, timestampMs)
      this.#set(key, timestampMs, 'moved')
    }
    this.advance(at - 1)
  }

  advance(watermarkMs: number): void {
    if (watermarkMs <= this.#watermarkMs) return
    this.#watermarkMs = watermarkMs
    this.fire()
  }

  fire(): void {
    for (;;) {
      const due = Array.from(this.#timers.values()).filter(
        ({ timestampMs }) => timestampMs <= this.#watermarkMs,
      )
      due.sort((a, b) => a.timestampMs - b.timestampMs || compare(a.key, b.key) || compare(a.name, b.name))
      const [first] = due
      if (first === undefined) return
      const { key, timestampMs, name } = first
      this.#timers.delete(`${key} ${timestampMs} ${name}`)
      this.outputs.push(`${key} ${timestampMs} ${name}`)
      if (name === 'b') this.#set(key, timestampMs + 7, 'c')
    }
  }

  #set(key: string, timestampMs: number, name: string): void {
    this.#timers.set(`${key} ${timestampMs} ${name}`, { key, timestampMs, name })
  }
}

const compare = (left: string, right: string): number => Buffer.compare(Buffer.from(left), Buffer.from(right))

const steps = fc.array(
  fc.record({
    key: fc.constantFrom('', 'a', 'b', 'bb', 'é'),
    afterMs: fc.constantFrom(0, 0, 1, 2, 30),
    action: fc.constantFrom('set' as const, 'set' as const, 'delete' as const, 'move' as const),
    timer: fc.tuple(fc.integer({ min: -20, max: 20 }), fc.constantFrom('', 'a', 'b')),
    restarts: fc.constantFrom(false, false, false, false, true),
  }),
  { maxLength: 30 },
)

describe('timers', () => {
  it('R1 to R5: fire as a sorted list of them would, whenever the job is started anew', async () => {
    await onRandomRuns(
      fc.asyncProperty(steps, async (all) => {
        const model = new Model()
        await using test = await JobTest.start(job)
        let at = 1_000
        for (const { afterMs, restarts, timer, ...rest } of all) {
          at += afterMs
          const step: Step = { ...rest, at, timer: [at + timer[0], timer[1]] }
          await test.send(step)
          model.step(step)
          if (restarts) {
            await test.restart()
            model.fire()
          }
          expect(test.outputs).toEqual(model.outputs)
        }
        await test.end()
        model.advance(Infinity)
        expect(test.outputs).toEqual(model.outputs)
      }),
      { runs: modelRuns(2_000, 20) },
    )
  })
})

describe('timers on the engine that persists', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-timers-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  it('R5, R7, J1: go on in the next run, each once, in one step with what their events wrote', async () => {
    const outputs: string[] = []
    const all: Step[] = Array.from({ length: 300 }, (_, i) => ({
      key: `k${i % 7}`,
      at: i * 3,
      action: i % 5 === 4 ? 'move' : 'set',
      timer: [i * 3 + ((i * 17) % 50), i % 2 === 0 ? 'b' : 'x'],
    }))
    const model = new Model()
    for (const step of all) model.step(step)
    model.advance(Infinity)
    for (const until of [50, 51, 120, 300]) {
      const backend = await LmdbStateBackend.open({ path: join(folder, 'store') })
      const running = await runJob({
        ...job,
        source: iterableSource<Step>({
          async *from(position = 0) {
            for (let i = Number(position); i < until; i++) yield [all[i] as Step, i + 1] as const
            if (until < all.length) await new Promise(() => {})
          },
        }),
        sink: functionSink<string>({
          write: (some) => void outputs.push(...some.map(({ output }) => output)),
        }),
        backend,
        flushIntervalMs: 5,
        // The watermark of the model goes on with each event.
        maxPollEvents: 1,
      })
      if (until < all.length) {
        await expect.poll(() => running.stats().positions['0']).toBe(until)
        await running.stop()
      } else {
        await running.finished
      }
      await backend.close()
    }
    expect(outputs).toEqual(model.outputs)
  })
})

describe('many timers', () => {
  it('are found in a store that is opened, in slices', async () => {
    const count = runs(1_000_000, 20_000)
    const backend = new MemoryStateBackend()
    const open = async () => {
      const store = await StateStore.open(backend, withTimers(schema))
      const { key } = boundStatesOf<typeof schema, 'sync'>(store)
      return { key, timers: new KeptTimers({ state: openStateOf(store, timerStates.event), key }) }
    }
    const before = await open()
    for (let i = 0; i < count; i++) {
      before.key.set(`user-${i}`)
      before.timers.set((i * 7_919) % 1_000_003, '')
    }
    const heapBefore = process.memoryUsage().heapUsed
    const { key, timers } = await open()
    let turns = 0
    const counting = setInterval(() => turns++, 1)
    await timers.load()
    clearInterval(counting)
    expect(timers.size).toBe(count)
    if (count === 1_000_000) {
      expect(turns).toBeGreaterThan(10)
      // They lie outside of the JavaScript heap.
      expect(process.memoryUsage().heapUsed - heapBefore).toBeLessThan(150 * 2 ** 20)
    }
    const firing = runThrough(timers.fire(Infinity, true))
    let lastMs = -1
    let inOrder = 0
    while (firing.next()) {
      const { current } = firing
      const isSet = timers.take(timers.show(current))
      if (current.dueMs >= lastMs && isSet === true && String(key.key).startsWith('user-')) inOrder++
      lastMs = current.dueMs
    }
    expect(inOrder).toBe(count)
    expect(await backend.listKeys(Uint8Array.of(0))).toHaveLength(0)
    await backend.close()
  })

  it('are in memory in a constant factor of those that are alive, however often they are moved', async () => {
    const backend = new MemoryStateBackend()
    const store = await StateStore.open(backend, withTimers(schema))
    const { key } = boundStatesOf<typeof schema, 'sync'>(store)
    const timers = new KeptTimers({ state: openStateOf(store, timerStates.event), key })
    key.set('a')
    for (let i = 1; i <= 100_000; i++) {
      timers.delete(i - 1, '')
      timers.set(i, '')
    }
    expect(timers.wantsLoad).toBe(true)
    await timers.load()
    expect(timers.size).toBe(1)
    expect(timers.wantsLoad).toBe(false)
    await backend.close()
  })
})
