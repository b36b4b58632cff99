export type {
  IoredisClient,
  NodeRedisClient,
  RedisClient,
  StreamEntry,
} from './sources/redis-streams/redis-client.js'
export { type RedisStreamSinkOptions, redisStreamSink } from './sources/redis-streams/redis-stream-sink.js'
export {
  type RedisStreamSourceOptions,
  redisStreamSource,
} from './sources/redis-streams/redis-stream-source.js'
export type { LedgerSinkOptions } from './sources/shared/ledger-sink.js'
export type { OutageOptions } from './sources/shared/outage.js'
