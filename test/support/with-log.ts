// Set-up of tests that are run once more with a log: each store that they open for writing has one, unless they say otherwise.

import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'

const { open, temporary } = LmdbStateBackend

LmdbStateBackend.open = (options) => open.call(LmdbStateBackend, { log: true, ...options })
LmdbStateBackend.temporary = (options) => temporary.call(LmdbStateBackend, { log: true, ...options })
