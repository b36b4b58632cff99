import { Redis } from 'ioredis'
import { afterAll, beforeAll } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { exampleKeeps } from './example.js'
import { killCycles } from './kill-cycles.js'

/** What holds of a job whose state is in Redis, on a real server of some kind. */
export function redisJobHolds(system: string): void {
  let service: RunningService
  let admin: Redis
  beforeAll(async () => {
    service = await startService(system)
    admin = new Redis(service.address)
    admin.on('error', () => {})
  })
  afterAll(async () => {
    admin.disconnect()
    await service.stop()
  })

  exampleKeeps(
    (address) => ['--backend', 'redis', '--backend-address', address],
    () => service,
  )

  killCycles(
    system,
    {
      service: () => service,
      fill: async (events) => {
        const pipeline = admin.pipeline()
        for (const event of events) pipeline.xadd('in', '*', 'json', JSON.stringify(event))
        await pipeline.exec()
      },
      outputs: async () => {
        const entries = await admin.xrange('out', '-', '+')
        return entries.map(([, [, json = '']]) => JSON.parse(json) as unknown)
      },
    },
    'engine',
  )
}
