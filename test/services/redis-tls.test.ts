import { Redis } from 'ioredis'
import { redisStreamSink, redisStreamSource } from '../../src/redis-streams.js'
import { securedHolds } from './secured.js'

securedHolds('redis', {
  open: async ({ port, certificate = '' }, password) => {
    // The source reads through a duplicate of the client: that has TLS and password from it.
    const tls = { ca: certificate }
    const client = new Redis({ host: '127.0.0.1', port, password, tls, maxRetriesPerRequest: 1 })
    client.on('error', () => {})
    return {
      source: redisStreamSource<number>({ client, streams: ['in'], reconnectForMs: 500 }),
      sink: redisStreamSink<number>({ client, stream: 'out', reconnectForMs: 500 }),
      send: async (events) => {
        for (const n of events) await client.xadd('in', '*', 'json', JSON.stringify(n))
      },
      outputs: async () => (await client.xrange('out', '-', '+')).map(([, [, json]]) => Number(json)),
      close: async () => client.disconnect(),
    }
  },
})
