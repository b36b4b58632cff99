import { describe, expect, it } from 'vitest'
import { commandsOf, mayPass, type NodeRedisCluster, redisClient } from './redis-client.js'

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

  it('J3: is asked again where a server says that it is not ready, and not where it refuses a command', () => {
    const reply = (message: string) => mayPass(Object.assign(new Error(message), { name: 'ReplyError' }))
    const passing = [
      'LOADING Redis is loading the dataset in memory',
      'CLUSTERDOWN The cluster is down',
      "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
      'NOREPLICAS Not enough good replicas to write.',
      'MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist on disk.',
      'ERR max number of clients reached',
    ]
    expect(passing.filter((message) => !reply(message))).toEqual([])
    const final = [
      'ERR unknown command',
      'WRONGTYPE Operation against a key holding the wrong kind of value',
      'NOPERM this user has no permissions',
      'NOAUTH Authentication required.',
      'BUSYGROUP Consumer Group name already exists',
    ]
    expect(final.filter(reply)).toEqual([])
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
