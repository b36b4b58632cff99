import assert from 'node:assert/strict'
import { EntryBlockCursor } from '../../backend/entry-block.js'
import type { StateSnapshot } from '../../backend/state-snapshot.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { type ConformanceTopic, promise } from './case.js'
import {
  assertBytes,
  assertHolds,
  bytes,
  collect,
  contents,
  fill,
  pattern,
  rejects,
  scannedKeys,
  scanRejects,
  step,
  text,
} from './helpers.js'

/** Promise 6, and the blocks that checkpoints are made of. */
export const snapshots: ConformanceTopic = {
  title: 'snapshots and running scans',
  cases: [
    promise(
      'a snapshot keeps its instant under puts, deletes and batches',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2', c: '3' })
        const snapshot = await snapshotOf(backend)
        await fill(backend, { a: 'overwritten', d: 'new' })
        await backend.delete(bytes('b'))
        await backend.write(new WriteBatch().delete(bytes('c')).put(bytes('b'), bytes('again')))
        await assertHolds(snapshot, [
          ['a', '1'],
          ['b', '2'],
          ['c', '3'],
        ])
        assert.equal(await snapshot.contains(bytes('d')), false)
        assertBytes(await snapshot.get(bytes('d')), undefined)
        await assertHolds(backend, [
          ['a', 'overwritten'],
          ['b', 'again'],
          ['d', 'new'],
        ])
      },
      ['snapshots'],
    ),

    promise(
      'a snapshot keeps its instant under clear',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2' })
        const snapshot = await snapshotOf(backend)
        await backend.clear()
        await fill(backend, { b: 'new', c: 'new' })
        await assertHolds(snapshot, [
          ['a', '1'],
          ['b', '2'],
        ])
        await assertHolds(backend, [
          ['b', 'new'],
          ['c', 'new'],
        ])
      },
      ['snapshots'],
    ),

    promise(
      'a snapshot keeps values that are overwritten by shorter, equal and longer ones',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        const lengths = [0, 1, 8, 9, 64, 1_000]
        for (const length of lengths) await backend.put(bytes(`key ${length}`), pattern(length, 1))
        const snapshot = await snapshotOf(backend)
        for (const [round, change] of [-1, 0, 1, 500, 0, -1].entries()) {
          for (const length of lengths) {
            await backend.put(bytes(`key ${length}`), pattern(Math.max(0, length + change), round + 2))
          }
          for (const length of lengths) {
            assertBytes(
              await snapshot.get(bytes(`key ${length}`)),
              pattern(length, 1),
              `${length} bytes, by ${change}`,
            )
          }
        }
        await snapshot.close()
        for (const length of lengths) {
          assertBytes(await backend.get(bytes(`key ${length}`)), pattern(Math.max(0, length - 1), 7))
        }
      },
      ['snapshots'],
    ),

    promise(
      'holds many snapshots at once, each of its own instant, closed in any order',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        const held: { snapshot: StateSnapshot; expected: [string, string][] }[] = []
        for (let i = 0; i < 20; i++) {
          await fill(backend, { [`key ${i % 7}`]: `${i}`, [`only ${i}`]: 'x'.repeat(i * 3) })
          if (i % 3 === 0) await backend.delete(bytes(`only ${i - 1}`))
          if (i === 12) await backend.clear()
          held.push({ snapshot: await snapshotOf(backend), expected: await contents(backend) })
          assert.equal(backend.stats().openSnapshots, i + 1)
        }
        for (const index of [10, 0, 19, 5, 6, 18, 1, 12, 13, 2]) {
          const [closed] = held.splice(index % held.length, 1)
          await closed?.snapshot.close()
          await fill(backend, { 'key 1': `after ${index}` })
          for (const { snapshot, expected } of held) assert.deepEqual(await contents(snapshot), expected)
        }
        for (const { snapshot, expected } of held) {
          await assertHolds(snapshot, expected)
          await snapshot.close()
        }
        assert.equal(backend.stats().openSnapshots, 0)
      },
      ['snapshots'],
    ),

    promise(
      'two snapshots without a write between them see the same',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        const empty = await snapshotOf(backend)
        await fill(backend, { a: '1' })
        const first = await snapshotOf(backend)
        const second = await snapshotOf(backend)
        await fill(backend, { a: '2' })
        await first.close()
        await assertHolds(second, [['a', '1']])
        await assertHolds(empty, [])
      },
      ['snapshots'],
    ),

    promise(
      'a snapshot closes once and twice, and then rejects with CLOSED',
      async ({ open }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2' })
        const snapshot = await backend.snapshot()
        const scan = snapshot.scan()
        await step(scan)
        const unstarted = snapshot.scan()
        const blocks = snapshot.blocks()
        await snapshot.close()
        await snapshot.close()
        await snapshot[Symbol.asyncDispose]()
        for (const call of [
          () => snapshot.get(bytes('a')),
          () => snapshot.getMany([bytes('a')]),
          () => snapshot.contains(bytes('a')),
          () => snapshot.count(),
        ]) {
          await rejects('CLOSED', call)
        }
        await scanRejects('CLOSED', () => snapshot.scan())
        await scanRejects('CLOSED', () => snapshot.blocks())
        await rejects('CLOSED', () => scan.next())
        await rejects('CLOSED', () => unstarted.next())
        await rejects('CLOSED', () => blocks.next())
        assert.equal(backend.stats().openSnapshots, 0)
        await assertHolds(backend, [
          ['a', '1'],
          ['b', '2'],
        ])
      },
      ['snapshots'],
    ),

    promise(
      'a snapshot is disposed of by its own dispose method',
      async ({ open }) => {
        const backend = await open()
        const snapshot = await backend.snapshot()
        await snapshot[Symbol.asyncDispose]()
        assert.equal(backend.stats().openSnapshots, 0)
        await rejects('CLOSED', () => snapshot.count())
      },
      ['snapshots'],
    ),

    promise(
      'a snapshot checks its arguments and gives copies',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        await fill(backend, { a: '1' })
        const snapshot = await snapshotOf(backend)
        const wrong = 'a' as unknown as Uint8Array
        await rejects('INVALID_ARGUMENT', () => snapshot.get(wrong))
        await rejects('INVALID_ARGUMENT', () => snapshot.getMany([wrong]))
        await rejects('INVALID_ARGUMENT', () => snapshot.contains(pattern(2_049)))
        await scanRejects('INVALID_ARGUMENT', () => snapshot.blocks({ targetBytes: 0 }))
        const unknown = { target: 1 } as unknown as { targetBytes: number }
        await scanRejects('INVALID_ARGUMENT', () => snapshot.blocks(unknown))
        const [many] = await snapshot.getMany([bytes('a')])
        const [block] = await collect(snapshot.blocks())
        for (const given of [await snapshot.get(bytes('a')), many, block?.bytes]) given?.fill(0)
        for (const entry of await collect(snapshot.scan())) for (const given of entry) given.fill(0)
        await assertHolds(snapshot, [['a', '1']])
        await assertHolds(backend, [['a', '1']])
      },
      ['snapshots'],
    ),

    promise(
      'a running scan sees the instant of its first step, whatever is written meanwhile',
      async ({ open }) => {
        const backend = await open()
        await fill(backend, { a: '1', c: '3', e: '5', g: '7' })
        const scan = backend.scan()
        await fill(backend, { b: 'before the first step' })
        assertBytes((await step(scan))[0], bytes('a'))
        await fill(backend, { c: 'changed', d: 'added', a: 'changed' })
        await backend.delete(bytes('e'))
        const seen = [text((await step(scan))[0])]
        await backend.clear()
        await fill(backend, { f: 'added' })
        const rest = await collect(scan)
        assert.deepEqual(
          [...seen, ...rest.map(([key, value]) => `${text(key)}=${text(value)}`)],
          ['b', 'c=3', 'e=5', 'g=7'],
        )
        assert.equal(backend.stats().openSnapshots, 0)
      },
      ['instantScans'],
    ),

    promise(
      'a long scan is not disturbed by a writer that overtakes it',
      async ({ open }) => {
        const backend = await open()
        for (let i = 0; i < 700; i++) await backend.put(bytes(`key ${1_000 + i}`), pattern(20, i))
        let index = 0
        for await (const [key, value] of backend.scan()) {
          assert.equal(text(key), `key ${1_000 + index}`)
          assertBytes(value, pattern(20, index), `value ${index}`)
          await backend.put(key, pattern(index % 40, 1))
          await backend.put(bytes(`key ${1_000 + ((index * 37) % 700)}`), pattern(index % 60, 2))
          await backend.delete(bytes(`key ${1_000 + ((index * 11) % 700)}`))
          await backend.put(bytes(`key ${1_000 + index}x`), bytes('new'))
          index++
        }
        assert.equal(index, 700)
      },
      ['instantScans'],
    ),

    promise(
      'reverse scans and several scans at once keep their instants',
      async ({ open }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2', c: '3' })
        const back = backend.scan({ reverse: true })
        assertBytes((await step(back))[0], bytes('c'))
        await backend.delete(bytes('b'))
        const forth = backend.scan()
        assertBytes((await step(forth))[0], bytes('a'))
        await fill(backend, { b: 'again' })
        assert.equal(backend.stats().openSnapshots, 2)
        assert.deepEqual(
          (await collect(back)).map(([, value]) => text(value)),
          ['2', '1'],
        )
        assert.deepEqual(
          (await collect(forth)).map(([key]) => text(key)),
          ['c'],
        )
        assert.equal(backend.stats().openSnapshots, 0)
      },
      ['instantScans'],
    ),

    promise(
      'a scan that is left early lets go of its snapshot',
      async ({ open }) => {
        const backend = await open()
        for (let i = 0; i < 50; i++) await backend.put(bytes(`key ${i}`), bytes('value'))
        for await (const [key] of backend.scan()) {
          assert.equal(backend.stats().openSnapshots, 1, 'a running scan is an open snapshot')
          if (text(key) === 'key 2') break
        }
        assert.equal(backend.stats().openSnapshots, 0, 'after break')
        const thrown = new Error('of the loop')
        const failing = async () => {
          for await (const _ of backend.scan()) throw thrown
        }
        await assert.rejects(failing, thrown)
        assert.equal(backend.stats().openSnapshots, 0, 'after throw')
        const scan = backend.scan()
        await step(scan)
        assert.equal((await scan.return?.())?.done, true)
        assert.equal((await scan.next()).done, true, 'after return')
        const unstarted = backend.scan()
        await unstarted.return?.()
        assert.equal((await unstarted.next()).done, true, 'returned before the first step')
        backend.scan()
        assert.equal(backend.stats().openSnapshots, 0, 'a scan that nobody steps holds nothing')
      },
      ['instantScans'],
    ),

    promise(
      'keeps everything within reach after many snapshots came and went',
      async ({ open }) => {
        const backend = await open()
        for (let i = 0; i < 300; i++) {
          await backend.put(bytes(`key ${i % 30}`), pattern(i % 90, i))
          const snapshot = await backend.snapshot()
          await backend.put(bytes(`key ${(i + 7) % 30}`), pattern(i % 80, i + 1))
          if (i % 2 === 0) await snapshot.close()
          else await snapshot[Symbol.asyncDispose]()
          assertBytes(await backend.get(bytes(`key ${(i + 7) % 30}`)), pattern(i % 80, i + 1))
        }
        assert.equal(await backend.count(), 30)
        assert.equal((await scannedKeys(backend)).length, 30)
      },
      ['snapshots'],
    ),

    promise(
      'blocks carry every entry once, in order, with sizes near the target',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        const expected = new Map<string, Uint8Array>()
        for (let i = 0; i < 400; i++) {
          const key = text(pattern(1 + (i % 23), i))
          expected.set(key, pattern((i * 7) % 300, i))
          await backend.put(bytes(key), pattern((i * 7) % 300, i))
        }
        expected.set('', pattern(3_000))
        await backend.put(bytes(''), pattern(3_000))
        const snapshot = await snapshotOf(backend)
        await backend.clear()
        for (const targetBytes of [1, 500, 4_096, undefined]) {
          const left = new Map(expected)
          let last: string | undefined
          for await (const block of snapshot.blocks(targetBytes === undefined ? {} : { targetBytes })) {
            const cursor = new EntryBlockCursor(block.bytes)
            let entryCount = 0
            let lastStart = 0
            while (cursor.next()) {
              lastStart = cursor.keyStart - 8
              const key = text(cursor.key())
              assert.ok(last === undefined || key > last, 'keys increase, also from block to block')
              assert.equal(cursor.tombstone, false)
              assert.equal(cursor.expiresAtMs, Infinity)
              assertBytes(cursor.value().slice(), left.get(key), 'a value in a block')
              left.delete(key)
              last = key
              entryCount++
            }
            assert.equal(block.entryCount, entryCount)
            assert.ok(entryCount > 0, 'a block holds at least one entry')
            assert.ok(
              lastStart < (targetBytes ?? 256 * 1_024),
              'a block is handed on when it reaches its target',
            )
          }
          assert.equal(left.size, 0, 'all entries are in the blocks')
        }
        assert.equal(backend.stats().openSnapshots, 1)
      },
      ['snapshots'],
    ),

    promise(
      'blocks of an empty snapshot are none, and a stream left early leaves the snapshot usable',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        const empty = await snapshotOf(backend)
        assert.deepEqual(await collect(empty.blocks()), [])
        for (let i = 0; i < 100; i++) await backend.put(bytes(`key ${i}`), pattern(10))
        const snapshot = await snapshotOf(backend)
        for await (const _ of snapshot.blocks({ targetBytes: 100 })) break
        assert.equal(await snapshot.count(), 100)
        const controller = new AbortController()
        let seen = 0
        await scanRejects('ABORTED', async function* () {
          for await (const block of snapshot.blocks({ targetBytes: 100, signal: controller.signal })) {
            if (++seen === 2) controller.abort()
            yield block
          }
        })
        assert.equal(seen, 2)
      },
      ['snapshots'],
    ),
  ],
}
