// A job of one process: it restores, works, makes three checkpoints and shuts down, and says what it was promised.
// Where a step fails it says so, mends the disk, says what a restore finds now, and takes the step once more.
//
//   started ID                a checkpoint is being made under this id
//   acknowledged ID POSITION  `createCheckpoint` resolved
//   failed STEP CODE REASONS  a step rejected, with the messages of the error and its causes
//   found POSITION            after a failure, what a fresh reader restores (0: there has never been a checkpoint)
//   warned MESSAGE            holdfast logged a warning or an error

import { isStateError } from '../../../src/base/errors.js'
import { CheckpointCoordinator } from '../../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { CheckpointWorker } from '../../../src/checkpoint/worker/checkpoint-worker.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import { advance, stateAt, stateOf } from './counted-state.js'
import type { ChildContext } from './run-script.js'

/** Readers are not shut down: each would leave a thread behind. */
const worker = new CheckpointWorker()

const EVENTS_PER_CHECKPOINT = 20

export async function run(context: ChildContext): Promise<void> {
  const job = new Job(context)
  await job.step('restore', () => job.restore())
  for (let checkpoint = 1; checkpoint <= 3; checkpoint++) {
    job.work()
    await job.step('checkpoint', () => job.checkpoint())
  }
  job.work()
  // A shutdown closes also where it fails: called again, it answers the same.
  await job.step('shutdown', () => job.shutdown(), 1)
  await job.close()
  context.say('done')
}

class Job {
  readonly #context: ChildContext
  readonly #directory: string
  readonly #backend = new MemoryStateBackend({ sweepIntervalMs: Number.POSITIVE_INFINITY })
  readonly #coordinator: CheckpointCoordinator
  #position = 0

  constructor(context: ChildContext) {
    this.#context = context
    this.#directory = context.args[0] as string
    const warn = (_fields: object, message: string) => context.say('warned', message)
    this.#coordinator = new CheckpointCoordinator(this.#backend, {
      storage: new FileCheckpointStorage(this.#directory),
      source: () => this.#position,
      maxCheckpoints: 2,
      worker,
      logger: { debug: () => {}, info: () => {}, warn, error: warn },
    })
    this.#coordinator.on('started', ({ id }) => context.say('started', id))
  }

  async step(name: string, action: () => Promise<void>, attempts = 2): Promise<void> {
    for (let attempt = 1; attempt <= attempts; attempt++) {
      try {
        return await action()
      } catch (error) {
        if (!isStateError(error)) throw error
        this.#context.say('failed', name, error.code, ...reasonsOf(error))
        this.#context.mend()
        await this.#sayFound()
      }
    }
  }

  async restore(): Promise<void> {
    const restored = await this.#coordinator.restoreLatest()
    this.#position = Number(restored?.source ?? 0)
  }

  work(): void {
    advance(this.#backend, this.#position, this.#position + EVENTS_PER_CHECKPOINT)
    this.#position += EVENTS_PER_CHECKPOINT
  }

  async checkpoint(): Promise<void> {
    const { id, source } = await this.#coordinator.createCheckpoint()
    this.#context.say('acknowledged', id, String(source))
  }

  async shutdown(): Promise<void> {
    await this.#coordinator.shutdown()
    this.#context.say('shut-down', String(this.#position))
  }

  async close(): Promise<void> {
    await this.#backend.close()
  }

  /** Reads with a coordinator and a backend of its own. They write nothing, and need no lease. */
  async #sayFound(): Promise<void> {
    const backend = new MemoryStateBackend({ sweepIntervalMs: Number.POSITIVE_INFINITY })
    const storage = new FileCheckpointStorage(this.#directory)
    const reader = new CheckpointCoordinator(backend, { storage, worker })
    const position = Number((await reader.restoreLatest())?.source ?? 0)
    if ((await stateOf(backend)) !== stateAt(position)) throw new Error(`not the state of ${position}`)
    this.#context.say('found', String(position))
    await backend.close()
  }
}

function reasonsOf(error: unknown): string[] {
  return error instanceof Error ? [error.message.replaceAll('\n', ' '), ...reasonsOf(error.cause)] : []
}
