import { Redis } from 'ioredis'
import { RedisStateBackend } from '../../src/redis.js'
import type { OpenStore } from './state-kills.js'

/** A store in order, with a client of its own. */
export const openRedisStore: OpenStore = async (address, name) => {
  const client = new Redis(address, { maxRetriesPerRequest: 1, retryStrategy: () => 20 })
  client.on('error', () => {})
  const backend = await RedisStateBackend.open({ client, name, ordered: true })
  const close = async () => {
    await backend.close()
    client.disconnect()
  }
  return { backend, close }
}
