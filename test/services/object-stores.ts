import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import type { Bucket } from '../../src/bucket/bucket.js'
import { BucketCheckpointStorage } from '../../src/bucket/bucket-checkpoint-storage.js'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { runStorageConformanceSuite } from '../../src/testing/storage-conformance.js'
import { bucketFixture, testSettings } from '../support/bucket-fixtures.js'

interface Store {
  /** A bucket of that server under a prefix. */
  open(address: string, prefix: string): Promise<Bucket>
  /** What the probe finds that it does not keep. */
  readonly lacks: readonly string[]
  /** Why what the server has acknowledged may be gone when it is killed; left out: it is not. */
  readonly forgets?: string
}

const PART_BYTES = 5 * 1024 * 1024

/** What every store that keeps its conditions is tested for, on the real server. */
export function testObjectStore(service: string, title: string, { open, lacks, forgets }: Store): void {
  describe(title, () => {
    let server: RunningService
    let prefixes = 0
    const anyBucket = () => open(server.address, `jobs/${++prefixes}/`)

    beforeAll(async () => {
      server = await startService(service)
    })
    afterAll(() => server?.stop())

    runStorageConformanceSuite({ describe, it }, title, async () =>
      bucketFixture(await anyBucket(), async () => {}),
    )

    it('is found to keep what it keeps', async () => {
      const settings = testSettings({ partBytes: PART_BYTES })
      const report = await new BucketCheckpointStorage(await anyBucket(), settings).probe()
      expect(report.findings.filter(({ kept }) => !kept).map(({ question }) => question)).toEqual(lacks)
      expect(report.canFence).toBe(true)
    })

    it('takes objects in parts and gives them back in ranges', async () => {
      const settings = testSettings({ partBytes: PART_BYTES, fetchBytes: 1_000_000 })
      const storage = new BucketCheckpointStorage(await anyBucket(), settings)
      const lease = await storage.acquire()
      const content = Buffer.alloc(
        2 * PART_BYTES + 12_345,
        'parts of an object, and what is behind the last of them.',
      )
      const writer = await lease.create('large')
      for (let at = 0; at < content.length; at += 300_000)
        await writer.write(content.subarray(at, at + 300_000))
      await writer.commit()
      const aborted = await lease.create('aborted')
      await aborted.write(content)
      await aborted.abort()
      const reader = await storage.open('large', { access: 'sequential' })
      const pieces: Uint8Array[] = []
      for (let at = 0; at < content.length; at += 700_000) {
        const piece = await reader?.read(at, Math.min(700_000, content.length - at))
        if (piece !== undefined) pieces.push(piece)
      }
      await reader?.close()
      expect(Buffer.compare(Buffer.concat(pieces), content)).toBe(0)
      expect(await lease.discardUncommitted(0)).toBe(0)
      await lease.release()
    })

    it.skipIf(forgets !== undefined)(
      `has checkpoints that are made, restored and thrown away while the server is killed${forgets === undefined ? '' : ` (${forgets})`}`,
      async () => {
        const bucket = await anyBucket()
        const backend = new MemoryStateBackend()
        const storage = new BucketCheckpointStorage(
          bucket,
          testSettings({ wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)) }),
        )
        const coordinator = new CheckpointCoordinator(backend, { storage, maxCheckpoints: 2, graceMs: 0 })
        let published = 0
        for (let round = 1; round <= 6; round++) {
          for (let i = 0; i < 500; i++) await backend.put(Buffer.from(`key ${i}`), Buffer.from(`${round}`))
          const killed = round % 2 === 0
          const restarted = killed ? server.kill().then(() => server.start()) : Promise.resolve()
          const outcome = await coordinator.createCheckpoint().then(
            () => round,
            () => undefined,
          )
          await restarted
          published = outcome ?? published
          const found = new MemoryStateBackend()
          const reader = new CheckpointCoordinator(found, {
            storage: new BucketCheckpointStorage(bucket, testSettings()),
          })
          await reader.restoreLatest()
          // One whose answer was lost may be there, and then whole; one that was acknowledged is.
          const value = Number(Buffer.from((await found.get(Buffer.from('key 7'))) ?? []).toString())
          expect(
            value === published || value === round,
            `${value} after round ${round}, ${published} acknowledged`,
          ).toBe(true)
          expect(await found.count()).toBe(500)
          await found.close()
        }
        expect(published).toBeGreaterThan(0)
        await coordinator.shutdown()
        await backend.close()
      },
    )
  })
}
