export type { LocalSnapshot as LmdbSnapshot } from './backend/facade/local-snapshot.js'
export { LmdbStateBackend } from './lmdb/lmdb-state-backend.js'
export type { StoreProblem, VerifyReport } from './lmdb/store/verify-store.js'
export type {
  LmdbCompression,
  LmdbLogState,
  LmdbPutOptions,
  LmdbStateBackendEvents,
  LmdbStateBackendOptions,
  LmdbStats,
  LmdbWriteOptions,
} from './lmdb/types.js'
