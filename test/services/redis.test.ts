import { Redis } from 'ioredis'
import { itSurvivesKills } from './every-service.js'

itSurvivesKills(
  'redis',
  (address, value) => use(address, async (client) => void (await client.rpush('list', value))),
  (address) => use(address, (client) => client.lrange('list', 0, -1)),
)

async function use<Result>(address: string, work: (client: Redis) => Promise<Result>): Promise<Result> {
  const client = new Redis(address)
  try {
    return await work(client)
  } finally {
    client.disconnect()
  }
}
