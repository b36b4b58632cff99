import { open } from 'node:fs/promises'

/** A file of zeros without end, where the system has one. */
const ZEROS = '/dev/zero'

/**
 * Fills memory with zeros, in a thread of the pool. Rejects where there is no file of zeros, or it may not be read: what the memory holds is
 * not known then.
 */
export async function fillWithZeros(memory: Uint8Array): Promise<void> {
  const zeros = await open(ZEROS)
  try {
    await zeros.read(memory, 0, memory.length, null)
  } finally {
    await zeros.close()
  }
}
