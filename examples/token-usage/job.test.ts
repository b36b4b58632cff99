import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from 'holdfast'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { positionFrom, type SourcePosition } from './events.js'
import { GeneratorSource } from './generator.js'
import { runJob } from './job.js'
import type { WorkerMessage, WorkerTask } from './protocol.js'
import { add, digestOf, openWindows } from './windows.js'

const options = { seed: 5, events: 4_000 }
let directory: string
let task: WorkerTask

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-job-unit-'))
  const source = { kind: 'generator', ...options } as const
  task = {
    source,
    backend: 'memory',
    directory,
    checkpointEvery: 500,
    batchSize: 50,
    eventsPerSecond: 16_000,
  }
})

afterEach(async () => {
  await rm(directory, { recursive: true })
})

/** The digest of the first `events` requests, added up without any of the job's machinery. */
async function digestUpTo(events: number): Promise<string> {
  const state = await openWindows(new MemoryStateBackend({ sweepIntervalMs: Infinity }))
  const source = new GeneratorSource(options)
  for await (const batch of source.batches(source.start, 1)) {
    if (batch.end.events <= events) for (const request of batch.events) add(state, request)
  }
  return digestOf(state)
}

describe('runJob', () => {
  it('puts into every checkpoint exactly the requests before its position', async () => {
    const messages: WorkerMessage[] = []
    const result = await runJob(task, (message) => messages.push(message))
    expect(result.digest).toBe(await digestUpTo(options.events))
    // How many are made depends on the disk; the first is due after 500 requests, and the last is made by the shutdown.
    expect(messages.some(({ type }) => type === 'checkpoint')).toBe(true)

    await using backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(directory) })
    const checkpoints = await coordinator.listCheckpoints()
    expect(checkpoints.length).toBeGreaterThan(1)
    for (const { id } of checkpoints) {
      const { events } = positionFrom((await coordinator.restore(id)).source)
      expect(events).toBeGreaterThan(0)
      expect(digestOf(await openWindows(backend))).toBe(await digestUpTo(events))
    }
    await coordinator.shutdown()
  })

  it('goes on where the last checkpoint is', async () => {
    const first = await runJob({ ...task, source: { kind: 'generator', seed: 5, events: 4_000 } }, () => {})
    const messages: WorkerMessage[] = []
    const second = await runJob(task, (message) => messages.push(message))
    expect(messages[0]).toMatchObject({
      type: 'started',
      restored: { events: 4_000, windows: first.windows },
    })
    expect(messages.filter(({ type }) => type === 'progress')).toEqual([])
    expect(second.digest).toBe(first.digest)
  })
})

describe('positionFrom', () => {
  it('takes what a checkpoint of this job holds, and nothing else', () => {
    const position: SourcePosition = { events: 3, skippedLines: 0, file: { byteOffset: 9, line: 2 } }
    expect(positionFrom(JSON.parse(JSON.stringify(position)))).toEqual(position)
    const wrong = [
      undefined,
      null,
      7,
      [],
      {},
      { events: -1, skippedLines: 0 },
      { ...position, file: { line: 1 } },
    ]
    for (const stored of wrong) expect(() => positionFrom(stored)).toThrow('no position of this job')
  })
})
