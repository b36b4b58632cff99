import { Redis } from 'ioredis'
import type { Sink, Source } from '../../../src/job.js'
import { redisStreamSink, redisStreamSource } from '../../../src/redis-streams.js'
import type { CountedEvent, CountedOutput } from './counted.js'

/** A source and a sink on one server. */
export interface OpenSystem {
  readonly source: Source<CountedEvent>
  readonly sink: Sink<CountedOutput>
  close(): Promise<void>
}

async function openRedis(address: string): Promise<OpenSystem> {
  const client = new Redis(address, { maxRetriesPerRequest: 1 })
  client.on('error', () => {})
  return {
    source: redisStreamSource<CountedEvent>({ client, streams: ['in'] }),
    sink: redisStreamSink<CountedOutput>({ client, stream: 'out', maxOutputs: 20 }),
    close: async () => client.disconnect(),
  }
}

const systems: { readonly [name: string]: (address: string) => Promise<OpenSystem> } = {
  redis: openRedis,
  valkey: openRedis,
}

export async function openSystem(name: string, address: string): Promise<OpenSystem> {
  const open = systems[name]
  if (open === undefined) throw new Error(`there is no job for ${name}`)
  return await open(address)
}
