import assert from 'node:assert/strict'
import type { StateBackend } from '../../backend/state-backend.js'
import type { BackendStats, PutOptions } from '../../backend/types.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { type ConformanceTopic, promise } from './case.js'
import { blockOf, bytes, collect, counting, fill, rejects, streamOf } from './helpers.js'

const COUNTERS = ['gets', 'hits', 'misses', 'puts', 'deletes', 'expired', 'bytesWritten', 'flushes'] as const
type Increments = { readonly [Name in (typeof COUNTERS)[number]]?: number }

/** Promise 10. */
export const statistics: ConformanceTopic = {
  title: 'statistics',
  cases: [
    promise('start at zero', async ({ openNew }) => {
      const stats = (await openNew()).stats()
      for (const name of [...COUNTERS, 'entries', 'openSnapshots'] as const)
        assert.equal(stats[name], 0, name)
    }),

    promise('count lookups by key: get, getMany, getOrThrow, and nothing else', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', b: '2' })
      await counts(backend, { gets: 1, hits: 1 }, () => backend.get(bytes('a')))
      await counts(backend, { gets: 1, misses: 1 }, () => backend.get(bytes('x')))
      const keys = [bytes('a'), bytes('x'), bytes('b'), bytes('a'), bytes('y')]
      await counts(backend, { gets: 5, hits: 3, misses: 2 }, () => backend.getMany(keys))
      await counts(backend, {}, () => backend.getMany([]))
      await counts(backend, { gets: 1, hits: 1 }, () => backend.getOrThrow(bytes('b')))
      await counts(backend, { gets: 1, misses: 1 }, () =>
        rejects('KEY_NOT_FOUND', () => backend.getOrThrow(bytes('x'))),
      )
      await counts(backend, {}, async () => {
        await backend.contains(bytes('a'))
        await backend.contains(bytes('x'))
        await backend.count()
        await backend.listKeys(bytes(''))
        await collect(backend.scan())
        await backend.write(new WriteBatch().expect(bytes('a'), bytes('1')))
      })
    }),

    promise('count puts, deletes and bytes, those of batches included', async ({ open }) => {
      const backend = await open()
      await counts(backend, { puts: 1, bytesWritten: 8 }, () => backend.put(bytes('key'), bytes('value')))
      await counts(backend, { puts: 1, bytesWritten: 4 }, () => backend.put(bytes('key'), bytes('v')))
      await counts(backend, { puts: 1, bytesWritten: 0 }, () => backend.put(bytes(''), bytes('')))
      await counts(backend, { deletes: 1 }, () => backend.delete(bytes('key')))
      await counts(backend, { deletes: 1 }, () => backend.delete(bytes('key')))
      const batch = new WriteBatch()
        .put(bytes('a'), bytes('12'))
        .put(bytes('a'), bytes('345'))
        .delete(bytes('a'))
      batch.delete(bytes('never')).put(bytes('b'), bytes('')).expect(bytes('c'), undefined)
      await counts(backend, { puts: 3, deletes: 2, bytesWritten: 8 }, () => backend.write(batch))
      await counts(backend, { puts: 3, deletes: 2, bytesWritten: 8 }, () => backend.write(batch))
      await counts(backend, {}, () => backend.write(new WriteBatch()))
      await counts(backend, {}, () => backend.clear())
    }),

    promise('do not count what was rejected', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1' })
      const wrong = 'key' as unknown as Uint8Array
      const options = { ttlMs: -1 } as PutOptions
      const batch = new WriteBatch()
        .put(bytes('b'), bytes('2'))
        .delete(bytes('a'))
        .expect(bytes('a'), undefined)
      for (const call of [
        () => backend.get(wrong),
        () => backend.getMany([bytes('a'), wrong]),
        () => backend.put(bytes('a'), wrong),
        () => backend.put(bytes('a'), bytes('1'), options),
        () => backend.delete(wrong),
      ]) {
        await counts(backend, {}, () => rejects('INVALID_ARGUMENT', call))
      }
      await counts(backend, {}, () => rejects('CONCURRENT_MODIFICATION', () => backend.write(batch)))
    }),

    promise('count flushes', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1' })
      const before = backend.stats().flushes
      await backend.flush()
      await backend.flush()
      assert.ok(backend.stats().flushes >= before + 2)
    }),

    promise('tell how many entries there are', async ({ open }) => {
      const backend = await open()
      const after = async (call: () => Promise<unknown>) => {
        await call()
        return backend.stats().entries
      }
      assert.equal(await after(() => fill(backend, { a: '1', b: '2', c: '3' })), 3)
      assert.equal(await after(() => fill(backend, { a: 'longer than before' })), 3)
      assert.equal(await after(() => backend.delete(bytes('a'))), 2)
      assert.equal(await after(() => backend.delete(bytes('a'))), 2)
      const batch = new WriteBatch().put(bytes('d'), bytes('')).delete(bytes('b')).put(bytes('e'), bytes(''))
      assert.equal(await after(() => backend.write(batch)), 3)
      assert.equal(await after(() => backend.clear()), 0)
    }),

    promise(
      'tell how many snapshots and scans are open',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2' })
        const first = await snapshotOf(backend)
        const second = await snapshotOf(backend)
        const scan = backend.scan()
        await scan.next()
        assert.equal(backend.stats().openSnapshots, 3)
        await first.close()
        await first.close()
        assert.equal(backend.stats().openSnapshots, 2)
        await scan.return?.()
        await backend.listKeys(bytes(''))
        assert.equal(backend.stats().openSnapshots, 1)
        await second.close()
        assert.equal(backend.stats().openSnapshots, 0)
      },
      ['snapshots'],
    ),

    promise('are what they were when they were asked for', async ({ openNew }) => {
      const backend = await openNew()
      const before = backend.stats()
      await fill(backend, { a: '1' })
      await backend.get(bytes('a'))
      assert.equal(before.puts, 0)
      assert.equal(before.gets, 0)
      assert.equal(before.entries, 0)
    }),

    promise('outlive clear', async ({ open }) => {
      const backend = await open()
      const counted = counting(backend, 'puts')
      await fill(backend, { a: '1', b: '2' })
      await backend.get(bytes('a'))
      await counts(backend, {}, () => backend.clear())
      assert.equal(counted().puts, 2)
    }),

    promise(
      'do not count what replaceAll brings as puts',
      async ({ open }) => {
        const backend = await open()
        await counts(backend, {}, () => backend.replaceAll(streamOf(blockOf(['a', '1'], ['b', '2']))))
        assert.equal(backend.stats().entries, 2)
      },
      ['replaceAll'],
    ),

    promise(
      'take what has expired for a miss',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { a: '1' }, { ttlMs: 10 })
        await counts(backend, { gets: 1, hits: 1 }, () => backend.get(bytes('a')))
        clock.advance(10)
        const before = backend.stats()
        await backend.get(bytes('a'))
        await backend.getMany([bytes('a')])
        await backend.getOrThrow(bytes('a')).catch(() => undefined)
        const after = backend.stats()
        assert.deepEqual(
          [after.gets, after.hits, after.misses],
          [before.gets + 3, before.hits, before.misses + 3],
        )
      },
      ['clock', 'ttl'],
    ),

    promise(
      'count each entry that expired once: overwritten, deleted, cleared or swept',
      async ({ open, clock }) => {
        const backend = await open()
        const counted = counting(backend, 'expired')
        await fill(backend, { overwritten: '1', deleted: '1', batched: '1', refreshed: '1' }, { ttlMs: 10 })
        await fill(backend, { early: '1' }, { ttlMs: 10 })
        await backend.delete(bytes('early'))
        await fill(backend, { refreshed: '1' }, { ttlMs: 1_000_000 })
        clock.advance(10)
        await fill(backend, { overwritten: '2' })
        await fill(backend, { overwritten: '3' })
        await backend.delete(bytes('deleted'))
        await backend.delete(bytes('deleted'))
        const batch = new WriteBatch().put(bytes('batched'), bytes('2')).put(bytes('batched'), bytes('3'))
        await backend.write(batch.delete(bytes('batched')))
        assert.equal(await backend.count(), 2)
        assert.equal(counted().expired, 3)
        await fill(backend, { cleared: '1', 'cleared too': '1' }, { ttlMs: 10 })
        clock.advance(10)
        await backend.clear()
        assert.equal(counted().expired, 5)
      },
      ['clock', 'ttl'],
    ),
  ],
}

/** Checks that a call moves the counters by exactly this much, and the others not at all. */
async function counts(
  backend: StateBackend,
  increments: Increments,
  call: () => Promise<unknown>,
): Promise<void> {
  const before: BackendStats = backend.stats()
  await call()
  const after = backend.stats()
  // An engine may flush by itself whenever it likes.
  for (const name of COUNTERS.filter((counter) => counter !== 'flushes')) {
    assert.equal(after[name] - before[name], increments[name] ?? 0, `${name} moved by`)
  }
}
