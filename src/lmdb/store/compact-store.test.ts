import { stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { type Compaction, compactStore } from './compact-store.js'

const SELF = fileURLToPath(import.meta.url)
const TIMEOUT_MS = 20

function holdThread(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

/** A compaction whose copy is made so, and which fails with `copied` when that is done. */
function compactionWith(backup: () => Promise<unknown>): Compaction {
  const parts = {
    directory: {
      nextDataPath: async () => '/nowhere/data-2.mdb',
      sealNextData: () => Promise.reject(new Error('copied')),
      removeLeftovers: async () => {},
    },
    environment: { root: { backup } },
    commit: { pause: async () => {}, resume: () => {} },
    timeoutMs: TIMEOUT_MS,
    usedBytes: 0,
  }
  return parts as unknown as Compaction
}

it('waits for a copy that was made while the thread was held for longer than the copy may take', async () => {
  const compacting = compactStore(
    compactionWith(async () => {
      const copied = stat(SELF)
      setImmediate(() => holdThread(5 * TIMEOUT_MS))
      await copied
    }),
  )
  await expect(compacting).rejects.toThrow('copied')
})

it('gives a copy up that does not end', async () => {
  const compacting = compactStore(compactionWith(() => new Promise(() => {})))
  await expect(compacting).rejects.toMatchObject({
    code: 'STORAGE_ERROR',
    details: { reason: `the copy took more than ${TIMEOUT_MS} ms` },
  })
})
