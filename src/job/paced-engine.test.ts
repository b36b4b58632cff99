import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { float64, uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { arraySource } from './source/iterable-source.js'

const schema = defineState({ key: uint32, states: { n: value(float64) } })

it('a job waits for an engine whose disk has fallen behind, before each poll is processed and not in the middle of it', async () => {
  await using backend = new MemoryStateBackend()
  let isFull = false
  let waits = 0
  let processed = 0
  let before = 0
  const room = () => {
    expect(processed - before).toBeLessThanOrEqual(100)
    before = processed
    isFull = true
    waits++
    return new Promise<void>((resolve) => {
      setImmediate(() => {
        isFull = false
        resolve()
      })
    })
  }
  Object.assign(backend, { room })
  const job = await runJob({
    name: 'paced',
    source: arraySource(Array.from({ length: 1_000 }, (_, i) => i)),
    maxPollEvents: 100,
    key: (event) => event,
    schema,
    process: (event, { state }) => {
      expect(isFull).toBe(false)
      processed++
      state.n.put(event)
    },
    sink: functionSink({ write: () => {} }),
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 3_600_000 },
  })
  expect((await job.finished).events).toBe(1_000)
  expect(waits).toBeGreaterThanOrEqual(10)
})

it('J1: the event loop of a job is not held by writes that wait for the disk of LMDB', async () => {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-paced-'))
  let held = 0
  const note = () => void held++
  subscribe('holdfast:engine.held', note)
  try {
    await using backend = await LmdbStateBackend.open({ path, cacheBytes: 1024 * 1024 })
    const events = 6_000
    const text = 'x'.repeat(1_000)
    const job = await runJob({
      name: 'paced',
      source: arraySource(Array.from({ length: events }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 0)),
      maxPollEvents: 50,
      key: (event) => event,
      schema: defineState({ key: uint32, states: { text: value(utf8) } }),
      process: (_, { state }) => state.text.put(text),
      backend,
    })
    expect((await job.finished).events).toBe(events)
    expect(held).toBe(0)
  } finally {
    unsubscribe('holdfast:engine.held', note)
    await rm(path, { recursive: true, force: true })
  }
})
