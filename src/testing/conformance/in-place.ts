import assert from 'node:assert/strict'
import { EntryBlockCursor } from '../../backend/entry-block.js'
import { isStateError } from '../../base/errors.js'
import { Slot } from '../../base/slot.js'
import { type ConformanceTopic, promise } from './case.js'
import { assertHolds, bytes, counting, fill, text } from './helpers.js'

const shown = ({ bytes: all, offset, length }: Slot): string => text(all.subarray(offset, offset + length))
const write = ({ bytes: all, offset }: Slot, value: string): void => all.set(bytes(value), offset)
const isInvalid = (error: unknown): boolean => isStateError(error, 'INVALID_ARGUMENT')
const isClosed = (error: unknown): boolean => isStateError(error, 'CLOSED')

/** Values that are read and changed where they lie. */
export const inPlace: ConformanceTopic = {
  title: 'values in place',
  cases: [
    promise(
      'shows a value where it lies, and nothing where there is none',
      async ({ open, inPlaceOf }) => {
        const backend = await open()
        await fill(backend, { a: 'value', empty: '' })
        const counted = counting(backend, 'gets', 'hits')
        const state = inPlaceOf(backend)
        const slot = new Slot()
        assert.equal(state.peekSync(bytes('a'), slot), true)
        assert.equal(shown(slot), 'value')
        assert.equal(slot.view.getUint8(slot.offset), 'v'.charCodeAt(0), 'view and bytes show the same')
        assert.equal(state.peekSync(bytes('empty'), slot), true)
        assert.equal(slot.length, 0)
        assert.equal(state.peekSync(bytes('none'), slot), false)
        assert.deepEqual(counted(), { gets: 3, hits: 2 })
      },
      ['sync', 'inPlace'],
    ),

    promise(
      'makes an entry of zeros, and finds it to be changed',
      async ({ open, inPlaceOf }) => {
        const backend = await open()
        const counted = counting(backend, 'puts', 'bytesWritten')
        const state = inPlaceOf(backend)
        const slot = new Slot()
        for (let i = 1; i <= 5; i++) {
          assert.equal(state.updateSync(bytes('count'), 8, slot), i > 1)
          assert.equal(slot.length, 8)
          const { view, offset } = slot
          view.setFloat64(offset, view.getFloat64(offset, true) + 1, true)
        }
        const value = (await backend.get(bytes('count'))) ?? new Uint8Array(8)
        assert.equal(new DataView(value.slice().buffer).getFloat64(0, true), 5)
        assert.deepEqual(counted(), { puts: 5, bytesWritten: 5 * (5 + 8) })
      },
      ['sync', 'inPlace'],
    ),

    promise(
      'a value of another length keeps the common head, and the rest is zeros',
      async ({ open, inPlaceOf }) => {
        const backend = await open()
        await fill(backend, { a: 'abcdef', b: 'abc' })
        const state = inPlaceOf(backend)
        const slot = new Slot()
        const grown = `abc${'\0'.repeat(37)}`
        assert.equal(state.updateSync(bytes('a'), 2, slot), true)
        assert.equal(shown(slot), 'ab')
        assert.equal(state.updateSync(bytes('b'), 40, slot), true)
        assert.equal(shown(slot), grown)
        await assertHolds(backend, [
          ['a', 'ab'],
          ['b', grown],
        ])
      },
      ['sync', 'inPlace'],
    ),

    promise(
      'finds what was flushed, changes a copy of it, and counts it once',
      async ({ open, inPlaceOf }) => {
        const backend = await open()
        const state = inPlaceOf(backend)
        const slot = new Slot()
        await fill(backend, { a: 'abcdef', b: 'x'.repeat(300), c: '3' })
        for (let round = 0; round < 3; round++) {
          await backend.flush()
          assert.equal(state.peekSync(bytes('b'), slot), true)
          assert.equal(shown(slot), 'x'.repeat(300))
          assert.equal(state.updateSync(bytes('a'), 8, slot), true)
          assert.equal(shown(slot), round === 0 ? 'abcdef\0\0' : `round ${round - 1}\0`)
          write(slot, `round ${round}\0`)
          assert.equal(state.updateSync(bytes('b'), 300, slot), true)
          assert.equal(backend.stats().entries, 3)
          assert.equal(state.peekSync(bytes('a'), slot), true)
          assert.equal(shown(slot), `round ${round}\0`)
        }
        await backend.delete(bytes('a'))
        assert.equal(state.peekSync(bytes('a'), slot), false)
        assert.equal(state.updateSync(bytes('a'), 2, slot), false, 'a deleted entry is made anew')
        assert.equal(shown(slot), '\0\0')
        await backend.clear()
        assert.equal(state.peekSync(bytes('b'), slot), false)
        assert.equal(state.updateSync(bytes('b'), 2, slot), false, 'a cleared entry is made anew')
        assert.equal(backend.stats().entries, 1)
        await backend.flush()
        await assertHolds(backend, [['b', '\0\0']])
      },
      ['sync', 'inPlace'],
    ),

    promise(
      'what a snapshot sees stays, and an update is among what has changed',
      async ({ open, inPlaceOf, snapshotNow }) => {
        const backend = await open()
        await fill(backend, { a: 'before', b: 'same' })
        const state = inPlaceOf(backend)
        const snapshot = snapshotNow(backend, { track: true })
        const slot = new Slot()
        state.updateSync(bytes('a'), 6, slot)
        write(slot, 'after!')
        await assertHolds(snapshot, [
          ['a', 'before'],
          ['b', 'same'],
        ])
        await assertHolds(backend, [
          ['a', 'after!'],
          ['b', 'same'],
        ])
        const { base } = snapshot
        if (base === undefined) return
        const changed = new Map<string, string>()
        for await (const block of snapshotNow(backend, { since: base }).changes()) {
          const cursor = new EntryBlockCursor(block.bytes)
          while (cursor.next()) changed.set(text(cursor.key()), text(cursor.value()))
        }
        assert.equal(changed.get('a'), 'after!', 'the change')
        base.release()
      },
      ['sync', 'inPlace', 'snapshots'],
    ),

    promise(
      'an update sets the time to live anew, and what has expired is not found',
      async ({ open, inPlaceOf, clock }) => {
        const backend = await open({ ttlMs: 100 })
        const state = inPlaceOf(backend)
        const slot = new Slot()
        state.updateSync(bytes('a'), 1, slot)
        state.updateSync(bytes('b'), 1, slot, { ttlMs: 10 })
        write(slot, 'x')
        clock.advance(60)
        assert.equal(state.peekSync(bytes('b'), slot), false)
        assert.equal(state.updateSync(bytes('b'), 1, slot), false, 'one that has expired is made anew')
        assert.equal(shown(slot), '\0')
        state.updateSync(bytes('a'), 1, slot)
        clock.advance(60)
        assert.equal(state.peekSync(bytes('a'), slot), true)
        clock.advance(40)
        assert.equal(state.peekSync(bytes('a'), slot), false)
      },
      ['sync', 'inPlace', 'ttl', 'clock'],
    ),

    promise(
      'takes a key as a stretch of a larger buffer, and rejects what is none',
      async ({ open, inPlaceOf }) => {
        const backend = await open()
        const state = inPlaceOf(backend)
        const buffer = bytes('..key..')
        const slot = new Slot()
        state.putSync({ bytes: buffer, offset: 2, length: 3 }, bytes('value'))
        buffer.fill(0)
        assert.equal(state.peekSync(bytes('key'), slot), true)
        assert.equal(shown(slot), 'value')
        assert.throws(() => state.peekSync({ bytes: buffer, offset: 5, length: 3 }, slot), isInvalid)
        assert.throws(() => state.updateSync(bytes('key'), -1, slot), isInvalid)
        assert.throws(() => state.updateSync(bytes('key'), 1.5, slot), isInvalid)
        assert.throws(() => state.updateSync(new Uint8Array(2_049), 1, slot), isInvalid)
        assert.throws(() => state.peekSync(bytes('key'), null as unknown as Slot), isInvalid)
        for (const key of ['key', 'new']) {
          assert.throws(() => state.updateSync(bytes(key), 8, Object.freeze(new Slot())), isInvalid)
        }
        await assertHolds(backend, [['key', 'value']])
        await backend.close()
        assert.throws(() => state.peekSync(bytes('key'), slot), isClosed)
        assert.throws(() => state.updateSync(bytes('key'), 1, slot), isClosed)
      },
      ['sync', 'inPlace'],
    ),
  ],
}
