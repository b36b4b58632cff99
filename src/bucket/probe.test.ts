import { describe, expect, it } from 'vitest'
import { bucketFixture, testSettings } from '../../test/support/bucket-fixtures.js'
import { MemoryBucket } from '../../test/support/memory-bucket.js'
import { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import type { BucketCheckpointStorage } from './bucket-checkpoint-storage.js'

const PROBE = 'probe/'
const ROUNDS = 4
/** 32 create an object and 32 replace it, which is read before, between and after, and removed. */
const REQUESTS_OF_A_ROUND = 2 * 32 + 3 + 1
/** An object is read, replaced, and replaced on the tag it had before. */
const REQUESTS_FOR_A_WRONG_TAG = 3

function storageIn(bucket: MemoryBucket): BucketCheckpointStorage {
  return bucketFixture(bucket, async () => {}, testSettings()).storage as BucketCheckpointStorage
}

function callsOfTheLook(bucket: MemoryBucket) {
  return bucket.calls.filter(({ key }) => key.startsWith(PROBE))
}

/** Keeps its conditions until a round of the look, in which one of those it refuses is told that it won. */
function luckyUntil(round: number, operation: 'putIfAbsent' | 'putIfMatch'): MemoryBucket {
  const bucket = new MemoryBucket()
  const asked = new Set<string>()
  let hasLied = false
  bucket.around = async (call, carryOut) => {
    if (!call.key.startsWith(PROBE)) return carryOut()
    asked.add(call.key)
    const outcome = carryOut()
    if (hasLied || asked.size < round || call.operation !== operation || outcome !== undefined) return outcome
    hasLied = true
    return '"a tag of its own"' as typeof outcome
  }
  return bucket
}

describe('a store that is asked before it is first written to', () => {
  for (let round = 1; round <= ROUNDS; round++) {
    for (const [operation, who] of [
      ['putIfAbsent', 'creators'],
      ['putIfMatch', 'replacers'],
    ] as const) {
      it(`gets no checkpoint where two ${who} of round ${round} are told that they won, and is asked no further`, async () => {
        const bucket = luckyUntil(round, operation)
        const backend = new MemoryStateBackend()
        await backend.put(new Uint8Array([1]), new Uint8Array([2]))
        const coordinator = new CheckpointCoordinator(backend, { storage: storageIn(bucket) })
        await expect(coordinator.createCheckpoint()).rejects.toThrow(
          `the store cannot fence: of 32 ${who} at once, 2 won`,
        )
        await expect(coordinator.shutdown()).rejects.toThrow(/cannot fence/)
        await backend.close()
        expect(bucket.objects.size).toBe(0)
        const requests = round * REQUESTS_OF_A_ROUND + REQUESTS_FOR_A_WRONG_TAG
        expect(callsOfTheLook(bucket)).toHaveLength(requests)
      })
    }
  }

  it('is asked once by a process, in 275 requests, where it keeps its conditions', async () => {
    const bucket = new MemoryBucket()
    for (let owner = 0; owner < 2; owner++) {
      const lease = await storageIn(bucket).acquire()
      await lease.release()
    }
    expect(callsOfTheLook(bucket)).toHaveLength(275)
    expect(ROUNDS * REQUESTS_OF_A_ROUND + REQUESTS_FOR_A_WRONG_TAG).toBe(275)
  })

  it('is not asked by who has it for itself', async () => {
    const bucket = luckyUntil(1, 'putIfAbsent')
    const storage = bucketFixture(bucket, async () => {}, testSettings({ exclusive: true })).storage
    await (await storage.acquire()).release()
    expect(callsOfTheLook(bucket)).toHaveLength(0)
  })
})
