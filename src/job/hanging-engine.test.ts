import { describe, expect, it } from 'vitest'
import { RemoteServer, ToyBackend } from '../../test/support/remote-engine.js'
import type { StateBackend } from '../backend/state-backend.js'
import { nextTurn } from '../base/slices.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import type { CheckpointStorage } from '../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { runJob } from './run-job.js'
import { arraySource } from './source/iterable-source.js'

const EVENTS = 300
const never = () => new Promise<never>(() => {})

/** The same, but for one call that answers no more once it is to hang. */
function hanging<Of extends object>(of: Of, call: string, answer: () => unknown = never) {
  let hangs = false
  let note = () => {}
  const met = new Promise<void>((resolve) => {
    note = resolve
  })
  const proxy = new Proxy(of, {
    get: (target, name) => {
      const found: unknown = Reflect.get(target, name)
      if (typeof found !== 'function') return found
      if (name !== call) return found.bind(target)
      return (...args: readonly unknown[]) => {
        if (!hangs) return found.apply(target, args)
        note()
        return answer()
      }
    },
  })
  return { proxy, met, begin: () => void (hangs = true) }
}

const counts = {
  name: 'counts',
  source: arraySource(Array.from({ length: EVENTS }, (_, i) => i)),
  key: (n: number) => `key ${n}`,
  schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
  maxPollEvents: 50,
} as const

const calls = [
  ['getMany', 'the engine to read'],
  ['write', 'the engine to write'],
  ['flush', 'the engine to make its state durable'],
] as const

describe('J9: a job whose engine does not answer', () => {
  it.each(calls)('says so, and ends in time: %s', async (hangs, call) => {
    const server = new RemoteServer()
    const engine: StateBackend = new ToyBackend(server)
    const { proxy, met, begin } = hanging(engine, hangs)
    let isFirst = true
    const start = (backend: StateBackend) =>
      runJob({
        ...counts,
        backend,
        flushIntervalMs: 1,
        stallAfterMs: 1,
        process: (_, { state }) => {
          if (isFirst) begin()
          state.count.update((count) => count + 1)
        },
      })
    const job = await start(proxy)
    await met
    // Another call may take a millisecond as well.
    while (job.health().stalled?.call !== call && job.health().state === 'running') await nextTurn()
    expect(job.health()).toMatchObject({ isHealthy: false, stalled: { call } })
    await expect(job.stop({ timeoutMs: 1 })).rejects.toMatchObject({
      code: 'JOB_FAILED',
      message: expect.stringContaining(call),
    })
    // The next run goes on from what is there, and counts every event once.
    isFirst = false
    const next = await start(new ToyBackend(server))
    await next.finished
    for (let n = 0; n < EVENTS; n++) expect(await next.store.count.get(`key ${n}`)).toBe(1)
  })

  it('ends in time while its timers are fetched', async () => {
    const { proxy, met, begin } = hanging<StateBackend>(new ToyBackend(new RemoteServer()), 'scan', () => ({
      [Symbol.asyncIterator]: () => ({ next: never }),
    }))
    const job = await runJob({
      ...counts,
      // It is read last, once everything else is there.
      source: { ...counts.source, open: async (options) => (begin(), await counts.source.open(options)) },
      backend: proxy,
      process: () => {},
      onTimer: () => {},
    })
    await met
    await expect(job.stop({ timeoutMs: 1 })).rejects.toMatchObject({
      code: 'JOB_FAILED',
      message: expect.stringContaining('the engine to scan'),
    })
  })

  it('ends in time where its first checkpoint hangs', async () => {
    const owned = new MemoryCheckpointStorage()
    const { proxy: lease, met, begin } = hanging(await owned.acquire(), 'create')
    const { proxy: storage, begin: takeLease } = hanging<CheckpointStorage>(
      owned,
      'acquire',
      async () => lease,
    )
    begin()
    takeLease()
    // Such an engine has one before the first event.
    await using backend = await LmdbStateBackend.temporary()
    const job = await runJob({
      ...counts,
      backend,
      checkpoints: { storage, maxSilenceMs: 1 },
      process: () => {},
    })
    await met
    await expect(job.stop({ timeoutMs: 1 })).rejects.toMatchObject({
      code: 'JOB_FAILED',
      message: expect.stringContaining('the checkpoints to begin'),
    })
  })
})
