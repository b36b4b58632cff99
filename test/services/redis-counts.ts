import type { Redis } from 'ioredis'
import type { RunningService } from '../../scripts/services/services.mjs'
import type { KilledSystem } from './kill-cycles.js'

/** What a sink has written into a stream, in order. */
export async function outputsIn(admin: Pick<Redis, 'xrange'>, stream: string): Promise<readonly unknown[]> {
  const entries = await admin.xrange(stream, '-', '+')
  return entries.map(([, [, json = '']]) => JSON.parse(json) as unknown)
}

/** Two streams as the killed job uses them: what it reads, and what it writes. */
export function countsInRedis(
  service: () => RunningService,
  admin: () => Redis,
  { from, to }: { readonly from: string; readonly to: string },
): KilledSystem {
  return {
    service,
    fill: async (events) => {
      const pipeline = admin().pipeline()
      for (const event of events) pipeline.xadd(from, '*', 'json', JSON.stringify(event))
      await pipeline.exec()
    },
    outputs: () => outputsIn(admin(), to),
  }
}
