import { describe, it } from 'vitest'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

runConformanceSuite(
  { describe, it },
  {
    name: 'LmdbStateBackend',
    open: (options) => LmdbStateBackend.temporary(options),
    cannot: { inPlace: 'a value may lie on disk' },
  },
)
