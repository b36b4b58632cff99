import type { OpenStateBuilder, StateBuilder } from '../../backend/built-state.js'
import type { BlockPreparer, OpenBlockPreparer } from '../../backend/prepared-blocks.js'
import { loadModule } from '../../base/compiled.js'
import type { BuildCall, PrepareCall } from './worker-protocol.js'

/** Opens the builder of an engine in this thread. */
export async function openStateBuilder(call: BuildCall): Promise<StateBuilder> {
  const { module, data, expectedEntries, laterMs } = call
  const loaded = (await loadModule(module)) as { readonly openStateBuilder: OpenStateBuilder }
  return loaded.openStateBuilder(data, { expectedEntries, laterMs })
}

/** Opens what makes blocks ready for an engine in this thread. */
export async function openBlockPreparer(call: PrepareCall): Promise<BlockPreparer> {
  const { module, data, laterMs } = call
  const loaded = (await loadModule(module)) as { readonly openBlockPreparer: OpenBlockPreparer }
  return loaded.openBlockPreparer(data, { laterMs })
}
