import assert from 'node:assert/strict'
import { type ExpirySource, type StateBackend, tellsExpired } from '../../backend/state-backend.js'
import type { PutOptions } from '../../backend/types.js'
import { isStateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import type { ManualClock } from '../manual-clock.js'
import { type ConformanceTopic, promise } from './case.js'
import {
  assertAbsent,
  assertBytes,
  assertHolds,
  bytes,
  collect,
  contents,
  counting,
  fill,
  pattern,
  rejection,
  rejects,
  step,
  text,
} from './helpers.js'

/** A sweep is budgeted and may take several rounds; within this time on the clock it must be through. */
const SWEEP_WITHIN_MS = 600_000
const SWEEP_STEP_MS = 1_000

/** Promise 7. */
export const timeToLive: ConformanceTopic = {
  title: 'time to live',
  cases: [
    promise(
      'an entry lives until its time is up, to the millisecond, for every read at once',
      async ({ open, clock, snapshotOf }) => {
        const backend = await open()
        await fill(backend, { forever: '1' })
        await fill(backend, { short: '2' }, { ttlMs: 100 })
        const both: [string, string][] = [
          ['forever', '1'],
          ['short', '2'],
        ]
        await assertHolds(backend, both)
        clock.advance(99)
        await assertHolds(backend, both)
        const alive = await snapshotOf(backend)
        clock.advance(1)
        await assertAbsent(backend, bytes('short'))
        await assertHolds(backend, [['forever', '1']])
        await assertHolds(await snapshotOf(backend), [['forever', '1']])
        await assertHolds(alive, both)
        clock.set(clock.now() + 10 * 365 * 86_400_000)
        await assertHolds(backend, [['forever', '1']])
        await assertHolds(alive, both)
      },
      ['clock', 'ttl', 'snapshots'],
    ),

    ...(['count', 'listKeys', 'contains', 'scan', 'getMany', 'snapshot'] as const).map((read) =>
      promise(
        `${read} alone, as the first read after the expiry, does not see it`,
        async ({ open, clock, snapshotOf }) => {
          const backend = await open()
          for (let i = 0; i < 40; i++)
            await fill(backend, { [`key ${i}`]: 'value' }, { ttlMs: 50 + (i % 2) * 50 })
          assert.equal(await backend.count(), 40)
          clock.set(clock.now() + 50)
          const seen = {
            count: () => backend.count(),
            listKeys: async () => (await backend.listKeys(bytes('key'))).length,
            contains: async () => ((await backend.contains(bytes('key 0'))) ? 40 : 20),
            scan: async () => (await collect(backend.scan())).length,
            getMany: async () => ((await backend.getMany([bytes('key 2')]))[0] === undefined ? 20 : 40),
            snapshot: async () => (await snapshotOf(backend)).count(),
          }
          assert.equal(await seen[read](), 20)
        },
        ['clock', 'ttl', 'snapshots'],
      ),
    ),

    promise(
      "takes the backend's time to live, and that of a put before it",
      async ({ open, clock }) => {
        const backend = await open({ ttlMs: 1_000 })
        await fill(backend, { default: '1' })
        await fill(backend, { short: '1' }, { ttlMs: 10 })
        await fill(backend, { long: '1' }, { ttlMs: 5_000 })
        await fill(backend, { ever: '1' }, { ttlMs: Infinity })
        const keysAfter = async (ms: number) => {
          clock.set(clock.now() + ms)
          return (await contents(backend)).map(([key]) => key).join(' ')
        }
        assert.equal(await keysAfter(9), 'default ever long short')
        assert.equal(await keysAfter(1), 'default ever long')
        assert.equal(await keysAfter(989), 'default ever long')
        assert.equal(await keysAfter(1), 'ever long')
        assert.equal(await keysAfter(4_000), 'ever')
        assert.equal(await keysAfter(10 ** 12), 'ever')
      },
      ['clock', 'ttl'],
    ),

    promise(
      'every put sets the time to live anew: longer, shorter, none, some',
      async ({ open, clock }) => {
        const backend = await open()
        const put = (key: string, options?: PutOptions) => backend.put(bytes(key), bytes(key), options)
        for (const key of ['longer', 'shorter', 'none', 'same']) await put(key, { ttlMs: 100 })
        await put('some')
        clock.advance(50)
        await put('longer', { ttlMs: 500 })
        await put('shorter', { ttlMs: 10 })
        await put('none')
        await put('same', { ttlMs: 100 })
        await put('some', { ttlMs: 30 })
        const keysAfter = async (ms: number) => {
          clock.set(clock.now() + ms)
          return (await contents(backend)).map(([key]) => key).join(' ')
        }
        assert.equal(await keysAfter(9), 'longer none same shorter some')
        assert.equal(await keysAfter(1), 'longer none same some')
        assert.equal(await keysAfter(20), 'longer none same')
        assert.equal(await keysAfter(69), 'longer none same')
        assert.equal(await keysAfter(1), 'longer none')
        assert.equal(await keysAfter(400), 'none')
        assert.equal(await keysAfter(10 ** 9), 'none')
      },
      ['clock', 'ttl'],
    ),

    promise(
      'overwrites with other sizes keep or change the expiry as the put says',
      async ({ open, clock }) => {
        const backend = await open()
        await backend.put(bytes('a'), pattern(10), { ttlMs: 100 })
        await backend.put(bytes('a'), pattern(500), { ttlMs: 200 })
        await backend.put(bytes('b'), pattern(500), { ttlMs: 100 })
        await backend.put(bytes('b'), pattern(3))
        await backend.put(bytes('c'), pattern(3))
        await backend.put(bytes('c'), pattern(2), { ttlMs: 150 })
        clock.advance(149)
        assert.equal(await backend.count(), 3)
        clock.advance(1)
        await assertAbsent(backend, bytes('c'))
        clock.advance(50)
        await assertAbsent(backend, bytes('a'))
        assertBytes(await backend.get(bytes('b')), pattern(3))
      },
      ['clock', 'ttl'],
    ),

    promise(
      'takes fractions of a millisecond and times beyond any calendar',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { fraction: '1' }, { ttlMs: 0.5 })
        await fill(backend, { beyond: '1' }, { ttlMs: Number.MAX_VALUE })
        await fill(backend, { large: '1' }, { ttlMs: 2 ** 50 })
        assert.equal(await backend.count(), 3)
        clock.advance(1)
        await assertAbsent(backend, bytes('fraction'))
        clock.set(clock.now() + 2 ** 40)
        assert.equal(await backend.count(), 2)
      },
      ['clock', 'ttl'],
    ),

    promise(
      'an expired key can be put, deleted and put again',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '1', c: '1' }, { ttlMs: 10 })
        clock.advance(10)
        await fill(backend, { a: '2' })
        await backend.delete(bytes('b'))
        await assertHolds(backend, [['a', '2']])
        await fill(backend, { b: '3', c: '3' }, { ttlMs: 10 })
        await assertHolds(backend, [
          ['a', '2'],
          ['b', '3'],
          ['c', '3'],
        ])
        clock.advance(10)
        await assertHolds(backend, [['a', '2']])
      },
      ['clock', 'ttl'],
    ),

    promise(
      'getOrThrow tells that it expired where it still can, with the times',
      async ({ open, clock }) => {
        const backend = await open()
        const expiresAtMs = clock.now() + 100
        await fill(backend, { key: 'value' }, { ttlMs: 100 })
        assertBytes(await backend.getOrThrow(bytes('key')), bytes('value'))
        clock.set(expiresAtMs + 7)
        let thrown: unknown
        await backend.getOrThrow(bytes('key')).catch((error: unknown) => {
          thrown = error
        })
        if (isStateError(thrown, 'STATE_EXPIRED')) {
          assertBytes(thrown.details.key, bytes('key'))
          assert.equal(thrown.details.expiredAtMs, expiresAtMs)
          assert.equal(thrown.details.expiredForMs, 7)
        } else {
          await rejects('KEY_NOT_FOUND', () => backend.getOrThrow(bytes('key')))
          assert.ok(isStateError(thrown, 'KEY_NOT_FOUND'), `neither expired nor absent: ${thrown}`)
        }
        await backend.delete(bytes('key'))
        await rejects('KEY_NOT_FOUND', () => backend.getOrThrow(bytes('key')))
      },
      ['clock', 'ttl'],
    ),

    promise(
      'a running scan gives what was alive at its first step, though it expires meanwhile',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '1', c: '1' }, { ttlMs: 100 })
        const scan = backend.scan()
        await step(scan)
        await clock.advanceAsync(SWEEP_WITHIN_MS)
        await fill(backend, { b: 'new' })
        assert.deepEqual(
          (await collect(scan)).map(([key, value]) => text(key) + text(value)),
          ['b1', 'c1'],
        )
        await assertHolds(backend, [['b', 'new']])
        const late = backend.scan()
        await backend.put(bytes('b'), bytes('x'), { ttlMs: 5 })
        clock.advance(5)
        assert.deepEqual(await collect(late), [], 'a scan begins with its first step')
      },
      ['clock', 'ttl'],
    ),

    promise(
      'a clock that jumps back revives nothing',
      async ({ open, clock, snapshotOf }) => {
        const backend = await open()
        await fill(backend, { gone: '1' }, { ttlMs: 100 })
        await fill(backend, { stays: '1' }, { ttlMs: 1_000 })
        clock.set(clock.now() + 100)
        await assertHolds(backend, [['stays', '1']])
        const before = await snapshotOf(backend)
        clock.set(clock.now() - 86_400_000)
        await assertAbsent(backend, bytes('gone'))
        await assertHolds(backend, [['stays', '1']])
        const after = await snapshotOf(backend)
        await assertHolds(after, [['stays', '1']])
        assert.ok(
          after.takenAtMs >= before.takenAtMs,
          'the time of a snapshot is never behind an earlier one',
        )
      },
      ['clock', 'ttl', 'snapshots'],
    ),

    promise(
      'time goes on after the clock jumped back, for old entries and for new ones',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { old: '1' }, { ttlMs: 1_000 })
        clock.advance(400)
        await backend.count()
        clock.set(clock.now() - 3_600_000)
        await fill(backend, { new: '1' }, { ttlMs: 300 })
        clock.advance(299)
        assert.equal(await backend.count(), 2)
        clock.advance(1)
        await assertHolds(backend, [['old', '1']])
        clock.advance(299)
        await assertHolds(backend, [['old', '1']])
        clock.advance(1)
        await assertHolds(backend, [])
        await fill(backend, { again: '1' }, { ttlMs: 10 })
        clock.set(clock.now() + 10)
        await assertHolds(backend, [])
      },
      ['clock', 'ttl'],
    ),

    promise(
      'a clock that jumps forward expires at once',
      async ({ open, clock }) => {
        const backend = await open()
        await fill(backend, { a: '1' }, { ttlMs: 86_400_000 })
        clock.set(clock.now() + 86_399_999)
        assert.equal(await backend.count(), 1)
        clock.set(clock.now() + 1)
        await assertAbsent(backend, bytes('a'))
      },
      ['clock', 'ttl'],
    ),

    promise(
      'a sweep removes what expired though nobody reads',
      async ({ open, clock }) => {
        const backend = await open()
        const counted = counting(backend, 'expired')
        await fill(backend, { stays: '1' })
        for (let i = 0; i < 1_500; i++) {
          await backend.put(bytes(`key ${i}`), pattern(i % 50), { ttlMs: 1 + (i % 700) * 10 })
        }
        assert.equal(backend.stats().entries, 1_501)
        await sweptTo(backend, clock, 1)
        assert.equal(counted().expired, 1_500)
        await assertHolds(backend, [['stays', '1']])
      },
      ['clock', 'ttl', 'sweep'],
    ),

    promise(
      'listeners are told of each once, by the call that found it, and their calls are never nested',
      async ({ open, clock, can, syncOf }) => {
        const opened = await open()
        const source: StateBackend = can('sync') ? syncOf(opened) : opened
        if (!tellsExpired(source)) return
        const backend: StateBackend & ExpirySource = source
        for (const settled of [false, true]) {
          const before = backend.stats().expired
          const keys = ['a', 'b', 'c', 'd']
          await fill(backend, { a: '', b: '', c: '', d: '' }, { ttlMs: 10 })
          if (settled) await backend.flush()
          clock.advance(10)
          const told: string[] = []
          let [depth, deepest] = [0, 0]
          const writes: Promise<void>[] = []
          const off = backend.on('expired', (event) => {
            deepest = Math.max(deepest, ++depth)
            told.push(...event.keys.map(text))
            for (const key of keys) writes.push(backend.put(bytes(key), bytes('new')))
            depth--
          })
          await backend.put(bytes('a'), bytes('new'))
          assert.ok(told.includes('a'), 'told when the call returns')
          await nextTurn()
          await nextTurn()
          await Promise.all(writes)
          off()
          assert.deepEqual(told.sort(), keys)
          assert.equal(deepest, 1, 'calls of a listener within each other')
          assert.equal(backend.stats().expired - before, 4)
          await assertHolds(
            backend,
            keys.map((key) => [key, 'new']),
          )
        }
      },
      ['clock', 'ttl'],
    ),

    promise(
      'listeners are told what an update in place has found when its step is over, and not before',
      async ({ open, clock, inPlaceOf }) => {
        const backend = inPlaceOf(await open())
        if (!tellsExpired(backend)) return
        for (const settled of [false, true]) {
          const told: string[] = []
          const off = backend.on('expired', ({ keys }) => told.push(...keys.map(text)))
          await fill(backend, { a: 'old' }, { ttlMs: 10 })
          if (settled) await backend.flush()
          clock.advance(10)
          const slot = new Slot()
          assert.equal(backend.updateSync(bytes('a'), 3, slot), false)
          assert.deepEqual(told, [])
          assertBytes(slot.bytes.slice(slot.offset, slot.offset + slot.length), new Uint8Array(3))
          await nextTurn()
          assert.deepEqual(told, ['a'])
          off()
          await backend.clear()
        }
      },
      ['clock', 'ttl', 'inPlace'],
    ),

    promise(
      'a sweep goes on after the clock jumped back, and for entries put later',
      async ({ open, clock }) => {
        const backend = await open()
        const counted = counting(backend, 'expired')
        await fill(backend, { a: '1', b: '1' }, { ttlMs: 5_000 })
        clock.set(clock.now() - 7 * 86_400_000)
        await sweptTo(backend, clock, 0)
        await fill(backend, { c: '1' }, { ttlMs: 5_000 })
        await sweptTo(backend, clock, 0)
        assert.equal(counted().expired, 3)
      },
      ['clock', 'ttl', 'sweep'],
    ),

    promise(
      'a sweep never removes what was refreshed meanwhile',
      async ({ open, clock }) => {
        const backend = await open()
        const counted = counting(backend, 'expired')
        const keys = ['longer', 'none', 'deleted and put', 'in place', 'relocated', 'through a batch']
        for (const key of keys) await backend.put(bytes(key), pattern(20), { ttlMs: 2_000 })
        await fill(backend, { expires: '1' }, { ttlMs: 2_000 })
        clock.advance(500)
        await backend.put(bytes('longer'), pattern(20), { ttlMs: 10 ** 9 })
        await backend.put(bytes('none'), pattern(20))
        await backend.delete(bytes('deleted and put'))
        await backend.put(bytes('deleted and put'), pattern(20), { ttlMs: 10 ** 9 })
        await backend.put(bytes('in place'), pattern(20, 1), { ttlMs: 10 ** 9 })
        await backend.put(bytes('relocated'), pattern(400), { ttlMs: 10 ** 9 })
        await backend.put(bytes('through a batch'), pattern(20), { ttlMs: 10 ** 9 })
        await sweptTo(backend, clock, keys.length)
        await clock.advanceAsync(SWEEP_WITHIN_MS)
        assert.equal(backend.stats().entries, keys.length)
        assert.equal(counted().expired, 1)
        for (const key of keys) assert.equal(await backend.contains(bytes(key)), true, key)
      },
      ['clock', 'ttl', 'sweep'],
    ),

    promise(
      'a sweep leaves open snapshots and running scans what they see',
      async ({ open, clock, snapshotOf }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2' }, { ttlMs: 1_000 })
        const snapshot = await snapshotOf(backend)
        await sweptTo(backend, clock, 0)
        await fill(backend, { a: 'new' })
        await assertHolds(snapshot, [
          ['a', '1'],
          ['b', '2'],
        ])
      },
      ['clock', 'ttl', 'sweep', 'snapshots'],
    ),

    promise(
      'puts, deletes and expiries may follow each other for long',
      async ({ open, clock }) => {
        const backend = await open()
        const counted = counting(backend, 'puts')
        for (let round = 0; round < 60; round++) {
          for (let i = 0; i < 20; i++) {
            await backend.put(bytes(`key ${(round * 7 + i) % 50}`), pattern(i * 3, round), {
              ttlMs: 3_000 + i * 50,
            })
          }
          await backend.delete(bytes(`key ${round % 50}`))
          await clock.advanceAsync(500)
        }
        await clock.advanceAsync(10_000)
        assert.equal(await backend.count(), 0)
        await sweptTo(backend, clock, 0)
        assert.equal(counted().puts, 1_200)
      },
      ['clock', 'ttl', 'sweep'],
    ),

    promise('rejects a time to live that is none', async ({ open, can }) => {
      const backend = await open()
      await fill(backend, { key: 'old' })
      for (const ttlMs of [0, -1, -0, Number.NaN, -Infinity, '5', null, {}]) {
        const options = { ttlMs } as unknown as PutOptions
        const error = await rejects('INVALID_ARGUMENT', () =>
          backend.put(bytes('key'), bytes('new'), options),
        )
        assert.match(error.message, /ttlMs/)
        const given = Object.create(options) as PutOptions
        await rejects('INVALID_ARGUMENT', () => backend.put(bytes('key'), bytes('new'), given))
        if (can('ttl')) await rejection('INVALID_ARGUMENT', open({ ttlMs: ttlMs as number }))
      }
      await assertHolds(backend, [['key', 'old']])
    }),

    promise('names options of a put that it does not know', async ({ open }) => {
      const backend = await open()
      const options = { ttl: 5, ttlMs: -1, expires: 1 } as unknown as PutOptions
      const error = await rejects('INVALID_ARGUMENT', () =>
        backend.put(bytes('key'), bytes('value'), options),
      )
      const named = error.details.violations.map(({ argument }) => argument.replace(/^.*\./, '')).sort()
      assert.deepEqual(named, ['expires', 'ttl', 'ttlMs'])
      await rejects('INVALID_ARGUMENT', () => backend.put(bytes('key'), bytes('value'), 5 as PutOptions))
      await backend.put(bytes('key'), bytes('value'), { ttlMs: undefined } as unknown as PutOptions)
      await assertHolds(backend, [['key', 'value']])
    }),
  ],
}

/** Lets time pass until only so many entries are held, reading nothing but the statistics. */
async function sweptTo(backend: StateBackend, clock: ManualClock, entries: number): Promise<void> {
  for (let passedMs = 0; passedMs < SWEEP_WITHIN_MS; passedMs += SWEEP_STEP_MS) {
    await clock.advanceAsync(SWEEP_STEP_MS)
    // A sweep somewhere else is under way when the clock's timers have fired; what is flushed comes after it.
    if (!backend.supports.sync) await backend.flush()
    if (backend.stats().entries === entries) return
  }
  assert.fail(`${backend.stats().entries} entries held after ten minutes, not ${entries}`)
}
