export type {
  IoredisBytesClient,
  NodeRedisBytesClient,
  NodeRedisBytesCluster,
  NodeRedisBytesSentinel,
  RedisBackendClient,
} from './redis/clients.js'
export { RedisStateBackend } from './redis/redis-state-backend.js'
export type { RedisStateBackendOptions } from './redis/settings.js'
export type { OutageOptions } from './remote/outage.js'
