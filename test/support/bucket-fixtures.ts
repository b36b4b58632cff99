import { execFileSync } from 'node:child_process'
import { pause, systemClock } from '../../src/base/clock.js'
import type { Bucket } from '../../src/bucket/bucket.js'
import { BucketCheckpointStorage } from '../../src/bucket/bucket-checkpoint-storage.js'
import { type BucketSettings, bucketSettings } from '../../src/bucket/bucket-options.js'
import { decodeRoot, encodeRoot, MAX_ROOT_BYTES, ROOT_KEY, type Root } from '../../src/bucket/root-object.js'
import type { StorageFixture } from '../../src/testing/storage-conformance.js'

/** Settings for tests: nobody waits between attempts, and parts are small. */
export function testSettings(more: Partial<BucketSettings> = {}): BucketSettings {
  return { ...bucketSettings({}), clock: systemClock, wait: async () => await pause(0), ...more }
}

/** The root object as it is, past every storage. */
export async function rootIn(bucket: Bucket): Promise<Root> {
  const found = await bucket.get(ROOT_KEY, { maxBytes: MAX_ROOT_BYTES })
  if (found === undefined || found === 'unchanged') throw new Error('there is no root')
  return decodeRoot(found.bytes, 'the root')
}

/** Makes the present owner look as if its process had died. */
export async function killOwner(bucket: Bucket): Promise<void> {
  const root = await rootIn(bucket)
  await bucket.put(ROOT_KEY, encodeRoot({ ...root, owner: { ...root.owner, pid: deadPid() } }))
}

/** What the conformance suite of storages takes, over a bucket. `dispose` removes everything. */
export function bucketFixture(
  bucket: Bucket,
  dispose: () => Promise<void>,
  settings: BucketSettings = testSettings(),
): StorageFixture {
  return {
    storage: new BucketCheckpointStorage(bucket, settings),
    reopen: () => new BucketCheckpointStorage(bucket, settings),
    killOwner: () => killOwner(bucket),
    dispose,
  }
}

let dead: number | undefined

function deadPid(): number {
  dead ??= Number(execFileSync(process.execPath, ['-e', 'console.log(process.pid)'], { encoding: 'utf8' }))
  return dead
}
