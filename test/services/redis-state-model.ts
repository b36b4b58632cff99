import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { RedisStateBackend, type RedisStateBackendOptions } from '../../src/redis.js'
import { runCommands } from '../model/backend-commands.js'
import { plainCommandKinds } from '../model/commands.js'
import type { ModeledBackend } from '../model/world.js'
import { modelRuns } from '../support/long.js'
import { sweepByWriting } from './state-models.js'

export function redisStateBehavesAsTheModel(system: string): void {
  describe(`state on ${system}, whatever the commands`, () => {
    let service: RunningService
    let client: Redis
    let next = 0
    beforeAll(async () => {
      service = await startService(system)
      client = new Redis(service.address)
      client.on('error', () => {})
    })
    afterAll(async () => {
      client?.disconnect()
      await service?.stop()
    })

    it.each<[string, Partial<RedisStateBackendOptions>]>([
      ['in order', { ordered: true }],
      ['without order', {}],
      ['with a near cache', { ordered: true, nearCacheBytes: 2_000 }],
    ])('behaves as the model does, %s', async (_, settings) => {
      const open = async (options: object) =>
        (await RedisStateBackend.open({
          client,
          name: `model-${next++}`,
          ...options,
          ...settings,
        })) as unknown as ModeledBackend
      const run = runCommands(open, {
        kinds: plainCommandKinds(),
        sweep: sweepByWriting,
        runs: modelRuns(200, 10),
      })
      await expect(run).resolves.toBeUndefined()
    })
  })
}
