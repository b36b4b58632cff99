import { Redis } from 'ioredis'
import { afterAll, beforeAll } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { exampleKeeps } from './example.js'
import { killCycles } from './kill-cycles.js'
import { countsInRedis } from './redis-counts.js'

/** What holds of a job whose state is in Redis, on a real server of some kind. */
export function redisJobHolds(system: string): void {
  let service: RunningService
  let admin: Redis
  beforeAll(async () => {
    service = await startService(system)
    admin = new Redis(service.address, { enableReadyCheck: false, retryStrategy: () => 20 })
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
    countsInRedis(
      () => service,
      () => admin,
      { from: 'in', to: 'out' },
    ),
    'engine',
  )
}
