import type { StateBackend } from '../../src/backend/state-backend.js'
import type { MemoryStateBackendOptions } from '../../src/memory/memory-state-backend.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'

const methods = [
  'get',
  'getMany',
  'getOrThrow',
  'put',
  'delete',
  'contains',
  'write',
  'listKeys',
  'count',
  'clear',
  'deleteRange',
  'flush',
] as const

/** A backend that only answers with promises, each a few turns later: as one across a network, and without its speed. */
export function asynchronousBackend(options?: MemoryStateBackendOptions): {
  readonly backend: StateBackend
  readonly memory: MemoryStateBackend
  readonly calls: Map<string, number>
} {
  const memory = new MemoryStateBackend(options)
  const calls = new Map<string, number>()
  const note = (name: string) => calls.set(name, (calls.get(name) ?? 0) + 1)
  const turns = async () => {
    for (let i = 0; i < 3; i++) await Promise.resolve()
  }
  const backend: Record<PropertyKey, unknown> = {
    name: 'asynchronous',
    supports: Object.freeze({
      sync: false,
      orderedScan: 'instant',
      snapshots: false,
      changes: false,
      sharing: false,
      replace: false,
      inPlace: false,
      durable: false,
    }),
    stats: () => memory.stats(),
    close: () => memory.close(),
    [Symbol.asyncDispose]: () => memory.close(),
    scan: async function* (range: Parameters<StateBackend['scan']>[0]) {
      note('scan')
      await turns()
      yield* memory.scan(range)
    },
  }
  for (const method of methods) {
    backend[method] = async (...given: never[]) => {
      note(method)
      await turns()
      const call = memory[method] as (...call: never[]) => Promise<unknown>
      return call.apply(memory, given)
    }
  }
  return { backend: backend as unknown as StateBackend, memory, calls }
}
