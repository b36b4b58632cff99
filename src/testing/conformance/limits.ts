import assert from 'node:assert/strict'
import { type EntryBlock, EntryBlockBuilder } from '../../backend/entry-block.js'
import type { StateBackend } from '../../backend/state-backend.js'
import type { PutOptions } from '../../backend/types.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { isStateError, type StateError } from '../../base/errors.js'
import type { ManualClock } from '../manual-clock.js'
import { type ConformanceTopic, promise } from './case.js'
import { assertBytes, assertHolds, bytes, counting, fill, pattern, rejection, rejects } from './helpers.js'

/** An engine may need some time on its clock to give space back. */
const RECLAIM_WITHIN_MS = 600_000
const RECLAIM_STEP_MS = 1_000

/** Values that fill a store in this many puts at most. */
const FILLING_PUTS = 64

/** Promises 11 and 1, where the arguments are not even bytes. */
export const limits: ConformanceTopic = {
  title: 'limits and arguments',
  cases: [
    promise('rejects keys and values that are no Uint8Array', async ({ open }) => {
      const backend = await open()
      const counted = counting(backend, 'puts', 'deletes')
      await fill(backend, { key: 'value' })
      const noBytes = [
        'key',
        7,
        null,
        undefined,
        {},
        [1, 2],
        new ArrayBuffer(3),
        new Uint16Array(2),
        new DataView(new ArrayBuffer(1)),
      ]
      for (const wrong of noBytes as unknown as Uint8Array[]) {
        for (const call of [
          () => backend.get(wrong),
          () => backend.getOrThrow(wrong),
          () => backend.getMany([bytes('key'), wrong]),
          () => backend.contains(wrong),
          () => backend.delete(wrong),
          () => backend.put(wrong, bytes('new')),
          () => backend.put(bytes('key'), wrong),
        ]) {
          const error = await rejects('INVALID_ARGUMENT', call)
          assert.match(error.message, /Uint8Array/)
        }
        await rejects('INVALID_ARGUMENT', () => backend.getMany(wrong as unknown as Uint8Array[]))
      }
      await assertHolds(backend, [['key', 'value']])
      assert.deepEqual(counted(), { puts: 1, deletes: 0 })
    }),

    promise(
      'rejects what does not fit with BACKEND_FULL, and still reads and deletes',
      async ({ open, maxBytes }) => {
        const backend = await open({ maxBytes })
        const { held, error } = await fillUp(backend, maxBytes)
        assert.ok(held > 0, 'something fits')
        assert.equal(error.details.capacity, maxBytes)
        assert.ok(error.details.used > 0 && error.details.used <= maxBytes, `used is ${error.details.used}`)
        assert.equal(backend.stats().puts, held, 'what did not fit is not counted')
        assert.equal(await backend.count(), held)
        for (let i = 0; i < held; i++) assert.equal(await backend.contains(bytes(`key ${i}`)), true)
        assertBytes(await backend.get(bytes(`key ${held}`)), undefined)
        assertBytes((await backend.get(bytes('key 0')))?.subarray(0, 9), pattern(9, 0))
        assert.equal((await backend.listKeys(bytes('key'))).length, held)
        await rejects('BACKEND_FULL', () => backend.put(bytes('more'), large(maxBytes)))
        for (let i = 0; i < held; i++) await backend.delete(bytes(`key ${i}`))
        await assertHolds(backend, [])
      },
      ['maxBytes'],
    ),

    promise(
      'gives the space of deletes back, again and again',
      async ({ open, maxBytes, clock }) => {
        const backend = await open({ maxBytes })
        const { held } = await fillUp(backend, maxBytes)
        for (let round = 0; round < 4; round++) {
          for (let i = 0; i < held; i++) await backend.delete(bytes(`key ${i}`))
          for (let i = 0; i < held; i++)
            await eventually(clock, () => backend.put(bytes(`key ${i}`), large(maxBytes, i)))
        }
        assert.equal(await backend.count(), held)
        await backend.clear()
        for (let i = 0; i < held; i++)
          await eventually(clock, () => backend.put(bytes(`key ${i}`), large(maxBytes, i)))
      },
      ['maxBytes', 'clock'],
    ),

    promise(
      'gives the space of what expired back',
      async ({ open, maxBytes, clock }) => {
        const backend = await open({ maxBytes })
        let held = 0
        for (let round = 0; round < 4; round++) {
          const filled = await fillUp(backend, maxBytes, { ttlMs: 5_000 })
          if (round === 0) held = filled.held
          clock.advance(5_000)
          assert.equal(await backend.count(), 0)
          for (let i = 0; i < held; i++)
            await eventually(clock, () => backend.put(bytes(`x${i}`), large(maxBytes, i)))
          for (let i = 0; i < held; i++) await backend.delete(bytes(`x${i}`))
          await clock.advanceAsync(RECLAIM_STEP_MS)
        }
        assert.ok(held > 0)
      },
      ['maxBytes', 'clock', 'ttl', 'sweep'],
    ),

    promise(
      'applies nothing of a batch that does not fit',
      async ({ open, maxBytes }) => {
        const backend = await open({ maxBytes })
        await fill(backend, { a: '1', b: '2' })
        const batch = new WriteBatch().put(bytes('a'), bytes('changed')).delete(bytes('b'))
        for (let i = 0; i <= FILLING_PUTS; i++) batch.put(bytes(`key ${i}`), large(maxBytes))
        const before = backend.stats()
        await rejects('BACKEND_FULL', () => backend.write(batch))
        await assertHolds(backend, [
          ['a', '1'],
          ['b', '2'],
        ])
        const { puts, deletes, bytesWritten } = backend.stats()
        const applied = { puts: before.puts, deletes: before.deletes, bytesWritten: before.bytesWritten }
        assert.deepEqual({ puts, deletes, bytesWritten }, applied)
        await backend.write(new WriteBatch().put(bytes('a'), bytes('3')).delete(bytes('b')))
        await assertHolds(backend, [['a', '3']])
      },
      ['maxBytes'],
    ),

    promise(
      'a failed expectation comes before a lack of space',
      async ({ open, maxBytes }) => {
        const backend = await open({ maxBytes })
        const { held } = await fillUp(backend, maxBytes)
        const batch = new WriteBatch().put(bytes('more'), large(maxBytes)).expect(bytes('key 0'), undefined)
        await rejects('CONCURRENT_MODIFICATION', () => backend.write(batch))
        assert.equal(await backend.count(), held)
      },
      ['maxBytes'],
    ),

    promise(
      'keeps the old content when blocks do not fit',
      async ({ open, maxBytes }) => {
        const backend = await open({ maxBytes })
        await fill(backend, { a: '1', b: '2' })
        const blocks = async function* () {
          for (let i = 0; i <= FILLING_PUTS; i++) yield largeBlock(`key ${100 + i}`, large(maxBytes, i))
        }
        await rejection('BACKEND_FULL', backend.replaceAll(blocks()))
        await assertHolds(backend, [
          ['a', '1'],
          ['b', '2'],
        ])
        await fill(backend, { c: '3' })
        assert.equal(await backend.count(), 3)
      },
      ['maxBytes', 'replaceAll'],
    ),

    promise(
      'keeps the old content where blocks for a range do not fit beside the rest',
      async ({ open, maxBytes }) => {
        const backend = await open({ maxBytes })
        await fill(backend, { x1: '1' })
        const { held } = await fillUp(backend, maxBytes)
        const blocks = async function* () {
          for (let i = 0; i < held; i++) yield largeBlock(`x${100 + i}`, large(maxBytes, i))
        }
        const range = { prefix: bytes('x') }
        await rejection('BACKEND_FULL', backend.replaceAll(blocks(), { range }))
        assert.equal(await backend.count(), held + 1)
        assertBytes(await backend.get(bytes('x1')), bytes('1'))
        for (let i = 0; i < held; i++) {
          assertBytes((await backend.get(bytes(`key ${i}`)))?.subarray(0, 9), pattern(9, i))
        }
        await backend.delete(bytes('x1'))
        await backend.deleteRange({ prefix: bytes('key') })
        assert.equal(await backend.count(), 0)
        await fill(backend, { x2: '2' })
        await assertHolds(backend, [['x2', '2']])
      },
      ['maxBytes', 'replaceAll'],
    ),
  ],
}

function large(maxBytes: number, seed = 0): Uint8Array {
  return pattern(Math.ceil(maxBytes / FILLING_PUTS), seed)
}

function largeBlock(key: string, value: Uint8Array): EntryBlock {
  const builder = new EntryBlockBuilder(1)
  builder.add(bytes(key), value, Infinity)
  return builder.take()
}

/** Puts until nothing more fits; how many fitted, and the error of the next one. */
async function fillUp(
  backend: StateBackend,
  maxBytes: number,
  options?: PutOptions,
): Promise<{ held: number; error: StateError<'BACKEND_FULL'> }> {
  for (let i = 0; i <= FILLING_PUTS; i++) {
    try {
      await backend.put(bytes(`key ${i}`), large(maxBytes, i), options)
    } catch (error) {
      if (isStateError(error, 'BACKEND_FULL')) return { held: i, error }
      throw error
    }
  }
  return assert.fail('it took more bytes than maxBytes allows')
}

/** Repeats a write while the store is full, and lets time pass in between. */
async function eventually(clock: ManualClock, write: () => Promise<void>): Promise<void> {
  for (let passedMs = 0; ; passedMs += RECLAIM_STEP_MS) {
    try {
      return await write()
    } catch (error) {
      if (!isStateError(error, 'BACKEND_FULL') || passedMs >= RECLAIM_WITHIN_MS) throw error
      await clock.advanceAsync(RECLAIM_STEP_MS)
    }
  }
}
