import { join } from 'node:path'
import { MemoryStateBackend } from 'holdfast'
import { LmdbStateBackend } from 'holdfast/lmdb'
import type { BackendName } from './backend-names.js'
import { CheckpointKeeper, type Keeper, StoreKeeper } from './keeper.js'

/** The state, and what brings it back after a crash, in a directory. */
export async function openKeeper(name: BackendName, directory: string): Promise<Keeper> {
  switch (name) {
    case 'memory':
      return new CheckpointKeeper(new MemoryStateBackend(), directory)
    case 'lmdb':
      return new StoreKeeper(await LmdbStateBackend.open({ path: join(directory, 'state') }))
  }
}
