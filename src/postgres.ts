export type { CopyFrom, CopyStream } from './postgres/copy-rows.js'
export { migrations as postgresMigrations } from './postgres/migrations.js'
export {
  PostgresStateBackend,
  type PostgresStateBackendOptions,
  type PostgresWriteOptions,
} from './postgres/postgres-state-backend.js'
export type { OutageOptions } from './remote/outage.js'
export type {
  PooledPostgresClient,
  PostgresClient,
  PostgresPool,
  PostgresResult,
} from './remote/postgres-client.js'
