import assert from 'node:assert/strict'
import { EntryBlockCursor } from '../../backend/entry-block.js'
import type { KeyRange } from '../../backend/types.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { type ConformanceTopic, promise } from './case.js'
import { assertBytes, assertHolds, bytes, fill, pattern, rejection, rejects, text } from './helpers.js'

/** Promise 5. */
export const batches: ConformanceTopic = {
  title: 'batches',
  cases: [
    promise('applies puts and deletes together', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', b: '2', c: '3' })
      await backend.write(
        new WriteBatch()
          .put(bytes('a'), bytes('one'))
          .delete(bytes('b'))
          .put(bytes('d'), bytes('4'))
          .delete(bytes('x')),
      )
      await assertHolds(backend, [
        ['a', 'one'],
        ['c', '3'],
        ['d', '4'],
      ])
    }),

    promise('takes keys and values as stretches of larger buffers', async ({ open }) => {
      const backend = await open()
      await fill(backend, { gone: '1' })
      const whole = bytes('key gone value')
      const stretch = (offset: number, length: number) => ({ bytes: whole, offset, length })
      const long = { bytes: pattern(300), offset: 100, length: 150 }
      const batch = new WriteBatch().put(stretch(0, 3), stretch(9, 5)).delete(stretch(4, 4))
      batch.put(bytes('long'), long)
      whole.fill(0)
      await backend.write(batch)
      assert.deepEqual(await backend.get(bytes('gone')), undefined)
      assertBytes(await backend.get(bytes('key')), bytes('value'))
      assertBytes(await backend.get(bytes('long')), pattern(300).subarray(100, 250))
      const beyond = { bytes: bytes('abc'), offset: 1, length: 3 }
      await rejects('INVALID_ARGUMENT', async () => new WriteBatch().put(beyond, bytes('1')))
      await rejects('INVALID_ARGUMENT', async () => new WriteBatch().put(bytes('1'), beyond))
      await rejects('INVALID_ARGUMENT', async () => new WriteBatch().delete(beyond))
    }),

    promise('takes an empty batch, and one of expectations alone', async ({ open }) => {
      const backend = await open()
      await backend.write(new WriteBatch())
      await fill(backend, { a: '1' })
      await backend.write(new WriteBatch().expect(bytes('a'), bytes('1')).expect(bytes('b'), undefined))
      await rejects('CONCURRENT_MODIFICATION', () =>
        backend.write(new WriteBatch().expect(bytes('b'), bytes('1'))),
      )
      await assertHolds(backend, [['a', '1']])
    }),

    promise('applies several operations on one key in their order', async ({ open }) => {
      const backend = await open()
      await fill(backend, { kept: 'old', gone: 'old' })
      const batch = new WriteBatch()
      batch.put(bytes('kept'), pattern(500)).delete(bytes('kept')).put(bytes('kept'), bytes('1'))
      batch.put(bytes('kept'), bytes('last'))
      batch.put(bytes('gone'), bytes('1')).put(bytes('gone'), pattern(300)).delete(bytes('gone'))
      batch.delete(bytes('new')).put(bytes('new'), bytes('2'))
      batch.put(bytes('never'), bytes('3')).delete(bytes('never'))
      await backend.write(batch)
      await assertHolds(backend, [
        ['kept', 'last'],
        ['new', '2'],
      ])
    }),

    promise('is a copy at the moment of the call, and may be written again', async ({ open }) => {
      const backend = await open()
      const batch = new WriteBatch().put(bytes('a'), bytes('1'))
      const written = backend.write(batch)
      batch.clear().put(bytes('b'), bytes('2'))
      await written
      await assertHolds(backend, [['a', '1']])
      await backend.write(batch)
      await backend.delete(bytes('b'))
      await backend.write(batch)
      await assertHolds(backend, [
        ['a', '1'],
        ['b', '2'],
      ])
    }),

    promise('applies when every expectation holds: values, absence, empty values', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', empty: '' })
      await backend.write(
        new WriteBatch()
          .expect(bytes('a'), bytes('1'))
          .expect(bytes('b'), undefined)
          .expect(bytes('empty'), bytes(''))
          .put(bytes('a'), bytes('2'))
          .put(bytes('b'), bytes('2')),
      )
      await assertHolds(backend, [
        ['a', '2'],
        ['b', '2'],
        ['empty', ''],
      ])
    }),

    promise('throws CONCURRENT_MODIFICATION with the key, and applies nothing', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', empty: '' })
      await backend.delete(bytes('deleted'))
      const before = backend.stats()
      const failing: [string, string | undefined][] = [
        ['a', '2'],
        ['a', ''],
        ['a', '1\0'],
        ['a', undefined],
        ['empty', undefined],
        ['empty', '\0'],
        ['absent', ''],
        ['deleted', '1'],
      ]
      for (const [key, expected] of failing) {
        const batch = new WriteBatch()
          .put(bytes('new'), bytes('n'))
          .put(bytes('a'), bytes('9'))
          .delete(bytes('empty'))
        batch
          .expect(bytes(key), expected === undefined ? undefined : bytes(expected))
          .put(bytes('z'), bytes('n'))
        const error = await rejects('CONCURRENT_MODIFICATION', () => backend.write(batch))
        assertBytes(error.details.key, bytes(key), 'the key in the error')
        await assertHolds(backend, [
          ['a', '1'],
          ['empty', ''],
        ])
      }
      const { puts, deletes, bytesWritten } = backend.stats()
      const applied = { puts: before.puts, deletes: before.deletes, bytesWritten: before.bytesWritten }
      assert.deepEqual({ puts, deletes, bytesWritten }, applied, 'what was not applied is not counted')
    }),

    promise('checks all expectations before the first write, wherever they stand', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: 'old' })
      const after = new WriteBatch().put(bytes('a'), bytes('new')).expect(bytes('a'), bytes('old'))
      await backend.write(after.put(bytes('b'), bytes('1')).expect(bytes('b'), undefined))
      const own = new WriteBatch().put(bytes('a'), bytes('newer')).expect(bytes('a'), bytes('newer'))
      await rejects('CONCURRENT_MODIFICATION', () => backend.write(own))
      const one = new WriteBatch().expect(bytes('a'), bytes('new')).expect(bytes('a'), bytes('old'))
      await rejects('CONCURRENT_MODIFICATION', () => backend.write(one.delete(bytes('a'))))
      await assertHolds(backend, [
        ['a', 'new'],
        ['b', '1'],
      ])
    }),

    promise(
      'deletes ranges in their turn: what was put before goes, what is put after stays',
      async ({ open }) => {
        const backend = await open()
        for (const settled of [false, true]) {
          await fill(backend, { a: '1', b: '2', 'b\x00': '3', c: '4' })
          if (settled) await backend.flush()
          const before = backend.stats()
          const batch = new WriteBatch()
            .put(bytes('bb'), bytes('gone'))
            .put(bytes('b'), bytes('gone'))
            .deleteRange({ prefix: bytes('b') })
            .put(bytes('b\xff'), bytes('stays'))
            .put(bytes('b\x00'), bytes('stays, too'))
            .deleteRange({ gt: bytes('c'), lt: bytes('a') })
            .delete(bytes('x'))
          await backend.write(batch)
          await assertHolds(backend, [
            ['a', '1'],
            ['b\x00', 'stays, too'],
            ['b\xff', 'stays'],
            ['c', '4'],
          ])
          const after = backend.stats()
          assert.deepEqual(
            [after.puts - before.puts, after.deletes - before.deletes],
            [4, 3],
            'puts and deletes',
          )
          await backend.write(new WriteBatch().deleteRange({ gte: bytes('b') }))
          await assertHolds(backend, [['a', '1']])
          await backend.write(new WriteBatch().deleteRange({}).put(bytes('z'), bytes('26')))
          await assertHolds(backend, [['z', '26']])
          await backend.clear()
        }
      },
    ),

    promise('deletes no range of a batch that is refused, nor what it expects', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', b: '2' })
      const refused = new WriteBatch()
        .deleteRange({})
        .expect(bytes('b'), undefined)
        .put(bytes('c'), bytes('3'))
      await rejects('CONCURRENT_MODIFICATION', () => backend.write(refused))
      await assertHolds(backend, [
        ['a', '1'],
        ['b', '2'],
      ])
      const expecting = new WriteBatch()
        .deleteRange({})
        .expect(bytes('b'), bytes('2'))
        .put(bytes('c'), bytes('3'))
      await backend.write(expecting)
      await assertHolds(backend, [['c', '3']])
    }),

    promise('takes the batch as it is at the call', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', b: '2' })
      const batch = new WriteBatch().deleteRange({ prefix: bytes('a') }).put(bytes('c'), bytes('3'))
      const written = backend.write(batch)
      batch.clear().deleteRange({}).put(bytes('wrong'), bytes('wrong'))
      await written
      await assertHolds(backend, [
        ['b', '2'],
        ['c', '3'],
      ])
    }),

    promise(
      'tells a range that it deletes from what has changed, and leaves it to earlier snapshots',
      async ({ open, snapshotNow }) => {
        const backend = await open()
        await fill(backend, { a: '1', b1: '2', b2: '3' })
        const earlier = snapshotNow(backend, { track: true })
        const batch = new WriteBatch().put(bytes('b3'), bytes('4')).deleteRange({ prefix: bytes('b') })
        await backend.write(batch.put(bytes('b2'), bytes('new')))
        await assertHolds(earlier, [
          ['a', '1'],
          ['b1', '2'],
          ['b2', '3'],
        ])
        await assertHolds(backend, [
          ['a', '1'],
          ['b2', 'new'],
        ])
        const { base } = earlier
        if (base === undefined) return
        const changed: [string, string | undefined][] = []
        for await (const block of snapshotNow(backend, { since: base }).changes()) {
          const cursor = new EntryBlockCursor(block.bytes)
          while (cursor.next())
            changed.push([text(cursor.key()), cursor.tombstone ? undefined : text(cursor.value())])
        }
        assert.deepEqual(
          changed.filter(([key]) => key === 'b1' || key === 'b2'),
          [
            ['b1', undefined],
            ['b2', 'new'],
          ],
          'changes',
        )
        base.release()
      },
      ['sync', 'snapshots'],
    ),

    promise(
      'counts what has expired in a range that it deletes',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2' }, { ttlMs: 50 })
        await fill(backend, { c: '3' })
        const before = backend.stats().expired
        clock.advance(50)
        await backend.write(new WriteBatch().deleteRange({ lte: bytes('b') }))
        const { expired, entries } = backend.stats()
        assert.deepEqual([expired - before, entries], [2, 1], 'expired and held')
      },
      ['clock', 'ttl'],
    ),

    promise('rejects a range that is none when it is added', async ({ open }) => {
      const backend = await open()
      const batch = new WriteBatch().put(bytes('a'), bytes('1'))
      const fields = [{ prefix: 'a' }, { limit: 1 }, { unknown: bytes('a') }, { gte: undefined }]
      for (const wrong of [undefined, null, 'a', [], ...fields]) {
        await rejects('INVALID_ARGUMENT', async () => batch.deleteRange(wrong as unknown as KeyRange))
      }
      assert.equal(batch.size, 1)
      await backend.write(batch)
      await assertHolds(backend, [['a', '1']])
    }),

    promise('gives one of two racing conditional batches the key', async ({ open }) => {
      const backend = await open()
      const batch = (value: string) =>
        new WriteBatch().expect(bytes('a'), undefined).put(bytes('a'), bytes(value))
      const first = backend.write(batch('first'))
      const second = rejection('CONCURRENT_MODIFICATION', backend.write(batch('second')))
      await Promise.all([first, second])
      await assertHolds(backend, [['a', 'first']])
    }),

    promise(
      'sets times to live: its own, Infinity, the default',
      async ({ open, clock }) => {
        const backend = await open({ ttlMs: 1_000 })
        const batch = new WriteBatch().put(bytes('default'), bytes('1'))
        batch
          .put(bytes('short'), bytes('1'), { ttlMs: 10 })
          .put(bytes('ever'), bytes('1'), { ttlMs: Infinity })
        await backend.write(batch)
        clock.advance(10)
        await assertHolds(backend, [
          ['default', '1'],
          ['ever', '1'],
        ])
        clock.advance(990)
        await assertHolds(backend, [['ever', '1']])
        await backend.write(batch)
        clock.advance(5)
        assert.equal(await backend.count(), 3, 'from the moment of the write, not of the batch')
      },
      ['clock', 'ttl'],
    ),

    promise(
      'expects what has expired to be absent',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { a: '1' }, { ttlMs: 100 })
        const seen = new WriteBatch().expect(bytes('a'), bytes('1')).put(bytes('b'), bytes('1'))
        await backend.write(seen)
        clock.advance(100)
        await rejects('CONCURRENT_MODIFICATION', () => backend.write(seen))
        await backend.write(new WriteBatch().expect(bytes('a'), undefined).put(bytes('a'), bytes('2')))
        await assertHolds(backend, [
          ['a', '2'],
          ['b', '1'],
        ])
      },
      ['clock', 'ttl'],
    ),

    promise('applies a thousand operations at once, or none of them', async ({ open }) => {
      const backend = await open()
      const batch = new WriteBatch()
      for (let i = 0; i < 1_000; i++) batch.put(bytes(`key ${i % 400}`), pattern(i % 70, i))
      batch.expect(bytes('key 399'), bytes('not this'))
      await rejects('CONCURRENT_MODIFICATION', () => backend.write(batch))
      await assertHolds(backend, [])
      batch.clear()
      for (let i = 0; i < 1_000; i++) batch.put(bytes(`key ${i % 400}`), pattern(i % 70, i))
      await backend.write(batch)
      assert.equal(await backend.count(), 400)
      for (let i = 600; i < 1_000; i++) {
        assertBytes(await backend.get(bytes(`key ${i % 400}`)), pattern(i % 70, i))
      }
    }),

    promise('rejects what is no batch', async ({ open }) => {
      const backend = await open()
      for (const wrong of [undefined, null, {}, [], 'batch']) {
        await rejects('INVALID_ARGUMENT', () => backend.write(wrong as unknown as WriteBatch))
      }
    }),
  ],
}
