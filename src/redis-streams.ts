export type { OutageOptions } from './remote/outage.js'
export type {
  IoredisClient,
  NodeRedisClient,
  NodeRedisCluster,
  RedisClient,
  StreamEntry,
} from './remote/redis-client.js'
export {
  type RedisGroupSourceOptions,
  redisGroupSource,
} from './sources/redis-streams/redis-group-source.js'
export { type RedisStreamSinkOptions, redisStreamSink } from './sources/redis-streams/redis-stream-sink.js'
export {
  type RedisStreamSourceOptions,
  redisStreamSource,
} from './sources/redis-streams/redis-stream-source.js'
export type { LedgerSinkOptions } from './sources/shared/ledger-sink.js'
