export type { IdentifiedOutput } from './job/sink/function-sink.js'
export type { OutageOptions } from './remote/outage.js'
export type {
  PooledPostgresClient,
  PostgresClient,
  PostgresPool,
  PostgresResult,
} from './remote/postgres-client.js'
export {
  type OutboxRow,
  type PostgresOutboxSourceOptions,
  postgresOutboxSource,
} from './sources/postgres-tables/postgres-outbox-source.js'
export { type PostgresSinkOptions, postgresSink } from './sources/postgres-tables/postgres-sink.js'
export {
  type PostgresUpsertSinkOptions,
  postgresUpsertSink,
} from './sources/postgres-tables/postgres-upsert-sink.js'
export type { LedgerSinkOptions } from './sources/shared/ledger-sink.js'
