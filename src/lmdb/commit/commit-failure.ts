import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { settlesWithin } from '../../base/clock.js'
import { reasonOf, StateError } from '../../base/errors.js'

/** Of a disk with less than this nothing more is expected. */
const FULL_BYTES = 1024 * 1024
/** A disk that has just failed may not answer at all. */
const ANSWER_MS = 1_000

/**
 * Why a store could not be committed, with its file. LMDB tells a write that found room for a part of it only as an I/O error: whether the disk
 * is full is told beside that.
 */
export async function commitFailure(cause: unknown, dataPath: string): Promise<StateError<'STORAGE_ERROR'>> {
  const freeBytes = await freeOnDiskOf(dataPath)
  const isFull = freeBytes !== undefined && freeBytes < FULL_BYTES
  const advice = `; its disk is full (${freeBytes} bytes are left): free some or use a larger one, then open the store again`
  const reason = `${dataPath}: ${reasonOf(cause)}${isFull ? advice : ''}`
  return new StateError('STORAGE_ERROR', { storage: 'lmdb', operation: 'commit', reason }, { cause })
}

/** Bytes that are free on the disk of a file; `undefined` where it does not say so, or not in time. */
async function freeOnDiskOf(path: string): Promise<number | undefined> {
  const asked = statfs(dirname(path)).then(
    // Some file systems say of themselves that they have no blocks at all.
    ({ blocks, bavail, bsize }) => (blocks === 0 ? undefined : bavail * bsize),
    () => undefined,
  )
  return (await settlesWithin(asked, ANSWER_MS)) ? await asked : undefined
}
