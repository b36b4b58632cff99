import assert from 'node:assert/strict'
import type { KeyRange } from '../../backend/types.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { seededRandom } from '../../base/random.js'
import { nextTurn } from '../../base/slices.js'
import { type ConformanceTopic, promise } from './case.js'
import { assertAbsent, assertHolds, bytes, collect, contents, fill, rejects, step, text } from './helpers.js'

const FIVE = { a: '1', b: '2', 'b\x00': '3', 'b\xff': '4', c: '5' }
const KEYS = Object.keys(FIVE)
/** Values that fill a store in this many puts at most. */
const FILLING_PUTS = 512

/** Removing what is in a range of keys, in one step. */
export const rangeDeletes: ConformanceTopic = {
  title: 'deleting ranges',
  cases: [
    promise('a range goes, by any bounds, and nothing else', async ({ open }) => {
      const ranges: [KeyRange, readonly string[]][] = [
        [{ prefix: bytes('b') }, ['b', 'b\x00', 'b\xff']],
        [{ gt: bytes('b') }, ['b\x00', 'b\xff', 'c']],
        [{ gte: bytes('b'), lt: bytes('b\xff') }, ['b', 'b\x00']],
        [{ lte: bytes('b') }, ['a', 'b']],
        [{ prefix: bytes('b'), gt: bytes('b\x00') }, ['b\xff']],
        [{ gte: bytes('b'), lte: bytes('b') }, ['b']],
        [{ gt: bytes('d') }, []],
        [{ gt: bytes('c'), lt: bytes('a') }, []],
        [{}, KEYS],
      ]
      for (const settled of [false, true]) {
        // One backend for all of them: an engine may take long to open, and what a clear left behind must not matter.
        const backend = await open()
        for (const [range, gone] of ranges) {
          await fill(backend, FIVE)
          if (settled) await backend.flush()
          await backend.deleteRange(range)
          const left = Object.entries(FIVE).filter(([key]) => !gone.includes(key))
          await assertHolds(backend, left)
          assert.equal(backend.stats().entries, left.length, 'entries')
          for (const key of gone) await assertAbsent(backend, bytes(key))
          if (settled) await backend.flush()
          await assertHolds(backend, left)
          await backend.clear()
        }
      }
    }),

    promise('what is written afterwards is there, and can go again', async ({ open }) => {
      const backend = await open()
      for (let round = 0; round < 3; round++) {
        await fill(backend, FIVE)
        if (round === 1) await backend.flush()
        await backend.deleteRange({ prefix: bytes('b') })
        await fill(backend, { 'b\x00': `round ${round}`, bb: 'new' })
        await assertHolds(backend, [
          ['a', '1'],
          ['b\x00', `round ${round}`],
          ['bb', 'new'],
          ['c', '5'],
        ])
      }
      await backend.deleteRange({ gte: bytes('b') })
      await backend.write(new WriteBatch().expect(bytes('bb'), undefined).put(bytes('z'), bytes('1')))
      await assertHolds(backend, [
        ['a', '1'],
        ['z', '1'],
      ])
    }),

    promise('agrees with filter, whatever was written before and between flushes', async ({ open }) => {
      const random = seededRandom(17)
      const backend = await open()
      const model = new Map<string, string>()
      const keyOf = () => bytes(String(Math.floor(random() * 200)).padStart(3, '0'))
      for (let round = 0; round < 30; round++) {
        for (let i = 0; i < 40; i++) {
          const key = keyOf()
          if (random() < 0.2) {
            await backend.delete(key)
            model.delete(text(key))
          } else {
            await backend.put(key, bytes(`${round} ${i}`))
            model.set(text(key), `${round} ${i}`)
          }
        }
        if (random() < 0.3) await backend.flush()
        const [gte, lt] = [keyOf(), keyOf()]
        await backend.deleteRange({ gte, lt })
        for (const key of model.keys()) if (key >= text(gte) && key < text(lt)) model.delete(key)
        assert.deepEqual(await contents(backend), [...model].sort())
      }
      await assertHolds(backend, [...model].sort())
    }),

    promise(
      'snapshots and running scans keep what they see',
      async ({ open, snapshotOf }) => {
        for (const settled of [false, true]) {
          const backend = await open()
          await fill(backend, FIVE)
          if (settled) await backend.flush()
          const snapshot = await snapshotOf(backend)
          const scan = backend.scan()
          const seen = [await step(scan)]
          await backend.deleteRange({ gte: bytes('b') })
          await fill(backend, { b: 'new' })
          await backend.flush()
          seen.push(...(await collect(scan)))
          assert.deepEqual(
            seen.map(([key, value]) => [text(key), text(value)]),
            Object.entries(FIVE),
          )
          await assertHolds(snapshot, Object.entries(FIVE))
          await assertHolds(backend, [
            ['a', '1'],
            ['b', 'new'],
          ])
        }
      },
      ['snapshots', 'instantScans'],
    ),

    promise('is one step for readers: all of a range is there, or nothing', async ({ open }) => {
      const backend = await open()
      for (let round = 0; round < 10; round++) {
        for (let i = 0; i < 50; i++) await backend.put(bytes(`k${i}`), bytes('1'))
        const keys = Array.from({ length: 50 }, (_, i) => bytes(`k${i}`))
        const state = { done: false }
        const remove = async () => {
          await backend.deleteRange({ prefix: bytes('k') })
          state.done = true
        }
        const removing = remove()
        const seen = new Set<number>()
        while (!state.done) {
          const values = await backend.getMany(keys)
          seen.add(values.filter((value) => value !== undefined).length)
          // Reads that never wait for anything would leave an engine that works in slices no turn of its own.
          await nextTurn()
        }
        await removing
        for (const there of seen)
          assert.ok(there === 0 || there === keys.length, `${there} of ${keys.length} keys`)
        assert.equal(await backend.count(), 0)
      }
    }),

    promise(
      'counts as one delete, and counts what had expired',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, FIVE)
        await fill(backend, { b1: 'x', d1: 'x' }, { ttlMs: 10 })
        const before = backend.stats()
        clock.advance(10)
        await backend.deleteRange({ prefix: bytes('b') })
        await backend.deleteRange({ prefix: bytes('nothing') })
        assert.equal(backend.stats().deletes, before.deletes + 2)
        assert.equal(backend.stats().puts, before.puts)
        await backend.clear()
        assert.equal(backend.stats().expired - before.expired, 2, 'expired')
      },
      ['ttl', 'clock'],
    ),

    promise('rejects what is no range of keys, and removes nothing', async ({ open }) => {
      const backend = await open()
      await fill(backend, FIVE)
      for (const wrong of [
        null,
        undefined,
        5,
        { limit: 1 },
        { reverse: true },
        { prefix: 'b' },
        { from: 1 },
        Promise.resolve({ prefix: bytes('b') }),
        Object.create({ gte: 'b' }),
      ]) {
        await rejects('INVALID_ARGUMENT', () => backend.deleteRange(wrong as unknown as KeyRange))
      }
      await assertHolds(backend, Object.entries(FIVE))
    }),

    promise('rejects a bound that is named but undefined, and removes nothing', async ({ open }) => {
      const backend = await open()
      await fill(backend, FIVE)
      for (const name of ['prefix', 'gt', 'gte', 'lt', 'lte']) {
        for (const range of [
          { [name]: undefined },
          { lte: bytes('b'), [name]: undefined },
          Object.create({ [name]: undefined }),
        ]) {
          const error = await rejects('INVALID_ARGUMENT', () => backend.deleteRange(range as KeyRange))
          assert.deepEqual(
            error.details.violations.map(({ argument }) => argument),
            [`range.${name}`],
          )
        }
      }
      await assertHolds(backend, Object.entries(FIVE))
    }),

    promise(
      'works when the store is full, and gives the space back',
      async ({ open, maxBytes }) => {
        const backend = await open({ maxBytes })
        const value = new Uint8Array(Math.ceil(maxBytes / FILLING_PUTS)).fill(1)
        const fillUp = async () => {
          for (let i = 0; i <= FILLING_PUTS; i++) await backend.put(bytes(`k${i}`), value)
        }
        await rejects('BACKEND_FULL', fillUp)
        await backend.deleteRange({ prefix: bytes('k') })
        assert.equal(await backend.count(), 0)
        await backend.put(bytes('k'), value)
        assert.equal(await backend.count(), 1)
      },
      ['maxBytes'],
    ),
  ],
}
