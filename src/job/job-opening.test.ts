import { afterAll, describe, expect, it } from 'vitest'
import { StateError } from '../base/errors.js'
import { nextTurn } from '../base/slices.js'
import { CheckpointWorker } from '../checkpoint/worker/checkpoint-worker.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import type { JobCut } from './cut.js'
import type { Cuts, RestoreCutOptions, RestoredCut } from './cuts.js'
import { JobOpening } from './job-opening.js'
import { runJob } from './run-job.js'
import type { ClaimedSink, Sink, SinkState } from './sink/sink.js'
import type { Positions, Source, SourceReader } from './source/source.js'

const worker = new CheckpointWorker()
afterAll(() => worker.close())

const cutAt = (n: number): JobCut => ({
  name: 'job',
  epoch: { lineage: 'l', number: n },
  positions: { p: n },
  time: undefined,
  clockMs: undefined,
  prepared: [{ epoch: { lineage: 'l', number: n - 1 }, token: null }],
  outbox: { first: 0, next: 0 },
})
const state: SinkState = { put: () => {}, read: () => [], removeFrom: () => {} }
const startAt = (cut: JobCut | undefined) => ({
  jobName: 'job',
  cut,
  epoch: { lineage: 'l', number: 9 },
  state,
})

/** A call that ends when the test says so, or, with `ABORTED`, once its signal has fired. */
class Gate {
  #end: (error?: unknown) => void = () => {}
  readonly passed: Promise<void>

  constructor() {
    this.passed = new Promise((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error))
    })
    this.passed.catch(() => {})
  }

  open(): void {
    this.#end()
  }

  fail(error: unknown): void {
    this.#end(error)
  }

  async wait(signal: AbortSignal | undefined): Promise<void> {
    const abort = () => this.#end(new StateError('ABORTED', { operation: 'a call' }))
    if (signal?.aborted === true) abort()
    signal?.addEventListener('abort', abort)
    await this.passed
  }
}

/** A source, a sink and a restore whose calls end when the test says so; what happens is told in order. */
function parts({ opensAhead = true } = {}) {
  const told: string[] = []
  const gates = new Map<string, Gate>()
  const gate = (name: string): Gate => {
    const found = gates.get(name) ?? new Gate()
    gates.set(name, found)
    return found
  }
  const pass = async (name: string, signal?: AbortSignal) => {
    told.push(name)
    try {
      await gate(name).wait(signal)
    } catch (error) {
      told.push(`${name} failed`)
      throw error
    }
    told.push(`${name} done`)
  }
  const source: Source<number> = {
    name: 'source',
    opensAhead,
    open: async ({ positions, signal }) => {
      const name = `read ${String(positions['p'])}`
      await pass(name, signal)
      return { close: async () => void told.push(`${name} closed`) } as SourceReader<number>
    },
  }
  const claimed: ClaimedSink<number> = {
    open: async ({ prepared, signal }) => {
      await pass(`write after ${prepared.map(({ epoch }) => epoch.number).join()}`, signal)
      const close = async () => void told.push('writer closed')
      return { write: async () => {}, prepare: async () => null, commit: async () => {}, close }
    },
    close: async () => void told.push('claim closed'),
  }
  const sink: Sink<number> = {
    name: 'sink',
    guarantee: 'transactional',
    open: () => Promise.reject(new Error('it was claimed')),
    claim: async ({ signal }) => {
      await pass('claim', signal)
      return claimed
    },
  }
  let onCut: RestoreCutOptions['onCut'] = () => {}
  let restored: RestoredCut = { cut: undefined, isNewest: true }
  const cuts = {
    acquire: async () => {},
    restore: async (_name: string, options: RestoreCutOptions) => {
      onCut = options.onCut
      await pass('restore', options.signal)
      return restored
    },
  } as Partial<Cuts> as Cuts
  return {
    told,
    gate,
    opening: new JobOpening(source, sink),
    cuts,
    /** The next call of that name waits anew. */
    forget: (name: string) => gates.delete(name),
    begin: (cut: JobCut) => {
      restored = { cut, isNewest: true }
      onCut(cut)
    },
  }
}

const settled = async (told: string[]) => {
  for (let turn = 0; turn < 10; turn++) await nextTurn()
  return told.splice(0)
}

describe('what a job opens while its state is restored', () => {
  it('is its source, where the cut stands, and its sink as far as that needs no state', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    expect(await settled(told)).toEqual(['claim', 'restore'])
    begin(cutAt(5))
    expect(await settled(told)).toEqual(['read 5'])
    gate('claim').open()
    gate('read 5').open()
    expect(await settled(told)).toEqual(['claim done', 'read 5 done'])
    gate('restore').open()
    const { cut } = await restoring
    const opened = opening.open(startAt(cut))
    expect(await settled(told)).toEqual(['restore done', 'write after 4'])
    gate('write after 4').open()
    expect((await opened).outputs?.epoch).toEqual({ lineage: 'l', number: 9 })
    expect(await settled(told)).toEqual(['write after 4 done'])
  })

  it('is not a source that does not allow it: that is opened once the state is there', async () => {
    const { told, gate, opening, cuts, begin } = parts({ opensAhead: false })
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    gate('claim').open()
    gate('restore').open()
    const { cut } = await restoring
    await settled(told)
    const opened = opening.open(startAt(cut))
    expect(await settled(told)).toEqual(['read 5'])
    gate('write after 4').open()
    gate('read 5').open()
    await opened
  })

  it('J3: a sink is told what counts only when its claim and the state are there', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    gate('restore').open()
    const { cut } = await restoring
    const opened = opening.open(startAt(cut))
    gate('read 5').open()
    expect(await settled(told)).toEqual(['claim', 'restore', 'read 5', 'restore done', 'read 5 done'])
    gate('claim').open()
    expect(await settled(told)).toEqual(['claim done', 'write after 4'])
    gate('write after 4').open()
    await opened
  })

  it('J1: a reader at a cut that cannot be read after all is closed before another one is opened', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    gate('read 5').open()
    await settled(told)
    begin(cutAt(4))
    expect(await settled(told)).toEqual(['read 5 closed', 'read 4'])
    // One that is still on its way is given up.
    begin(cutAt(3))
    expect(await settled(told)).toEqual(['read 4 failed', 'read 3'])
    for (const name of ['read 3', 'claim', 'restore', 'write after 2']) gate(name).open()
    await opening.open(startAt((await restoring).cut))
    expect(told).not.toContain('read 3 closed')
  })

  it('J1: a reader that is open is used only where the job begins', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    for (const name of ['read 5', 'claim', 'restore', 'read 3', 'write after 2']) gate(name).open()
    await restoring
    await opening.open(startAt(cutAt(3)))
    expect(told).toEqual(expect.arrayContaining(['read 5 closed', 'read 3 done']))
    expect(told).not.toContain('read 3 closed')
  })

  it('J6: that a source cannot go on at a cut that is passed over is no failure', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    gate('read 5').fail(new Error('not there any more'))
    await settled(told)
    begin(cutAt(4))
    for (const name of ['read 4', 'claim', 'restore', 'write after 3']) gate(name).open()
    await expect(opening.open(startAt((await restoring).cut))).resolves.toBeDefined()
  })

  it('is opened anew where that has failed before the state was there: what it reads from may be back', async () => {
    const { told, gate, opening, cuts, begin, forget } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    gate('read 5').fail(new Error('no broker has answered for a minute'))
    await settled(told)
    forget('read 5')
    for (const name of ['read 5', 'claim', 'restore', 'write after 4']) gate(name).open()
    await expect(opening.open(startAt((await restoring).cut))).resolves.toBeDefined()
    expect(told).toContain('read 5 done')
  })

  it('J6: that it cannot go on at the cut of the job ends the begin, and everything is closed', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    const gone = new Error('not there any more')
    gate('read 5').fail(gone)
    for (const name of ['claim', 'restore']) gate(name).open()
    const { cut } = await restoring
    await expect(opening.open(startAt(cut))).rejects.toMatchObject({
      code: 'JOB_FAILED',
      details: { job: 'job', reason: 'the source could not be opened: not there any more' },
      cause: gone,
    })
    await settled(told)
    expect(await opening.abandon(gone)).toBe(gone)
    expect(told).toEqual(['claim closed'])
  })

  it('a claim that fails gives the restore up, and it is its error that is told', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    gate('read 5').open()
    await settled(told)
    const refused = new Error('not allowed')
    gate('claim').fail(refused)
    const error = await restoring.catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ABORTED' })
    expect(await opening.abandon(error)).toMatchObject({
      code: 'JOB_FAILED',
      details: { job: 'job', reason: 'the sink could not be opened: not allowed' },
      cause: refused,
    })
    expect(told).toEqual(['claim failed', 'restore failed', 'read 5 closed'])
  })

  it('a restore that fails gives up the others, and waits until they have let go of everything', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    await settled(told)
    const damaged = new Error('damaged')
    gate('restore').fail(damaged)
    await expect(restoring).rejects.toBe(damaged)
    expect(await opening.abandon(damaged)).toBe(damaged)
    expect(told).toEqual(['restore failed', 'claim failed', 'read 5 failed'])
  })

  it('what is open when the restore fails is closed', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    for (const name of ['claim', 'read 5']) gate(name).open()
    await settled(told)
    gate('restore').fail(new Error('damaged'))
    await restoring.catch((error: unknown) => opening.abandon(error))
    expect(told).toEqual(['restore failed', 'claim closed', 'read 5 closed'])
  })

  it('J3: a sink that cannot be opened ends the begin, and everything is closed', async () => {
    const { told, gate, opening, cuts, begin } = parts()
    const restoring = opening.restore(cuts, 'job')
    begin(cutAt(5))
    for (const name of ['claim', 'read 5', 'restore']) gate(name).open()
    const { cut } = await restoring
    await settled(told)
    const lost = new StateError('RESTORE_FAILED', {
      checkpointId: undefined,
      reason: 'outputs are lost',
      skipped: [],
    })
    gate('write after 4').fail(lost)
    await expect(opening.open(startAt(cut))).rejects.toBe(lost)
    expect(await opening.abandon(lost)).toBe(lost)
    expect(await settled(told)).toEqual(expect.arrayContaining(['read 5 closed', 'claim closed']))
  })
})

describe('a job whose source is opened ahead', () => {
  const schema = defineState({ key: utf8, states: { sum: value(uint32, { default: () => 0 }) } })

  /** Numbers from a position on; tells where it was opened and closed. */
  function numbers(told: string[], until: number): Source<number> {
    return {
      name: 'numbers',
      opensAhead: true,
      open: async ({ positions }: { readonly positions: Positions }) => {
        const from = Number(positions['p'] ?? 0)
        told.push(`opened at ${from}`)
        let next = from
        return {
          partitions: () => ['p'],
          poll: async () => {
            await nextTurn()
            const first = next
            const events = Array.from({ length: until - first }, (_, i) => first + i)
            next = until
            return [
              {
                partition: 'p',
                events,
                positionAfter: (place) => first + place + 1,
                hasEnded: true as const,
              },
            ]
          },
          close: async () => void told.push(`closed at ${next}`),
        }
      },
    }
  }

  const run = async (storage: MemoryCheckpointStorage, source: Source<number>, sink?: Sink<number>) => {
    const job = await runJob<number, typeof schema, number>({
      name: 'sums',
      source,
      key: () => 'all',
      schema,
      process: (event, { state: { sum }, emit }) => {
        sum.update((before) => before + event)
        if (sink !== undefined) emit(sum.get())
      },
      ...(sink !== undefined && { sink }),
      backend: new MemoryStateBackend(),
      checkpoints: { storage, worker, intervalMs: 60_000, incremental: false },
    })
    await job.finished
    return job.store.sum.get('all')
  }

  it('J1, J2: goes on from the older cut where the newest one is damaged, and reads from there', async () => {
    const storage = new MemoryCheckpointStorage()
    const told: string[] = []
    await run(storage, numbers(told, 3))
    await run(storage, numbers(told, 5))
    const segments = (await storage.list()).filter(({ name }) => name.includes('segment'))
    const newest = segments.toSorted((left, right) => (left.name < right.name ? 1 : -1))[0]
    storage.tamper(newest?.name ?? '', new Uint8Array(newest?.sizeBytes ?? 0))
    told.length = 0
    expect(await run(storage, numbers(told, 6))).toBe(15)
    expect(told).toEqual(['opened at 5', 'closed at 5', 'opened at 3', 'closed at 6'])
  })
})
