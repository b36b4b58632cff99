import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { testSettings } from '../../test/support/bucket-fixtures.js'
import { worker } from '../../test/support/coordinator-bench.js'
import { MemoryBucket } from '../../test/support/memory-bucket.js'
import { CheckpointCatalog } from '../checkpoint/archive/checkpoint-catalog.js'
import { CheckpointStream } from '../checkpoint/archive/checkpoint-stream.js'
import { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import { contentOf } from '../checkpoint/format/manifest.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { BucketCheckpointStorage } from './bucket-checkpoint-storage.js'
import { ROOT_KEY } from './root-object.js'

const ENTRIES = 20_000
const FETCH_BYTES = 64 * 1024
const IN_FLIGHT = 8
const settings = testSettings({ fetchBytes: FETCH_BYTES, fetchesInFlight: IN_FLIGHT })
const keyOf = (i: number) => Buffer.from(`key ${String(i).padStart(6, '0')}`)

/**
 * A bucket with one checkpoint of some MB, and how it is read. A fetch of a whole piece is answered once `gathered` have been under way at a time,
 * were it only once: whoever asks from another thread may be slower than any answer.
 */
async function stored(gathered = 0) {
  const bucket = new MemoryBucket()
  const backend = new MemoryStateBackend()
  for (let i = 0; i < ENTRIES; i++) backend.putSync(keyOf(i), Buffer.alloc(100, i))
  const storage = new BucketCheckpointStorage(bucket, settings)
  const maker = new CheckpointCoordinator(backend, { storage, worker, compression: 'none' })
  const { id, sizeBytes } = await maker.createCheckpoint()
  await maker.shutdown()
  await backend.close()
  let inFlight = 0
  let mostInFlight = 0
  bucket.calls.length = 0
  let pieces = 0
  let letGo = () => {}
  const areGathered = new Promise<void>((resolve) => {
    letGo = resolve
  })
  bucket.around = async ({ bytes }, carryOut) => {
    mostInFlight = Math.max(mostInFlight, ++inFlight)
    if (bytes === FETCH_BYTES && ++pieces >= gathered) letGo()
    await (bytes === FETCH_BYTES ? areGathered : nextTurn())
    await nextTurn()
    inFlight--
    return carryOut()
  }
  const read = () => {
    const fetches = bucket.calls.filter(({ operation, key }) => operation === 'get' && key !== ROOT_KEY)
    const bytes = fetches.reduce((sum, call) => sum + call.bytes, 0)
    return { fetches: fetches.length, bytes, mostInFlight }
  }
  return { storage: new BucketCheckpointStorage(bucket, settings), bucket, id, sizeBytes, read }
}

describe('a restore from a bucket', () => {
  it('fetches each byte once, in large requests of which several are under way', async () => {
    const { storage, sizeBytes, read } = await stored(IN_FLIGHT)
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage, worker })
    await coordinator.restoreLatest()
    expect(await backend.count()).toBe(ENTRIES)
    const { fetches, bytes, mostInFlight } = read()
    // Footer and index are read by themselves, before the blocks.
    expect(bytes).toBeLessThan(1.05 * sizeBytes)
    expect(fetches).toBeLessThan(sizeBytes / FETCH_BYTES + 8)
    expect(mostInFlight).toBeGreaterThanOrEqual(IN_FLIGHT)
    await backend.close()
  })

  it('waits for an answer once to list, once for the manifest, once to open, and once for as many fetches as are under way', async () => {
    const { storage, bucket, sizeBytes, read } = await stored()
    let roundTrips = 0
    let turn: Promise<void> | undefined
    // Whatever is asked in one turn of the event loop is answered at its end.
    const answered = async () => {
      await nextTurn()
      turn = undefined
      roundTrips++
    }
    bucket.around = async (_, carryOut) => {
      turn ??= answered()
      await turn
      return carryOut()
    }
    const catalog = new CheckpointCatalog(storage)
    const [{ manifests }] = await Promise.all([catalog.listing(), catalog.sequence()])
    expect(roundTrips).toBe(1)
    const { manifest } = await catalog.requiredManifest(manifests[0] ?? 0)
    expect(roundTrips).toBe(2)
    const stream = await CheckpointStream.open(storage, contentOf(manifest))
    // Header and footer come with the first blocks.
    expect(roundTrips).toBe(4)
    let entries = 0
    for await (const { entryCount } of stream) entries += entryCount
    await stream.close()
    expect(entries).toBe(ENTRIES)
    const rounds = Math.ceil(sizeBytes / FETCH_BYTES / IN_FLIGHT)
    expect(rounds).toBeGreaterThan(4)
    expect(roundTrips).toBeLessThanOrEqual(3 + rounds)
    // Beside the pieces: the manifest, the footer, and the delta of the checkpoint that shutdown makes, which is fetched whole.
    expect(read().fetches).toBeLessThanOrEqual(Math.ceil(sizeBytes / FETCH_BYTES) + 3)
  })

  it('of a range fetches the blocks that have it, and not the rest', async () => {
    const { storage, id, sizeBytes, read } = await stored()
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage, worker })
    await coordinator.restore(id, { range: { gte: keyOf(7_000), lt: keyOf(7_200) } })
    expect(await backend.count()).toBe(200)
    // A hundredth of the keys lies in one or two blocks of a quarter of a MiB; the index is as long as there are blocks.
    expect(read().bytes).toBeLessThan(sizeBytes / 3)
    await backend.close()
  })
})
