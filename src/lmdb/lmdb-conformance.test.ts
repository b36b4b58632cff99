import { describe, it } from 'vitest'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

const cannot = { inPlace: 'a value may lie on disk' }

runConformanceSuite(
  { describe, it },
  { name: 'LmdbStateBackend', open: (options) => LmdbStateBackend.temporary(options), cannot },
)

runConformanceSuite(
  { describe, it },
  {
    name: 'LmdbStateBackend that commits every write',
    open: (options) => LmdbStateBackend.temporary({ ...options, flushEvery: 1, cacheBytes: 1024 * 1024 }),
    cannot,
  },
)
