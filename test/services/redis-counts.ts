import type { Redis } from 'ioredis'
import type { KilledPair } from './kill-cycles.js'

/** What a sink has written into a stream, in order. */
export async function outputsIn(admin: Pick<Redis, 'xrange'>, stream: string): Promise<readonly unknown[]> {
  const entries = await admin.xrange(stream, '-', '+')
  return entries.map(([, [, json = '']]) => JSON.parse(json) as unknown)
}

/** Two streams as the killed job uses them: what it reads, and what it writes. */
export function countsInRedis(
  admin: () => Redis,
  { from, to }: { readonly from: string; readonly to: string },
): Pick<KilledPair, 'fill' | 'outputs'> {
  return {
    fill: async (events) => {
      const pipeline = admin().pipeline()
      for (const event of events) pipeline.xadd(from, '*', 'json', JSON.stringify(event))
      for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error
    },
    outputs: () => outputsIn(admin(), to),
  }
}
