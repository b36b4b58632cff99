import { inspect } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { runJob, type Sink, type Source } from '../../src/job.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { defineState, uint32, utf8, value } from '../../src/state.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'

const PASSWORD = 'hunter2-marked'

/** How a system is reached by TLS, with a password. */
export interface SecuredSystem {
  /** The client itself asks for a connection, and fails, before anything of ours is called. */
  readonly failsByItself?: true
  open(
    service: RunningService,
    password: string,
  ): Promise<{
    readonly source: Source<number>
    readonly sink: Sink<number>
    /** Puts events where the source reads them. */
    send(events: readonly number[]): Promise<unknown>
    outputs(): Promise<readonly number[]>
    close(): Promise<unknown>
  }>
}

/** A job goes through a server that speaks TLS only, with a certificate of its own, and asks for a password; and no error has that. */
export function securedHolds(name: string, system: SecuredSystem): void {
  let service: RunningService
  beforeAll(async () => {
    service = await startService(name, { secure: PASSWORD })
  })
  afterAll(() => service?.stop())

  const run = async (source: Source<number>, sink: Sink<number>, until: number) => {
    await using backend = new MemoryStateBackend()
    const job = await runJob({
      name: 'counts',
      source,
      key: () => 'all',
      schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
      process: (n, { state, emit }) => {
        state.count.update((before) => before + 1)
        emit(n)
      },
      sink,
      backend,
      checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 50 },
    })
    const reachedUntil = async () => {
      await expect.poll(() => job.stats().events).toBe(until)
    }
    // A job that has failed is not waited for.
    await Promise.race([reachedUntil(), job.finished])
    await job.stop()
  }

  it(`a job reads from and writes to ${name} by TLS, with the certificate and the password that its client has`, async () => {
    const opened = await system.open(service, PASSWORD)
    try {
      await opened.send([1, 2, 3])
      await run(opened.source, opened.sink, 3)
      expect(await opened.outputs()).toEqual([1, 2, 3])
    } finally {
      await opened.close()
    }
  })

  it.skipIf(system.failsByItself)(
    `an error of ${name} by TLS has neither the right password nor a wrong one`,
    async () => {
      const wrong = `${PASSWORD}-wrong`
      const attempt = async () => {
        const opened = await system.open(service, wrong)
        try {
          await run(opened.source, opened.sink, 1)
        } finally {
          await opened.close()
        }
      }
      const error = await attempt().then(
        () => undefined,
        (thrown: unknown) => thrown as Error,
      )
      expect(error).toBeDefined()
      const shown = [
        inspect(error, { depth: Infinity, showHidden: true }),
        JSON.stringify(error),
        String(error?.cause),
      ]
      expect(shown.join('\n')).not.toContain(PASSWORD)
    },
  )
}
