// Stores that take the conditions of a write and do not keep them.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { lacksConditions } from '../../src/bucket/probe.js'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { S3Bucket } from '../../src/s3/s3-bucket.js'
import { S3CheckpointStorage } from '../../src/s3.js'
import { s3Credentials as credentials } from './children/checkpoint-places.js'

/** A store that compares and writes in two steps may be lucky in all rounds now and then. */
const PROBES = 5
const MOST_PROBES = 3
/** Processes that ask before they first write. */
const LOOKS = 10
const MOST_LOOKS = 7

export function refusesUnfitStore(name: string): void {
  describe(`${name}, a store that does not keep its conditions`, () => {
    let service: RunningService
    beforeAll(async () => {
      service = await startService(name)
    })
    afterAll(() => service?.stop())
    let prefixes = 0
    const place = (exclusive = false) =>
      new S3CheckpointStorage({
        bucket: 'bucket',
        prefix: `jobs/${++prefixes}`,
        endpoint: service.address,
        credentials,
        exclusive,
      })

    it('gets no checkpoint of a coordinator, and nothing is left there', async () => {
      const backend = new MemoryStateBackend()
      await backend.put(new Uint8Array([1]), new Uint8Array([2]))
      const storage = place()
      const coordinator = new CheckpointCoordinator(backend, { storage })
      await expect(coordinator.createCheckpoint()).rejects.toThrow(/the store cannot fence.*exclusive: true/)
      await expect(coordinator.shutdown()).rejects.toThrow(/the store cannot fence/)
      expect(await storage.list()).toEqual([])
      await backend.close()
    })

    it(`is found not to fence by the probe, in ${MOST_PROBES} of ${PROBES} at least`, async () => {
      const missed = new Map<string, string>()
      let refused = 0
      for (let probe = 0; probe < PROBES; probe++) {
        const { canFence, findings } = await place().probe()
        for (const { question, kept, observed } of findings) if (!kept) missed.set(question, observed)
        if (!canFence) refused++
      }
      const seen = [...missed].map((each) => each.join(': ')).join('; ')
      process.stdout.write(`${name}: refused by ${refused} of ${PROBES} probes: ${seen}\n`)
      expect(refused).toBeGreaterThanOrEqual(MOST_PROBES)
      expect([...missed.keys()]).toContain('one of many creators wins')
    })

    it(`is found so by the look before a first write, too, in ${MOST_LOOKS} of ${LOOKS} at least`, async () => {
      const bucket = new S3Bucket({
        bucket: 'bucket',
        prefix: 'looks/',
        region: 'us-east-1',
        endpoint: new URL(service.address),
        pathStyle: true,
        credentials: async () => credentials,
        now: () => Date.now(),
      })
      let refused = 0
      for (let look = 0; look < LOOKS; look++) if ((await lacksConditions(bucket)).length > 0) refused++
      process.stdout.write(`${name}: refused by ${refused} of ${LOOKS} looks before a first write\n`)
      expect(refused).toBeGreaterThanOrEqual(MOST_LOOKS)
    })

    it('gets checkpoints of one that has it for itself, and gives them back', async () => {
      const storage = place(true)
      const backend = new MemoryStateBackend()
      for (let i = 0; i < 1_000; i++) await backend.put(Buffer.from(`key ${i}`), Buffer.from(`value ${i}`))
      const coordinator = new CheckpointCoordinator(backend, { storage })
      await coordinator.createCheckpoint()
      await coordinator.shutdown()
      await backend.close()
      const found = new MemoryStateBackend()
      await new CheckpointCoordinator(found, { storage }).restoreLatest()
      expect(await found.count()).toBe(1_000)
      expect(Buffer.from((await found.get(Buffer.from('key 77'))) ?? []).toString()).toBe('value 77')
      await found.close()
    })
  })
}
