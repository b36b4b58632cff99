import { describe, it } from 'vitest'
import { runConformanceSuite } from './conformance.js'
import { ModelStateBackend } from './model-state-backend.js'

runConformanceSuite(
  { describe, it },
  { name: 'ModelStateBackend', open: async (options) => new ModelStateBackend(options) },
)
