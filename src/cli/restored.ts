// A checkpoint in a store on the disk again, in bounded memory.

import type { LmdbStateBackend } from '../lmdb.js'
import type { CheckpointPlace } from '../view/place.js'
import { counted } from './counted.js'
import type { Progress } from './progress.js'

/** What a store of the command line keeps in memory: it is filled once, and read once. */
export const STORE_CACHE_BYTES: number = 16 * 1024 * 1024

/**
 * Puts a checkpoint in the place of what the store holds, as a coordinator does, but in this thread: another one would take as much
 * memory again. It is in place only when all of it has verified.
 */
export async function restoreInto(
  store: LmdbStateBackend,
  { archive }: CheckpointPlace,
  id: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { clockMs } = await archive.manifest(id)
  await store.replaceAll(counted(archive.blocks(id, { signal }), progress), { clockMs, signal })
}
