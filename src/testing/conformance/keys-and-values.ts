import assert from 'node:assert/strict'
import { WriteBatch } from '../../backend/write-batch.js'
import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../../base/limits.js'
import { type ConformanceTopic, promise } from './case.js'
import {
  assertAbsent,
  assertBytes,
  assertHolds,
  bytes,
  collect,
  counting,
  fill,
  pattern,
  rejects,
  text,
} from './helpers.js'

const KEY_LENGTHS = [0, 1, 2, 7, 8, 9, 255, 256, 2_047, 2_048]
const VALUE_LENGTHS = [0, 1, 7, 8, 9, 255, 256, 65_535, 65_536, 65_537]
const MIB = 1024 * 1024

/** Promises 1, 3 and 4. */
export const keysAndValues: ConformanceTopic = {
  title: 'keys and values',
  cases: [
    promise(
      'takes a key as a stretch of a larger buffer, in every synchronous call',
      async ({ open, syncOf }) => {
        const backend = await open()
        const state = syncOf(backend)
        const buffer = bytes('..key..')
        const key = { bytes: buffer, offset: 2, length: 3 }
        state.putSync(key, bytes('value'))
        assertBytes(state.getSync(key), bytes('value'))
        assertBytes(await backend.get(bytes('key')), bytes('value'))
        assert.equal(state.containsSync(key), true)
        assert.equal(state.containsSync({ ...key, length: 2 }), false)
        state.deleteSync(key)
        assert.equal(await backend.count(), 0)
        await rejects('INVALID_ARGUMENT', async () => state.getSync({ ...key, offset: 5 }))
      },
      ['sync'],
    ),

    promise('holds nothing when opened', async ({ open }) => {
      const backend = await open()
      await assertHolds(backend, [])
      await assertAbsent(backend, bytes('key'))
    }),

    promise('keeps keys from 0 to 2,048 bytes', async ({ open }) => {
      const backend = await open()
      for (const length of KEY_LENGTHS) await backend.put(pattern(length), pattern(5, length))
      for (const length of KEY_LENGTHS) {
        assertBytes(await backend.get(pattern(length)), pattern(5, length), `value of a ${length}-byte key`)
        assert.equal(await backend.contains(pattern(length)), true)
      }
      const keys = (await collect(backend.scan())).map(([key]) => key.length).sort((a, b) => a - b)
      assert.deepEqual(keys, KEY_LENGTHS)
      for (const length of KEY_LENGTHS) await backend.delete(pattern(length))
      await assertHolds(backend, [])
    }),

    promise('rejects keys beyond 2,048 bytes wherever one goes in, and writes nothing', async ({ open }) => {
      const backend = await open()
      const counted = counting(backend, 'gets', 'puts', 'deletes')
      const long = pattern(MAX_KEY_BYTES + 1)
      const calls = [
        () => backend.get(long),
        () => backend.getOrThrow(long),
        () => backend.getMany([bytes('a'), long]),
        () => backend.contains(long),
        () => backend.put(long, bytes('value')),
        () => backend.delete(long),
      ]
      for (const call of calls) {
        const error = await rejects('INVALID_ARGUMENT', call)
        assert.match(error.message, /2049/, 'the message says how long the key is')
      }
      await assertHolds(backend, [])
      assert.deepEqual(counted(), { gets: 0, puts: 0, deletes: 0 }, 'nothing of it is counted')
    }),

    promise('keeps values from 0 bytes to 64 KiB and around powers of two', async ({ open }) => {
      const backend = await open()
      for (const length of VALUE_LENGTHS) await backend.put(bytes(`value ${length}`), pattern(length, 3))
      for (const length of VALUE_LENGTHS) {
        assertBytes(
          await backend.get(bytes(`value ${length}`)),
          pattern(length, 3),
          `value of ${length} bytes`,
        )
      }
    }),

    promise('tells an empty value from an absent one', async ({ open }) => {
      const backend = await open()
      await backend.put(bytes('empty'), new Uint8Array(0))
      assertBytes(await backend.get(bytes('empty')), new Uint8Array(0))
      assertBytes(await backend.getOrThrow(bytes('empty')), new Uint8Array(0))
      await assertHolds(backend, [['empty', '']])
      assertBytes(await backend.get(bytes('absent')), undefined)
    }),

    promise(
      'keeps values of 17 MiB and of 64 MiB',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        const large = pattern(17 * MIB, 1)
        await backend.put(bytes('large'), large)
        await backend.put(bytes('small'), bytes('beside it'))
        assertEqualLarge(await backend.get(bytes('large')), large)
        const [entry] = await collect(backend.scan({ limit: 1 }))
        assertEqualLarge(entry?.[1], large)
        const snapshot = await snapshotOf(backend)
        large[5] = 99
        await backend.put(bytes('large'), large)
        assertEqualLarge(await backend.get(bytes('large')), large)
        assertEqualLarge(await snapshot.get(bytes('large')), pattern(17 * MIB, 1))
        await snapshot.close()
        await backend.delete(bytes('large'))
        await assertHolds(backend, [['small', 'beside it']])
        const largest = pattern(MAX_VALUE_BYTES, 2)
        await backend.put(bytes('largest'), largest)
        assertEqualLarge(await backend.get(bytes('largest')), largest)
      },
      ['largeValues', 'snapshots'],
    ),

    promise('rejects a value of 64 MiB and one byte, and keeps the old one', async ({ open }) => {
      const backend = await open()
      const counted = counting(backend, 'puts')
      await fill(backend, { key: 'old' })
      const tooLarge = new Uint8Array(MAX_VALUE_BYTES + 1)
      const error = await rejects('INVALID_ARGUMENT', () => backend.put(bytes('key'), tooLarge))
      assert.match(error.message, /67108865/, 'the message says how long the value is')
      await assertHolds(backend, [['key', 'old']])
      assert.equal(counted().puts, 1)
    }),

    promise('overwrites with longer, shorter and equal values', async ({ open }) => {
      const backend = await open()
      await fill(backend, { before: 'untouched', between: 'untouched' })
      for (const length of [8, 8, 3, 0, 8, 9, 16, 15, 17, 1_000, 2, 100_000, 100_001, 0, 1]) {
        await backend.put(bytes('key'), pattern(length, length))
        await backend.put(bytes('other'), pattern(4, length))
        assertBytes(
          await backend.get(bytes('key')),
          pattern(length, length),
          `overwritten by ${length} bytes`,
        )
        assertBytes(await backend.get(bytes('other')), pattern(4, length), 'its neighbour')
        assert.equal(await backend.count(), 4)
      }
      assertBytes(await backend.get(bytes('before')), bytes('untouched'))
      assertBytes(await backend.get(bytes('between')), bytes('untouched'))
    }),

    promise('deletes, also what is not there, and takes the key again', async ({ open }) => {
      const backend = await open()
      await backend.delete(bytes('never there'))
      await fill(backend, { a: '1', b: '2', c: '3' })
      await backend.delete(bytes('b'))
      await backend.delete(bytes('b'))
      await assertAbsent(backend, bytes('b'))
      await assertHolds(backend, [
        ['a', '1'],
        ['c', '3'],
      ])
      await fill(backend, { b: 'again' })
      await assertHolds(backend, [
        ['a', '1'],
        ['b', 'again'],
        ['c', '3'],
      ])
    }),

    promise('clears everything and is usable afterwards', async ({ open }) => {
      const backend = await open()
      await backend.clear()
      await fill(backend, { a: '1', b: '2' })
      await backend.clear()
      await assertHolds(backend, [])
      await assertAbsent(backend, bytes('a'))
      await fill(backend, { b: 'new' })
      await assertHolds(backend, [['b', 'new']])
    }),

    promise('getOrThrow gives the value, or KEY_NOT_FOUND with the key', async ({ open }) => {
      const backend = await open()
      await fill(backend, { key: 'value' })
      assertBytes(await backend.getOrThrow(bytes('key')), bytes('value'))
      const never = await rejects('KEY_NOT_FOUND', () => backend.getOrThrow(bytes('never')))
      assertBytes(never.details.key, bytes('never'))
      await backend.delete(bytes('key'))
      await rejects('KEY_NOT_FOUND', () => backend.getOrThrow(bytes('key')))
    }),

    promise(
      'getMany answers in the order of the keys, also for none and for the same twice',
      async ({ open }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2' })
        assert.deepEqual(await backend.getMany([]), [])
        const [b, missing, a, again] = await backend.getMany([bytes('b'), bytes('x'), bytes('a'), bytes('b')])
        assertBytes(b, bytes('2'))
        assertBytes(missing, undefined)
        assertBytes(a, bytes('1'))
        assertBytes(again, bytes('2'))
        assert.ok(b !== again && b?.buffer !== undefined)
        b?.fill(0)
        assertBytes(again, bytes('2'), 'the second answer for the same key')
      },
    ),

    promise('tells keys apart that differ in length, in one bit or in zeros alone', async ({ open }) => {
      const backend = await open()
      const keys = [
        '',
        '\0',
        '\0\0',
        '\0\0\0',
        'a',
        'a\0',
        '\0a',
        'b',
        '\x80',
        '\xff',
        '\xff\xff',
        '\xfe\xff',
      ]
      for (const key of keys) await backend.put(bytes(key), bytes(`of ${key}`))
      await assertHolds(
        backend,
        [...keys].sort().map((key) => [key, `of ${key}`]),
      )
      for (let byte = 0; byte < 256; byte++) await backend.put(Uint8Array.of(7, byte), Uint8Array.of(byte))
      for (let byte = 0; byte < 256; byte++) {
        assertBytes(await backend.get(Uint8Array.of(7, byte)), Uint8Array.of(byte))
      }
    }),

    promise(
      'takes a Buffer, a view into a larger array and a Uint8Array as the same key',
      async ({ open }) => {
        const backend = await open()
        const around = bytes('..key..value..')
        await backend.put(around.subarray(2, 5), around.subarray(7, 12))
        assertBytes(await backend.get(Buffer.from('key')), bytes('value'))
        assertBytes(await backend.get(bytes('key')), bytes('value'))
        await backend.put(Buffer.from('key'), Buffer.from('other'))
        await assertHolds(backend, [['key', 'other']])
        assert.equal((await backend.listKeys(Buffer.from('k'))).length, 1)
        await backend.write(
          new WriteBatch().expect(Buffer.from('key'), bytes('other')).delete(Buffer.from('key')),
        )
        await assertHolds(backend, [])
      },
    ),

    promise('copies what it is given, at the moment of the call', async ({ open }) => {
      const backend = await open()
      const key = bytes('key')
      const value = bytes('value')
      const put = backend.put(key, value)
      key.fill(0)
      value.fill(0)
      await put
      await assertHolds(backend, [['key', 'value']])

      const gets = [bytes('key')]
      const got = backend.getMany(gets)
      gets[0]?.fill(0)
      gets.length = 0
      assertBytes((await got)[0], bytes('value'))

      const doomed = bytes('key')
      const deleted = backend.delete(doomed)
      doomed.fill(0)
      await deleted
      await assertHolds(backend, [])
    }),

    promise('copies the bounds of a scan at the moment of the call', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', b: '2', c: '3' })
      for (const bound of [bytes('b'), Buffer.from('b')]) {
        const scans = [
          backend.scan({ gte: bound, lte: bound }),
          backend.scan({ prefix: bound }),
          backend.scan({ gte: bound, limit: 1 }),
          backend.scan({ lte: bound, reverse: true, limit: 1 }),
        ]
        assertBytes(bound, bytes('b'), 'the bound itself')
        bound.fill(0xff)
        for (const scan of scans) {
          const keys = (await collect(scan)).map(([key]) => text(key))
          assert.deepEqual(keys, ['b'])
        }
      }
    }),

    promise('gives copies: changing them changes nothing here', async ({ open }) => {
      const backend = await open()
      await fill(backend, { key: 'value' })
      const got = [await backend.get(bytes('key')), ...(await backend.getMany([bytes('key')]))]
      got.push(await backend.getOrThrow(bytes('key')), ...(await backend.listKeys(bytes('k'))))
      got.push(...(await collect(backend.scan())).flat())
      for (const given of got) given?.fill(0)
      await assertHolds(backend, [['key', 'value']])
    }),

    promise('gives copies: later writes do not change them', async ({ open }) => {
      const backend = await open()
      await fill(backend, { key: 'first value' })
      const got = await backend.get(bytes('key'))
      const [many] = await backend.getMany([bytes('key')])
      const thrown = await backend.getOrThrow(bytes('key'))
      const [entry] = await collect(backend.scan())
      await fill(backend, { key: 'other value' })
      await backend.delete(bytes('key'))
      for (let i = 0; i < 50; i++) await backend.put(bytes(`key ${i}`), pattern(11, i))
      await backend.clear()
      for (const value of [got, many, thrown, entry?.[1]]) assertBytes(value, bytes('first value'))
      assertBytes(entry?.[0], bytes('key'))
    }),

    promise('shows a write that has returned to every read, two thousand times', async ({ open }) => {
      const backend = await open()
      for (let i = 0; i < 2_000; i++) {
        const key = pattern(1 + (i % 40), i % 97)
        await backend.put(key, pattern(i % 50, i))
        assertBytes(await backend.get(key), pattern(i % 50, i))
        if (i % 5 === 0) {
          await backend.delete(key)
          assert.equal(await backend.contains(key), false)
        }
      }
    }),
  ],
}

/** As `assertBytes`, with the machine's own comparison: these are tens of megabytes. */
function assertEqualLarge(actual: Uint8Array | undefined, expected: Uint8Array): void {
  assert.ok(actual !== undefined, 'a large value is missing')
  assert.equal(actual.length, expected.length, 'a large value has another length')
  assert.ok(Buffer.compare(actual, expected) === 0, 'a large value has other bytes than were written')
}
