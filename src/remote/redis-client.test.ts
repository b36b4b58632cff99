import { describe, expect, it } from 'vitest'
import { commandsOf, type NodeRedisCluster, redisClient } from './redis-client.js'

describe('a client of Redis for streams', () => {
  const sendCommand = () => Promise.resolve()
  it('is of ioredis, or of node-redis: for one server, or for a Cluster from 6.1 on', () => {
    const cluster = { sendCommand, masters: [] }
    expect(redisClient({ call: sendCommand })).toBeUndefined()
    expect(redisClient({ sendCommand })).toBeUndefined()
    expect(redisClient({ ...cluster, getNodeClientForKey: sendCommand })).toBeUndefined()
    expect(redisClient(cluster)).toContain('must be of node-redis 6.1 or later')
    expect(redisClient({ sendCommand, getMasterNode: sendCommand })).toContain(
      'for Sentinel, give one of ioredis',
    )
    for (const none of [undefined, {}, 'redis://127.0.0.1'])
      expect(redisClient(none)).toBe('must be a client of ioredis, or of redis (node-redis)')
  })

  it('is told the first key of a command where it is a Cluster', async () => {
    const keys: (string | undefined)[] = []
    const cluster: NodeRedisCluster = {
      sendCommand: async (firstKey) => keys.push(firstKey),
      getNodeClientForKey: () => undefined,
    }
    const send = commandsOf(cluster)
    await send('XRANGE', 'stream', '-', '+')
    await send('EVAL', 'return 1', '2', 'note', 'stream', 'x')
    await send('XREAD', 'COUNT', '1', 'BLOCK', '5', 'STREAMS', 'stream', '0-0')
    await send('XINFO', 'STREAM', 'stream')
    expect(keys).toEqual(['stream', 'note', 'stream', 'stream'])
  })
})
