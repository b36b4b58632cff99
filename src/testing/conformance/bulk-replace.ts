import assert from 'node:assert/strict'
import { type EntryBlock, EntryBlockBuilder } from '../../backend/entry-block.js'
import type { ReplaceOptions } from '../../backend/types.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { isStateError } from '../../base/errors.js'
import { type ConformanceTopic, promise, type TestedBackend } from './case.js'
import {
  assertAbsent,
  assertHolds,
  blockOf,
  bytes,
  collect,
  contents,
  counting,
  fill,
  pattern,
  rejection,
  rejects,
  step,
  streamOf,
  text,
} from './helpers.js'

const OLD: [string, string][] = [
  ['a', 'old'],
  ['m', 'old'],
  ['z', 'old'],
]

/** Restoring: the whole content gives way to a stream of blocks, in one step or not at all. */
export const bulkReplace: ConformanceTopic = {
  title: 'replacing everything',
  cases: [
    promise(
      'replaces what is in a range, and keeps everything else with its time to live',
      async ({ open }) => {
        for (const settled of [false, true]) {
          const backend = await holdingOld(open)
          await fill(backend, { b: 'kept', l: 'old', n: 'old' })
          if (settled) await backend.flush()
          const range = { gte: bytes('l'), lt: bytes('n') }
          await backend.replaceAll(streamOf(blockOf(['l', 'new'], ['ll', 'new'])), { range })
          const expected: [string, string][] = [
            ['a', 'old'],
            ['b', 'kept'],
            ['l', 'new'],
            ['ll', 'new'],
            ['n', 'old'],
            ['z', 'old'],
          ]
          await assertHolds(backend, expected)
          await backend.flush()
          await assertHolds(backend, expected)
          assert.equal(backend.stats().entries, expected.length)
          await backend.replaceAll(streamOf(), { range: { prefix: bytes('l') } })
          await assertHolds(
            backend,
            expected.filter(([key]) => !key.startsWith('l')),
          )
          await backend.replaceAll(streamOf(), { range: { gt: bytes('z'), lt: bytes('a') } })
          assert.equal(await backend.count(), 4)
        }
      },
      ['replaceAll'],
    ),

    promise(
      'is flushed and read by whoever gives the blocks, meanwhile',
      async ({ open }) => {
        const backend = await holdingOld(open)
        const blocks = async function* () {
          await backend.flush()
          assert.equal(text((await backend.get(bytes('a'))) ?? new Uint8Array()), 'old')
          yield blockOf(['b', 'new'])
          await backend.flush()
        }
        await backend.replaceAll(blocks())
        await assertHolds(backend, [['b', 'new']])
      },
      ['replaceAll'],
    ),

    promise(
      'replaces a large range as it does a small one',
      async ({ open }) => {
        const backend = await open()
        const key = (i: number) => String(i).padStart(5, '0')
        for (let i = 0; i < 3_000; i++) await backend.put(bytes(key(i)), bytes('old'))
        const blocks = Array.from({ length: 20 }, (_, block) =>
          blockOf(...Array.from({ length: 100 }, (__, i) => [key(500 + block * 100 + i), 'new'] as const)),
        )
        const range = { gte: bytes(key(500)), lt: bytes(key(2_500)) }
        await backend.replaceAll(streamOf(...blocks), { range, expectedEntries: 2_000 })
        const held = await contents(backend)
        assert.equal(held.length, 3_000)
        for (const [at, value] of held) {
          assert.equal(value, at >= key(500) && at < key(2_500) ? 'new' : 'old', at)
        }
      },
      ['replaceAll'],
    ),

    promise(
      'refuses a block with a key outside the range, and keeps the old content',
      async ({ open }) => {
        const range = { gte: bytes('b'), lt: bytes('n') }
        for (const block of [blockOf(['a', '1']), blockOf(['c', '1'], ['n', '1']), blockOf(['z', '1'])]) {
          const backend = await holdingOld(open)
          await rejects('CORRUPTION', () => backend.replaceAll(streamOf(block), { range }))
          await assertHolds(backend, OLD)
          await staysUsable(backend)
        }
        const backend = await holdingOld(open)
        for (const wrong of [{ limit: 1 }, { prefix: 'a' }, 5, { prefix: undefined }, undefined]) {
          const options = { range: wrong } as unknown as ReplaceOptions
          await rejects('INVALID_ARGUMENT', () => backend.replaceAll(streamOf(), options))
        }
        await assertHolds(backend, OLD)
      },
      ['replaceAll'],
    ),

    promise(
      'keeps times of expiry inside and outside a replaced range',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '1' }, { ttlMs: 100 })
        const expiresAtMs = clock.now() + 200
        await backend.replaceAll(streamOf(blockOf(['b', '2', expiresAtMs])), { range: { gte: bytes('b') } })
        clock.advance(100)
        await assertHolds(backend, [['b', '2']])
        clock.advance(100)
        assert.equal(await backend.count(), 0)
      },
      ['replaceAll', 'clock', 'ttl'],
    ),

    promise(
      'replaces the whole content',
      async ({ open }) => {
        const backend = await holdingOld(open)
        await backend.replaceAll(
          streamOf(blockOf(['', 'empty'], ['a', 'new']), blockOf(['b', ''], ['\xff', 'last'])),
        )
        await assertHolds(backend, [
          ['', 'empty'],
          ['a', 'new'],
          ['b', ''],
          ['\xff', 'last'],
        ])
        await assertAbsent(backend, bytes('m'))
        await fill(backend, { a: 'newer', c: '1' })
        await backend.delete(bytes('b'))
        assert.equal(await backend.count(), 4)
        assert.equal(backend.stats().entries, 4)
      },
      ['replaceAll'],
    ),

    promise(
      'replaces it by nothing',
      async ({ open }) => {
        const backend = await holdingOld(open)
        await backend.replaceAll(streamOf())
        await assertHolds(backend, [])
        assert.equal(backend.stats().entries, 0)
      },
      ['replaceAll'],
    ),

    promise(
      'takes what the blocks of a snapshot give, from an engine of its own kind and after many changes',
      async ({ open, snapshotOf, clock }) => {
        const source = await open()
        for (let i = 0; i < 900; i++) {
          await source.put(pattern(1 + (i % 30), i % 211), pattern((i * 13) % 400, i), { ttlMs: 1_000 + i })
          if (i % 4 === 0) await source.delete(pattern(1 + ((i * 3) % 30), (i * 7) % 211))
        }
        const expected = await contents(source)
        for (const targetBytes of [1, 3_000]) {
          const target = await holdingOld(open)
          const snapshot = await snapshotOf(source)
          const entryCount = await snapshot.count()
          await target.replaceAll(snapshot.blocks({ targetBytes }), { expectedEntries: entryCount })
          assert.deepEqual(await contents(target), expected)
          assert.equal(await target.count(), expected.length)
          const keys = (await target.listKeys(bytes(''))).map(text)
          assert.deepEqual(
            keys,
            expected.map(([key]) => key),
          )
          clock.advance(3)
        }
      },
      ['replaceAll', 'snapshots'],
    ),

    promise(
      'takes a wrong expectedEntries for the hint that it is',
      async ({ open }) => {
        for (const expectedEntries of [0, 1, 10_000]) {
          const backend = await holdingOld(open)
          await backend.replaceAll(streamOf(blockOf(['a', '1'], ['b', '2'])), { expectedEntries })
          await assertHolds(backend, [
            ['a', '1'],
            ['b', '2'],
          ])
        }
      },
      ['replaceAll'],
    ),

    promise(
      'keeps the times of expiry',
      async ({ open, snapshotOf, clock }) => {
        const source = await open()
        await fill(source, { a: '1' }, { ttlMs: 1_000 })
        await fill(source, { b: '1' }, { ttlMs: 50 })
        await fill(source, { c: '1' })
        clock.advance(60)
        const target = await open({ ttlMs: 1 })
        await target.replaceAll((await snapshotOf(source)).blocks())
        clock.advance(939)
        await assertHolds(target, [
          ['a', '1'],
          ['c', '1'],
        ])
        clock.advance(1)
        await assertHolds(target, [['c', '1']])
        const nowMs = clock.now()
        await target.replaceAll(streamOf(blockOf(['past', '1', nowMs], ['soon', '1', nowMs + 1])))
        await assertHolds(target, [['soon', '1']])
        clock.advance(1)
        await assertHolds(target, [])
      },
      ['replaceAll', 'clock', 'ttl', 'snapshots'],
    ),

    promise(
      'sweeps what expires after it',
      async ({ open, clock }) => {
        const backend = await open()
        const nowMs = clock.now()
        await backend.replaceAll(
          streamOf(blockOf(['a', '1', nowMs + 1_000], ['b', '1'], ['c', '1', nowMs + 5_000])),
        )
        await fill(backend, { c: '2' })
        for (let i = 0; i < 600 && backend.stats().entries > 2; i++) await clock.advanceAsync(1_000)
        assert.equal(backend.stats().entries, 2)
        await assertHolds(backend, [
          ['b', '1'],
          ['c', '2'],
        ])
      },
      ['replaceAll', 'clock', 'ttl', 'sweep'],
    ),

    promise(
      'does not stay behind the time that the content has seen',
      async ({ openNew, clock, snapshotOf }) => {
        // Nobody else's afterwards: its time stays ahead of the clock.
        const backend = await openNew()
        const seenMs = clock.now() + 10_000
        const block = blockOf(['gone', '1', seenMs], ['stays', '1', seenMs + 100])
        await backend.replaceAll(streamOf(block), { clockMs: seenMs })
        await assertHolds(backend, [['stays', '1']])
        assert.ok((await snapshotOf(backend)).takenAtMs >= seenMs)
        await fill(backend, { new: '1' }, { ttlMs: 50 })
        clock.advance(50)
        await assertHolds(backend, [['stays', '1']])
        clock.advance(50)
        await assertHolds(backend, [])
        await backend.replaceAll(streamOf(blockOf(['a', '1'])), { clockMs: 0 })
        assert.ok((await snapshotOf(backend)).takenAtMs >= seenMs + 100, 'nor does it go back')
      },
      ['replaceAll', 'clock', 'ttl', 'snapshots'],
    ),

    promise(
      'keeps the old content readable until it is through, and rejects writes with NOT_INITIALIZED',
      async ({ open, snapshotOf }) => {
        const backend = await holdingOld(open)
        const counted = counting(backend, 'puts', 'deletes')
        const during = async () => {
          await assertHolds(backend, OLD)
          await assertHolds(await snapshotOf(backend), OLD)
          for (const write of [
            () => backend.put(bytes('a'), bytes('1')),
            () => backend.delete(bytes('a')),
            () => backend.write(new WriteBatch().put(bytes('a'), bytes('1'))),
            () => backend.clear(),
            () => backend.replaceAll(streamOf(blockOf(['x', '1']))),
          ]) {
            const error = await rejects('NOT_INITIALIZED', write)
            assert.ok(error.details.operation !== '')
          }
        }
        const blocks = async function* () {
          await during()
          yield blockOf(['a', 'new'], ['b', 'new'])
          await during()
          yield blockOf(['c', 'new'])
          await during()
        }
        await backend.replaceAll(blocks())
        await assertHolds(backend, [
          ['a', 'new'],
          ['b', 'new'],
          ['c', 'new'],
        ])
        assert.deepEqual(counted(), { puts: 0, deletes: 0 })
        await fill(backend, { d: '1' })
      },
      ['replaceAll', 'snapshots'],
    ),

    promise(
      'leaves open snapshots and running scans what they see',
      async ({ open, snapshotOf }) => {
        const backend = await holdingOld(open)
        const snapshot = await snapshotOf(backend)
        const scan = backend.scan()
        await step(scan)
        await backend.replaceAll(streamOf(blockOf(['a', 'new'], ['b', 'new'])))
        await fill(backend, { a: 'newer', m: 'newer' })
        await assertHolds(snapshot, OLD)
        assert.deepEqual(
          (await collect(scan)).map(([key, value]) => [text(key), text(value)]),
          OLD.slice(1),
        )
        await snapshot.close()
        assert.equal(backend.stats().openSnapshots, 0)
        assert.equal(await backend.count(), 3)
      },
      ['replaceAll', 'snapshots', 'instantScans'],
    ),

    promise(
      'keeps the old content when the stream fails in the middle, and is usable afterwards',
      async ({ open }) => {
        const backend = await holdingOld(open)
        const broken = new Error('the stream broke')
        let released = false
        const blocks = async function* () {
          try {
            yield blockOf(['a', 'new'], ['b', 'new'])
            throw broken
          } finally {
            released = true
          }
        }
        let thrown: unknown
        await backend.replaceAll(blocks()).catch((error: unknown) => {
          thrown = error
        })
        const causes = isStateError(thrown) ? thrown.cause : undefined
        assert.ok(
          thrown === broken || causes === broken,
          `the error of the stream is passed on, not ${thrown}`,
        )
        assert.ok(released)
        await staysUsable(backend)
      },
      ['replaceAll'],
    ),

    promise(
      'gives up when the signal fires, before or in the middle, and keeps the old content',
      async ({ open }) => {
        const backend = await holdingOld(open)
        const fired = { signal: AbortSignal.abort() }
        await rejects('ABORTED', () => backend.replaceAll(streamOf(blockOf(['b', '1'])), fired))
        await assertHolds(backend, OLD)
        const controller = new AbortController()
        let released = false
        const blocks = async function* () {
          try {
            yield blockOf(['a', 'new'])
            controller.abort()
            yield blockOf(['b', 'new'])
            yield blockOf(['c', 'new'])
          } finally {
            released = true
          }
        }
        await rejection('ABORTED', backend.replaceAll(blocks(), { signal: controller.signal }))
        assert.ok(released, 'the stream is left')
        await staysUsable(backend)
      },
      ['replaceAll'],
    ),

    ...Object.entries(damagedStreams()).map(([damage, blocks]) =>
      promise(
        `rejects ${damage} with CORRUPTION and keeps the old content`,
        async ({ open }) => {
          const backend = await holdingOld(open)
          await rejection('CORRUPTION', backend.replaceAll(streamOf(...blocks)))
          await staysUsable(backend)
        },
        ['replaceAll'],
      ),
    ),

    promise(
      'rejects wrong arguments',
      async ({ open }) => {
        const backend = await holdingOld(open)
        const stream = () => streamOf(blockOf(['a', '1']))
        for (const wrong of [undefined, null, 7, {}]) {
          await rejects('INVALID_ARGUMENT', () =>
            backend.replaceAll(wrong as unknown as AsyncIterable<EntryBlock>),
          )
        }
        for (const options of [
          { expectedEntries: -1 },
          { clockMs: Number.NaN },
          { signal: 1 },
          { clock: 1 },
        ]) {
          await rejects('INVALID_ARGUMENT', () =>
            backend.replaceAll(stream(), options as unknown as ReplaceOptions),
          )
        }
        await staysUsable(backend)
      },
      ['replaceAll'],
    ),
  ],
}

/** Streams that no snapshot gives, by what is wrong with them. */
function damagedStreams(): Record<string, EntryBlock[]> {
  const tombstone = new EntryBlockBuilder(100)
  tombstone.addTombstone(bytes('b'))
  const good = blockOf(['b', 'value'], ['c', 'value'])
  const cut = { bytes: good.bytes.subarray(0, good.bytes.length - 1), entryCount: 2 }
  const flags = { bytes: good.bytes.slice(), entryCount: 2 }
  flags.bytes[2] = 0xf0
  const valueLength = { bytes: good.bytes.slice(), entryCount: 2 }
  valueLength.bytes[7] = 0x7f
  return {
    'unsorted keys in a block': [blockOf(['a', '1']), blockOf(['c', '1'], ['b', '1'])],
    'the same key twice in a block': [blockOf(['b', '1'], ['b', '2'])],
    'keys that go back from block to block': [blockOf(['b', '1'], ['d', '1']), blockOf(['c', '1'])],
    'the same key in two blocks': [blockOf(['b', '1']), blockOf(['b', '1'])],
    'a tombstone': [blockOf(['a', '1']), tombstone.take()],
    'a block that is cut off': [blockOf(['a', '1']), cut],
    'unknown flags': [blockOf(['a', '1']), flags],
    'a length beyond the block': [blockOf(['a', '1']), valueLength],
  }
}

async function holdingOld(open: () => Promise<TestedBackend>): Promise<TestedBackend> {
  const backend = await open()
  for (const [key, value] of OLD) await backend.put(bytes(key), bytes(value))
  return backend
}

/** Nothing of a failed replacement is there, nothing of the old content is missing, and the next one works. */
async function staysUsable(backend: TestedBackend): Promise<void> {
  await assertHolds(backend, OLD)
  assert.equal(backend.stats().openSnapshots, 0)
  assert.equal(backend.stats().entries, OLD.length)
  await fill(backend, { m: 'changed', n: '1' })
  await backend.delete(bytes('a'))
  await assertHolds(backend, [
    ['m', 'changed'],
    ['n', '1'],
    ['z', 'old'],
  ])
  await backend.replaceAll(streamOf(blockOf(['b', '1'], ['m', '1'])))
  await assertHolds(backend, [
    ['b', '1'],
    ['m', '1'],
  ])
}
