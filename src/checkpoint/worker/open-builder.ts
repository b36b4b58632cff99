import type { OpenStateBuilder, StateBuilder } from '../../backend/built-state.js'
import type { BuildCall } from './worker-protocol.js'

/** Opens the builder of an engine in this thread. */
export async function openStateBuilder(call: BuildCall): Promise<StateBuilder> {
  const { module, data, expectedEntries, laterMs } = call
  const loaded = (await import(module)) as { readonly openStateBuilder: OpenStateBuilder }
  return loaded.openStateBuilder(data, { expectedEntries, laterMs })
}
