import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { bytesOf, patchLeases } from '../../../test/support/checkpoints.js'
import { shutDownAfterTest } from '../../../test/support/coordinator-bench.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { FileCheckpointStorage } from '../../storage/file-checkpoint-storage.js'
import { CheckpointWorker } from '../worker/checkpoint-worker.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from './coordinator-options.js'

/** When the number of the next checkpoint is reserved. */
interface Gate {
  readonly asked: Promise<void>
  readonly open: () => void
  readonly fail: (error: Error) => void
}

interface GatedBench {
  readonly directory: string
  readonly coordinator: CheckpointCoordinator
  /** Holds the next reservation back. */
  gate(): Gate
  /** Files by what they are, those of the lease and the sequence left out. */
  kinds(): Promise<{ readonly named: string[]; readonly begun: number }>
}

async function gatedBench(options: Partial<CheckpointCoordinatorOptions> = {}): Promise<GatedBench> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-reservation-'))
  onTestFinished(async () => await rm(directory, { recursive: true, force: true }))
  const storage = new FileCheckpointStorage(directory)
  let hold: (() => Promise<void>) | undefined
  patchLeases(storage, (lease) => {
    const replace = lease.replace.bind(lease)
    vi.spyOn(lease, 'replace').mockImplementation(async (name, bytes) => {
      const held = hold
      hold = undefined
      await held?.()
      await replace(name, bytes)
    })
  })
  const backend = new MemoryStateBackend()
  for (let i = 0; i < 100; i++) await backend.put(bytesOf(`key-${i}`), bytesOf('value'))
  const coordinator = new CheckpointCoordinator(backend, { storage, ...options })
  shutDownAfterTest(coordinator)
  const gate = () => {
    let [ask, open, fail]: [() => void, () => void, (error: Error) => void] = [() => {}, () => {}, () => {}]
    const asked = new Promise<void>((resolve) => {
      ask = resolve
    })
    const opened = new Promise<void>((resolve, reject) => {
      open = resolve
      fail = reject
    })
    opened.catch(() => {})
    hold = async () => {
      ask()
      await opened
    }
    return { asked, open, fail }
  }
  const kinds = async () => {
    const names = (await readdir(directory)).filter((name) => !/^(sequence|.*lease.*)$/.test(name))
    const named = names.filter((name) => /\.(segment|manifest)$/.test(name)).sort()
    return { named, begun: names.length - named.length }
  }
  return { directory, coordinator, gate, kinds }
}

describe.each([
  { where: 'in a thread', thread: true },
  { where: 'in the thread that asks', thread: false },
])('a checkpoint that is written $where while its number is being reserved', ({ thread }) => {
  it('gets no name before that is durable, and is told of as started only then', async () => {
    const { coordinator, gate, kinds } = await gatedBench({ worker: new CheckpointWorker({ thread }) })
    const started: string[] = []
    coordinator.on('started', ({ id }) => started.push(id))
    await coordinator.createCheckpoint()
    const before = await kinds()
    const { asked, open } = gate()
    const making = coordinator.createCheckpoint()
    await asked
    // All that can be done without the number is done.
    await vi.waitUntil(async () => (await kinds()).begun === 1, { timeout: 60_000 })
    expect(await kinds()).toEqual({ ...before, begun: 1 })
    expect(started).toEqual(['chk-0000000001'])
    open()
    expect((await making).id).toBe('chk-0000000002')
    expect(started).toEqual(['chk-0000000001', 'chk-0000000002'])
    expect((await kinds()).named).toContain('chk-0000000002.manifest')
  })

  it('fails with why it could not be reserved, leaves nothing, and the next one has another number', async () => {
    const { coordinator, gate, kinds } = await gatedBench({ worker: new CheckpointWorker({ thread }) })
    await coordinator.createCheckpoint()
    const before = await kinds()
    const { asked, fail } = gate()
    const making = coordinator.createCheckpoint()
    making.catch(() => {})
    await asked
    await vi.waitUntil(async () => (await kinds()).begun === 1, { timeout: 60_000 })
    fail(new Error('the disk is full'))
    await expect(making).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED', message: /the disk is full/ })
    expect(await kinds()).toEqual(before)
    expect((await coordinator.createCheckpoint()).id).toBe('chk-0000000003')
  })

  it('is not waited for by shutdown where the storage never answers', async () => {
    const worker = new CheckpointWorker({ thread })
    const { coordinator, gate } = await gatedBench({ worker, maxSilenceMs: 500 })
    await coordinator.createCheckpoint()
    const { asked, open } = gate()
    const making = coordinator.createCheckpoint()
    making.catch(() => {})
    await asked
    await expect(coordinator.shutdown()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    await expect(making).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    open()
  })

  it('ends by its signal', async () => {
    const { coordinator, gate, kinds } = await gatedBench({ worker: new CheckpointWorker({ thread }) })
    await coordinator.createCheckpoint()
    const before = await kinds()
    const { asked, open } = gate()
    const controller = new AbortController()
    const making = coordinator.createCheckpoint({ signal: controller.signal })
    making.catch(() => {})
    await asked
    controller.abort()
    open()
    await expect(making).rejects.toMatchObject({ code: 'ABORTED' })
    expect((await coordinator.createCheckpoint()).id).toBe('chk-0000000003')
    expect((await kinds()).begun).toBe(before.begun)
  })
})

it('a thread that dies while the number of its checkpoint is being reserved fails the checkpoint, and the next one is made', async () => {
  const worker = new CheckpointWorker()
  const { coordinator, gate, kinds } = await gatedBench({ worker })
  await coordinator.createCheckpoint()
  const before = await kinds()
  const { asked, open } = gate()
  const making = coordinator.createCheckpoint()
  making.catch(() => {})
  await asked
  await vi.waitUntil(async () => (await kinds()).begun === 1, { timeout: 60_000 })
  await worker.close()
  open()
  await expect(making).rejects.toMatchObject({ code: 'CLOSED' })
  expect((await kinds()).named).toEqual(before.named)
})
