import { describe, expect, it } from 'vitest'
import { RemoteServer, ToyBackend } from '../../test/support/remote-engine.js'
import type { StateBackend, SyncStateBackend } from '../backend/state-backend.js'
import { systemClock } from '../base/clock.js'
import type { JsonValue } from '../base/json.js'
import { Mutex } from '../base/mutex.js'
import { nextTurn } from '../base/slices.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { ManualClock } from '../testing/manual-clock.js'
import { cutToJson, type JobCut } from './cut.js'
import type { CutSubject } from './cuts.js'
import { RECORD_KEY } from './recorded-cut.js'
import { StoredCuts } from './stored-cuts.js'

const bytes = (text: string) => new Uint8Array(Buffer.from(text))

/** Cuts in a store that takes each write of theirs only when it is let go: it may be one of an attempt that was given up. */
function heldCuts(engine: StateBackend) {
  let writes = 0
  let letGo = () => {}
  const released = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const write: StateBackend['write'] = async (batch) => {
    writes++
    await released
    await engine.write(batch)
  }
  const held = new Proxy(engine, {
    get: (target, name) => {
      if (name === 'write') return write
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  // Only what the engine is asked matters here.
  const backend = new MemoryStateBackend()
  const cuts = new StoredCuts({
    backend,
    engine: held,
    jobName: 'job',
    intervalMs: 1_000,
    clock: systemClock,
  })
  return { cuts, letGo, writes: () => writes }
}

describe.each([
  ['asynchronous', () => new ToyBackend(new RemoteServer())],
  ['synchronous', () => new MemoryStateBackend()],
])('the look at who owns a store, on an %s engine', (kind, open) => {
  it.each([undefined, 'before'])(
    'leaves a record that the job writes meanwhile, and ends (there was: %s)',
    async (before) => {
      const engine: StateBackend = open()
      if (before !== undefined) await engine.put(RECORD_KEY, bytes(before))
      const { cuts, letGo, writes } = heldCuts(engine)
      const looking = cuts.checkOwner()
      await engine.put(RECORD_KEY, bytes('behind'))
      letGo()
      await looking
      expect(await engine.get(RECORD_KEY)).toEqual(bytes('behind'))
      expect(await engine.count()).toBe(1)
      // However often the job writes, it is asked once.
      expect(writes()).toBe(kind === 'asynchronous' ? 1 : 0)
      await engine.close()
    },
  )
})

describe('the outbox', () => {
  const clock = new ManualClock()
  const cut: JobCut = {
    name: 'job',
    epoch: { lineage: 'a', number: 0 },
    positions: {},
    time: undefined,
    clockMs: undefined,
    prepared: [],
    outbox: { first: 0, next: 0 },
  }
  const openCuts = (backend: SyncStateBackend) =>
    new StoredCuts<JsonValue>({ backend, engine: backend, jobName: 'job', intervalMs: 10, clock })
  /** Puts outputs out in one step, as a job that dies then. */
  const putOut = async (cuts: StoredCuts<JsonValue>, backend: SyncStateBackend, outputs: JsonValue[]) => {
    await cuts.begin(subjectOf(cuts, []))
    cuts.record((key, value) => backend.putSync(key, value), outputs)
    await cuts.abandon()
  }
  const subjectOf = (cuts: StoredCuts<JsonValue>, delivered: unknown[]): CutSubject => ({
    mutex: new Mutex(),
    capture: () => ({ ...cut, outbox: cuts.outbox }),
    record: async () => {},
    prepare: async () => {},
    noteCut: () => {},
    onSafe: async () => {},
    tellSource: async () => {},
    onCutFailed: () => {},
    waitFor: (_call, begin) => begin(),
    deliver: async (outputs) => void delivered.push(...outputs),
    onFailure: (error) => expect.fail(String(error)),
  })
  /** What a job that begins with the store gives to its sink. */
  const deliver = async (backend: SyncStateBackend) => {
    const delivered: unknown[] = []
    const cuts = openCuts(backend)
    await cuts.restore()
    cuts.deliverToSink()
    await cuts.begin(subjectOf(cuts, delivered))
    await cuts.finish()
    return delivered
  }
  const putSingle = (backend: SyncStateBackend, number: number, output: JsonValue) =>
    backend.putSync(
      Uint8Array.of(0xff, 0xff, ...Buffer.from('out'), 0, 0, 0, 0, 0, 0, 0, number),
      Buffer.from(JSON.stringify(output)),
    )
  const putRecord = (backend: SyncStateBackend, first: number, next: number) =>
    backend.putSync(RECORD_KEY, Buffer.from(JSON.stringify(cutToJson({ ...cut, outbox: { first, next } }))))

  it('gives all outputs once, in order, to the process that comes next: many small ones of an entry, and large ones', async () => {
    await using backend = new MemoryStateBackend()
    const outputs = Array.from({ length: 3_000 }, (_, i) => ({
      i,
      text: 'x'.repeat(i % 500 === 7 ? 9_000 : 5),
    }))
    const cuts = openCuts(backend)
    await putOut(cuts, backend, outputs.slice(0, 2_000))
    await putOut(cuts, backend, outputs.slice(2_000))
    expect(await backend.count()).toBeLessThan(40)
    expect(await deliver(backend)).toEqual(outputs)
    expect(await backend.count(), 'the record alone').toBe(1)
    expect(await deliver(backend)).toEqual([])
  })

  it('gives what an earlier version has left, an output in each entry, and what comes behind it', async () => {
    await using backend = new MemoryStateBackend()
    const left = [[1], 'two', null]
    for (const [i, output] of left.entries()) putSingle(backend, i + 7, output)
    backend.putSync(
      RECORD_KEY,
      Buffer.from(JSON.stringify({ ...(cutToJson(cut) as object), outbox: { first: 7, next: 10 } })),
    )
    const cuts = openCuts(backend)
    await cuts.restore()
    await putOut(cuts, backend, [[4], 5])
    expect(await deliver(backend)).toEqual([...left, [4], 5])
    expect(await backend.count(), 'the record alone').toBe(1)
  })

  it.each([
    ['lacks outputs', (backend: SyncStateBackend) => putRecord(backend, 0, 5)],
    ['has more than it is said to have', (backend: SyncStateBackend) => putRecord(backend, 0, 2)],
    ['begins elsewhere', (backend: SyncStateBackend) => putRecord(backend, 1, 3)],
  ])('is CORRUPTION where it %s', async (_how, damage) => {
    await using backend = new MemoryStateBackend()
    await putOut(openCuts(backend), backend, [1, 2, 3])
    damage(backend)
    await expect(openCuts(backend).restore()).rejects.toThrow(expect.objectContaining({ code: 'CORRUPTION' }))
  })

  it('is not taken for empty by versions that know of one output in an entry alone', async () => {
    expect(cutToJson({ ...cut, outbox: { first: 0, next: 1 } })).toMatchObject({ job: 2 })
    expect(cutToJson(cut)).toMatchObject({ job: 1 })
  })

  it.each([
    ['a flush takes longer than the interval', 30],
    ['the clock jumps ahead meanwhile', 3_600_000],
  ])('is looked at once in each interval while nothing is written, after %s', async (_, tookMs) => {
    await using backend = new MemoryStateBackend()
    const cuts = openCuts(backend)
    let isSlow = true
    let looks = 0
    const { flush } = backend
    backend.flush = async () => {
      if (isSlow) clock.advance(tookMs)
      isSlow = false
      await flush.call(backend)
    }
    await cuts.begin({ ...subjectOf(cuts, []), record: async () => void looks++ })
    cuts.record((key, value) => backend.putSync(key, value), [])
    for (let ms = 0; ms < 100; ms++) {
      clock.advance(1)
      await nextTurn()
    }
    await cuts.abandon()
    // At most one more comes at once, behind the one that took so long.
    expect(looks).toBeLessThanOrEqual(12)
    expect(isSlow).toBe(false)
  })
})
