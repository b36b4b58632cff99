import assert from 'node:assert/strict'
import type { StateBackend } from '../../backend/state-backend.js'
import type { StateSnapshot } from '../../backend/state-snapshot.js'
import type { ScanRange } from '../../backend/types.js'
import { compareBytes, startsWith } from '../../base/bytes.js'
import { seededRandom } from '../../base/random.js'
import { isBytes } from '../../base/shapes.js'
import { type ConformanceTopic, promise } from './case.js'
import {
  assertBytes,
  assertHolds,
  bytes,
  collect,
  fill,
  pattern,
  rejects,
  scannedKeys,
  scanRejects,
  step,
  text,
} from './helpers.js'

/** Keys around every corner of the order: empty, prefixes of each other, zeros, signs, and ends of prefixes. */
const KEYS = [
  '',
  '\0',
  '\0\0',
  'a',
  'a\0',
  'a\xff',
  'a\xff\xff',
  'aa',
  'ab',
  'b',
  '\x7f',
  '\x80',
  '\xff',
  '\xff\xff',
]
const BOUNDS = ['', '\0', 'a', 'a\xff', 'aa', 'ab\0', '\x7f\xff', '\x80', '\xff', '\xff\xff\xff']

/** Promise 2, by every read that has an order. */
export const ranges: ConformanceTopic = {
  title: 'ranges and order',
  cases: [
    promise('orders by unsigned bytes: 0x7f, 0x80, 0xff', async ({ open, readerOf }) => {
      const backend = await open()
      for (const byte of [0xff, 0x00, 0x80, 0x7f, 0x01, 0xfe]) {
        await backend.put(Uint8Array.of(byte), Uint8Array.of(byte))
      }
      const order = ['\x00', '\x01', '\x7f', '\x80', '\xfe', '\xff']
      assert.deepEqual(await scannedKeys(backend), order)
      assert.deepEqual((await backend.listKeys(new Uint8Array(0))).map(text), order)
      assert.deepEqual(await scannedKeys(await readerOf(backend)), order)
      assert.deepEqual(await scannedKeys(backend, { reverse: true }), order.reverse())
    }),

    promise(
      'puts a key before those it is a prefix of, whatever the order of insertion',
      async ({ open }) => {
        const backend = await open()
        for (const key of shuffled([...KEYS, ...KEYS], 1)) await backend.put(bytes(key), bytes(`of ${key}`))
        await assertHolds(
          backend,
          sorted(KEYS).map((key) => [key, `of ${key}`]),
        )
      },
    ),

    promise(
      'agrees with filter and sort on every combination of bounds',
      async ({ open, can, snapshotOf }) => {
        const backend = await open()
        for (const key of shuffled(KEYS, 2)) await backend.put(bytes(key), bytes(`of ${key}`))
        await everyCombination(backend)
        if (!can('snapshots')) return
        const snapshot = await snapshotOf(backend)
        await backend.clear()
        await everyCombination(snapshot)
      },
    ),

    promise('keeps order and ranges right while keys come and go', async ({ open }) => {
      const backend = await open()
      const random = seededRandom(3)
      const held = new Map<string, string>()
      const below = (limit: number) => Math.floor(random() * limit)
      for (let i = 0; i < 600; i++) {
        const key = text(pattern(below(4), below(12)))
        if (random() < 0.6) {
          held.set(key, `${i}`)
          await fill(backend, { [key]: `${i}` })
        } else {
          held.delete(key)
          await backend.delete(bytes(key))
        }
        if (i % 20 !== 0) continue
        const range: ScanRange = {
          gte: pattern(below(4), below(12)),
          lt: pattern(below(4), below(12)),
          reverse: below(2) === 1,
        }
        assert.deepEqual(await scannedKeys(backend, range), expectedKeys([...held.keys()], range))
        assert.equal(await backend.count(), held.size)
      }
      await assertHolds(
        backend,
        sorted([...held.keys()]).map((key) => [key, held.get(key) ?? '']),
      )
    }),

    promise(
      'lists the keys of a prefix: the empty one, one of 0xff bytes, one longer than any key',
      async ({ open }) => {
        const backend = await open()
        for (const key of KEYS) await backend.put(bytes(key), new Uint8Array(0))
        for (const prefix of [...KEYS, 'none', '\xff\xff\xff', text(pattern(2_048))]) {
          const expected = sorted(KEYS).filter((key) => key.startsWith(prefix))
          assert.deepEqual((await backend.listKeys(bytes(prefix))).map(text), expected)
          assert.deepEqual(await scannedKeys(backend, { prefix: bytes(prefix) }), expected)
        }
      },
    ),

    promise('takes bounds on keys of the greatest length', async ({ open }) => {
      const backend = await open()
      const longest = new Uint8Array(2_048).fill(0xff)
      const before = longest.slice()
      before[2_047] = 0xfe
      await backend.put(longest, bytes('longest'))
      await backend.put(before, bytes('before'))
      assert.deepEqual(await valuesOf(backend, { gt: before }), ['longest'])
      assert.deepEqual(await valuesOf(backend, { gte: longest }), ['longest'])
      assert.deepEqual(await valuesOf(backend, { gt: longest }), [])
      assert.deepEqual(await valuesOf(backend, { lte: longest }), ['before', 'longest'])
      assert.deepEqual(await valuesOf(backend, { lt: longest, reverse: true }), ['before'])
      assert.deepEqual(await valuesOf(backend, { prefix: longest }), ['longest'])
    }),

    promise('counts a limit after the bounds: 0, some, more than there are, Infinity', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '', b: '', c: '', d: '' })
      for (const [limit, expected] of [
        [0, ''],
        [1, 'b'],
        [2, 'bc'],
        [9, 'bcd'],
        [Infinity, 'bcd'],
      ] as const) {
        assert.equal((await scannedKeys(backend, { gt: bytes('a'), limit })).join(''), expected)
      }
      assert.deepEqual(await scannedKeys(backend, { limit: 2, reverse: true }), ['d', 'c'])
      assert.equal(backend.stats().openSnapshots, 0)
    }),

    promise(
      'reads on without a setting that is undefined, as the first page of many is asked for',
      async ({ open }) => {
        const backend = await open()
        await fill(backend, { a: '', b: '' })
        const options = {
          prefix: undefined,
          gt: undefined,
          limit: undefined,
          reverse: undefined,
          signal: undefined,
        }
        assert.deepEqual(await scannedKeys(backend, options as unknown as ScanRange), ['a', 'b'])
      },
    ),

    promise('rejects ranges that are none, naming everything that is wrong', async ({ open, readerOf }) => {
      const backend = await open()
      await fill(backend, { a: '' })
      const { openSnapshots } = backend.stats()
      const snapshot = await readerOf(backend)
      const held = snapshot === backend ? openSnapshots : openSnapshots + 1
      for (const from of [backend, snapshot]) {
        const wrong = { gt: 'a', limit: -1, revers: true, reverse: 1 } as unknown as ScanRange
        const error = await scanRejects('INVALID_ARGUMENT', () => from.scan(wrong))
        const named = error.details.violations.map(({ argument }) => argument.replace(/^.*\./, '')).sort()
        assert.deepEqual(named, ['gt', 'limit', 'revers', 'reverse'])
        for (const range of [
          { limit: 0.5 },
          { limit: Number.NaN },
          { signal: {} },
          { prefix: [1] },
          'a',
          7,
        ]) {
          await scanRejects('INVALID_ARGUMENT', () => from.scan(range as unknown as ScanRange))
        }
      }
      assert.equal(backend.stats().openSnapshots, held, 'a scan that never ran holds nothing')
    }),

    promise(
      'gives nothing and ends with ABORTED when the signal has fired before a scan',
      async ({ open, readerOf }) => {
        const backend = await open()
        const signal = AbortSignal.abort(new Error('enough'))
        let given = 0
        const counted = async function* (items: AsyncIterable<unknown>) {
          for await (const item of items) {
            given++
            yield item
          }
        }
        for (const entries of [{}, { a: '1', b: '2' }]) {
          await fill(backend, entries)
          const snapshot = await readerOf(backend)
          for (const from of [backend, snapshot]) {
            await scanRejects('ABORTED', () => counted(from.scan({ signal })))
            await scanRejects('ABORTED', () => counted(from.scan({ signal, reverse: true, limit: 1 })))
          }
          if ('blocks' in snapshot) {
            await scanRejects('ABORTED', () => counted(snapshot.blocks({ signal })))
            await snapshot.close()
          }
        }
        assert.equal(given, 0, 'entries given although the signal had fired')
        assert.equal(backend.stats().openSnapshots, 0)
      },
    ),

    promise('ends with ABORTED when the signal fires at the last entry of a scan', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', b: '2' })
      const controller = new AbortController()
      const seen: string[] = []
      await scanRejects('ABORTED', async function* () {
        for await (const [key] of backend.scan({ signal: controller.signal })) {
          seen.push(text(key))
          if (seen.length === 2) controller.abort()
          yield key
        }
      })
      assert.deepEqual(seen, ['a', 'b'])
    }),

    promise(
      'ends with ABORTED before the next entry when the signal fires during a scan',
      async ({ open }) => {
        const backend = await open()
        for (let i = 0; i < 300; i++) await backend.put(bytes(`key ${i}`), bytes('value'))
        const controller = new AbortController()
        const seen: string[] = []
        await scanRejects('ABORTED', async function* () {
          for await (const [key] of backend.scan({ signal: controller.signal })) {
            seen.push(text(key))
            if (seen.length === 100) controller.abort()
            yield key
          }
        })
        assert.equal(seen.length, 100)
        assert.equal(backend.stats().openSnapshots, 0)
        assert.equal(await backend.count(), 300)
      },
    ),

    promise('answers steps that are asked for together in order, and ends for good', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', b: '2' })
      const scan = backend.scan()
      const results = await Promise.all([scan.next(), scan.next(), scan.next(), scan.next()])
      assert.deepEqual(
        results.map(({ done, value }) => (done === true ? undefined : text(value[0]))),
        ['a', 'b', undefined, undefined],
      )
      await fill(backend, { c: '3' })
      assert.equal((await scan.next()).done, true)
    }),

    promise('gives each entry arrays of its own', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1', b: '2' })
      const scan = backend.scan()
      const [key, value] = await step(scan)
      key.fill(0xff)
      value.fill(0xff)
      const second = await step(scan)
      assertBytes(second[0], bytes('b'))
      assertBytes(second[1], bytes('2'))
      assertBytes(key, bytes('\xff'), 'the first key, after the second step')
      await scan.return?.()
      await assertHolds(backend, [
        ['a', '1'],
        ['b', '2'],
      ])
    }),

    promise('rejects a prefix that is no Uint8Array', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '' })
      for (const wrong of ['a', undefined, null]) {
        await rejects('INVALID_ARGUMENT', () => backend.listKeys(wrong as unknown as Uint8Array))
      }
    }),
  ],
}

/** Every subset of the bounds and the prefix, each with pseudo-random values, both ways, with and without a limit. */
async function everyCombination(from: StateBackend | StateSnapshot): Promise<void> {
  const random = seededRandom(4)
  const bound = () => bytes(BOUNDS[Math.floor(random() * BOUNDS.length)] as string)
  const names = ['prefix', 'gt', 'gte', 'lt', 'lte'] as const
  for (let subset = 0; subset < 2 ** names.length; subset++) {
    const chosen = names.filter((_, bit) => (subset & (1 << bit)) !== 0)
    for (let round = 0; round < (chosen.length < 2 ? 20 : 8); round++) {
      const bounds = Object.fromEntries(chosen.map((name) => [name, bound()]))
      for (const reverse of [false, true]) {
        for (const limit of [undefined, 0, 1, 3]) {
          const range: ScanRange = { ...bounds, reverse, ...(limit !== undefined && { limit }) }
          const shown = JSON.stringify(range, (_, value) => (isBytes(value) ? text(value) : value))
          assert.deepEqual(await scannedKeys(from, range), expectedKeys(KEYS, range), `range ${shown}`)
        }
      }
    }
  }
}

/** What a range means, said as plainly as it can be. */
function expectedKeys(keys: readonly string[], range: ScanRange): string[] {
  const { prefix, gt, gte, lt, lte, reverse, limit } = range
  const inside = keys
    .map(bytes)
    .filter(
      (key) =>
        (prefix === undefined || startsWith(key, prefix)) &&
        (gt === undefined || compareBytes(key, gt) > 0) &&
        (gte === undefined || compareBytes(key, gte) >= 0) &&
        (lt === undefined || compareBytes(key, lt) < 0) &&
        (lte === undefined || compareBytes(key, lte) <= 0),
    )
  inside.sort(compareBytes)
  if (reverse === true) inside.reverse()
  return inside.slice(0, limit).map(text)
}

async function valuesOf(backend: StateBackend, range: ScanRange): Promise<string[]> {
  return (await collect(backend.scan(range))).map(([, value]) => text(value))
}

function sorted(keys: readonly string[]): string[] {
  return keys.map(bytes).sort(compareBytes).map(text)
}

function shuffled(keys: readonly string[], seed: number): string[] {
  const random = seededRandom(seed)
  const drawn = keys.map((key) => ({ key, at: random() }))
  return drawn.sort((left, right) => left.at - right.at).map(({ key }) => key)
}
