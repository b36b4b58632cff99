import { describe, it } from 'vitest'
import { runConformanceSuite } from '../testing/conformance.js'
import { MemoryStateBackend } from './memory-state-backend.js'

runConformanceSuite(
  { describe, it },
  { name: 'MemoryStateBackend', open: async (options) => new MemoryStateBackend(options) },
)
