import assert from 'node:assert/strict'
import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import type { OpenSharedSnapshot, SharedSnapshot } from '../../backend/shared-snapshot.js'
import type { ChangeBase, SyncStateSnapshot } from '../../backend/state-snapshot.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { type CancelTimer, setPatientTimer, systemClock } from '../../base/clock.js'
import { nextTurn } from '../../base/slices.js'
import { type CaseContext, type ConformanceTopic } from './case.js'
import { blockOf, bytes, collect, contents, fill, freshAndSettled, streamOf, text } from './helpers.js'
import type { ReadElsewhere } from './reading-threads.js'

/** Keys with their values, `undefined` for a tombstone. */
function entriesOf({ bytes: packed, entryCount }: EntryBlock): [string, string | undefined][] {
  const entries: [string, string | undefined][] = []
  const cursor = new EntryBlockCursor(packed)
  while (cursor.next()) {
    entries.push([text(cursor.key()), cursor.tombstone ? undefined : text(cursor.value())])
  }
  assert.equal(entries.length, entryCount, 'a block should hold as many entries as it says')
  return entries
}

function shared(snapshot: SyncStateSnapshot): SharedSnapshot {
  const lent = snapshot.share?.()
  assert.ok(lent !== undefined, 'share() should give something to share')
  return lent
}

function sharedChanges(snapshot: SyncStateSnapshot): SharedSnapshot {
  assert.ok(snapshot.tellsChanges, 'what has changed should be known')
  const lent = snapshot.share?.('changes')
  assert.ok(lent !== undefined, 'share() should give something to share')
  return lent
}

function tracked({ base }: SyncStateSnapshot): ChangeBase {
  assert.ok(base !== undefined, 'the snapshot should be a base')
  return base
}

type Content = readonly (readonly [key: string, value: string])[]

async function assertReads(reading: Promise<ReadElsewhere>, expected: Content): Promise<void> {
  const { blocks, count } = await reading
  assert.deepEqual(blocks.flatMap(entriesOf), expected)
  assert.equal(count, expected.length, 'count')
}

/** Checks that what was there before and the changes since then make the present. */
async function assertTells(
  reading: Promise<ReadElsewhere>,
  before: Content,
  present: Content,
): Promise<void> {
  const { blocks, count } = await reading
  const state = new Map(before)
  for (const [key, value] of blocks.flatMap(entriesOf)) {
    if (value === undefined) state.delete(key)
    else state.set(key, value)
  }
  assert.deepEqual(
    [...state].sort(([left], [right]) => (left < right ? -1 : 1)),
    present,
  )
  assert.equal(count, present.length, 'count')
}

/** Rejects where the work does not end in that time. */
async function within<Result>(ms: number, work: () => Promise<Result>): Promise<Result> {
  let cancelTimer: CancelTimer = () => {}
  const late = new Promise<never>((_, reject) => {
    const giveUp = () => reject(new Error(`not settled after ${ms} ms`))
    cancelTimer = setPatientTimer(systemClock, giveUp, ms)
  })
  return await Promise.race([work(), late]).finally(() => cancelTimer())
}

/** Runs once on what was just written, and once on what the engine has had time to settle. */
const shares = freshAndSettled(['sync', 'share'])

/** Snapshots that another thread reads, whole or as what has changed: what checkpoints are made of. */
export const sharing: ConformanceTopic = {
  title: 'snapshots for other threads',
  cases: [
    ...shares(
      'another thread reads what a snapshot holds',
      async ({ snapshotNow, readElsewhere }, backend) => {
        const reading = readElsewhere(shared(snapshotNow(backend)))
        await assertReads(reading, await contents(backend))
      },
    ),

    ...shares(
      'nothing that is written after the instant is read',
      async ({ snapshotNow, readElsewhere }, backend) => {
        const before = await contents(backend)
        const reading = readElsewhere(shared(snapshotNow(backend)))
        await fill(backend, { a: 'later', c: 'a value that is longer than before', new: '1' })
        await backend.delete(bytes('b'))
        await backend.write(new WriteBatch().put(bytes('b'), bytes('again')).delete(bytes('d')))
        await backend.flush()
        await fill(backend, { a: 'even later' })
        await assertReads(reading, before)
      },
    ),

    ...shares(
      'a clear after the instant takes nothing away',
      async ({ snapshotNow, readElsewhere }, backend) => {
        const before = await contents(backend)
        const reading = readElsewhere(shared(snapshotNow(backend)))
        await backend.clear()
        await fill(backend, { a: 'new' })
        await backend.flush()
        await assertReads(reading, before)
      },
    ),

    ...shares('one that is closed on its way is read as it was, or refused', async (context, backend) => {
      const before = await contents(backend)
      const snapshot = context.snapshotNow(backend)
      const { module, data } = shared(snapshot)
      snapshot.closeSync()
      const { openSharedSnapshot } = (await import(module)) as { openSharedSnapshot: OpenSharedSnapshot }
      // Whoever loads a module may come to the data only when all that belongs to it has gone.
      for (let turns = 0; turns < 100; turns++) await nextTurn()
      const outcome = await within(5_000, async () => {
        const reader = await openSharedSnapshot(data)
        const read = (await collect(reader.blocks())).flatMap(entriesOf)
        await reader.close()
        return read
      }).catch((error: unknown) => error)
      const refused = (outcome as { readonly code?: unknown }).code === 'CLOSED'
      if (!refused) assert.deepEqual(outcome, before)
    }),

    ...shares('a snapshot can be shared twice', async ({ snapshotNow, readElsewhere }, backend) => {
      const snapshot = snapshotNow(backend)
      const [first, second] = [shared(snapshot), shared(snapshot)]
      const expected = await contents(backend)
      await assertReads(readElsewhere(first), expected)
      await fill(backend, { a: 'later' })
      await assertReads(readElsewhere(second), expected)
    }),

    ...shares('an empty one is read as empty', async ({ snapshotNow, readElsewhere }, backend) => {
      await backend.clear()
      await assertReads(readElsewhere(shared(snapshotNow(backend))), [])
    }),

    ...shares(
      'what had expired at the instant is not read, what expires later is',
      async ({ snapshotNow, readElsewhere, clock }, backend) => {
        await fill(backend, { long: 'x' }, { ttlMs: 1_000 })
        await fill(backend, { short: 'x' }, { ttlMs: 10 })
        clock.advance(10)
        const expected = await contents(backend)
        const lent = shared(snapshotNow(backend))
        clock.advance(1_000)
        await fill(backend, { a: 'later' })
        await assertReads(readElsewhere(lent), expected)
      },
      ['ttl', 'clock'],
    ),

    ...shares(
      'what has changed since a base makes the present of it',
      async ({ snapshotNow, readElsewhere }, backend) => {
        const before = await contents(backend)
        const base = tracked(snapshotNow(backend, { track: true }))
        await fill(backend, { a: 'changed', new: '1', gone: '1' })
        await backend.delete(bytes('b'))
        await backend.flush()
        await backend.delete(bytes('gone'))
        await fill(backend, { c: 'a value that is longer than before' })
        const present = await contents(backend)
        const lent = sharedChanges(snapshotNow(backend, { since: base }))
        await fill(backend, { d: 'later', a: 'later' })
        await assertTells(readElsewhere(lent), before, present)
        base.release()
      },
      ['changes'],
    ),

    ...shares(
      'nothing has changed where nothing was written',
      async ({ snapshotNow, readElsewhere }, backend) => {
        const before = await contents(backend)
        const base = tracked(snapshotNow(backend, { track: true }))
        await assertTells(readElsewhere(sharedChanges(snapshotNow(backend, { since: base }))), before, before)
      },
      ['changes'],
    ),

    ...shares(
      'what has expired since a base does not come back, whenever it was written',
      async ({ snapshotNow, readElsewhere, clock }, backend) => {
        await fill(backend, { short: 'x', renewed: 'x' }, { ttlMs: 10 })
        await backend.flush()
        await fill(backend, { 'also short': 'x' }, { ttlMs: 10 })
        const before = await contents(backend)
        const base = tracked(snapshotNow(backend, { track: true }))
        await fill(backend, { renewed: 'x' }, { ttlMs: 1_000 })
        await fill(backend, { 'came and went': 'x' }, { ttlMs: 5 })
        clock.advance(10)
        const present = await contents(backend)
        // Whoever has the base knows when its entries end: changes need not tell of that.
        const remaining = before.filter(([key]) => !key.endsWith('short'))
        await assertTells(
          readElsewhere(sharedChanges(snapshotNow(backend, { since: base }))),
          remaining,
          present,
        )
      },
      ['changes', 'ttl', 'clock'],
    ),

    ...shares(
      'bases are kept apart, and released one by one',
      async ({ snapshotNow, readElsewhere }, backend) => {
        const first = { state: await contents(backend), base: tracked(snapshotNow(backend, { track: true })) }
        await fill(backend, { a: 'after the first' })
        const second = {
          state: await contents(backend),
          base: tracked(snapshotNow(backend, { track: true })),
        }
        await fill(backend, { b: 'after the second' })
        const third = { state: await contents(backend), base: tracked(snapshotNow(backend, { track: true })) }
        second.base.release()
        second.base.release()
        await fill(backend, { c: 'after the third' })
        const present = await contents(backend)
        for (const { state, base } of [first, third]) {
          await assertTells(
            readElsewhere(sharedChanges(snapshotNow(backend, { since: base }))),
            state,
            present,
          )
        }
      },
      ['changes'],
    ),

    ...shares(
      'after a clear, a base tells of it or knows nothing any more',
      async ({ snapshotNow, readElsewhere }, backend) => {
        const before = await contents(backend)
        const base = tracked(snapshotNow(backend, { track: true }))
        await backend.clear()
        await fill(backend, { b: 'new' })
        await assertToldOrUnknown(readElsewhere, snapshotNow(backend, { since: base }), before, [
          ['b', 'new'],
        ])
      },
      ['changes'],
    ),

    ...shares(
      'after a replacement, a base tells of it or knows nothing any more',
      async ({ snapshotNow, readElsewhere }, backend) => {
        const before = await contents(backend)
        const base = tracked(snapshotNow(backend, { track: true }))
        await backend.replaceAll(streamOf(blockOf(['b', 'new'], ['e', '5'])))
        await assertToldOrUnknown(readElsewhere, snapshotNow(backend, { since: base }), before, [
          ['b', 'new'],
          ['e', '5'],
        ])
      },
      ['changes', 'replaceAll'],
    ),
  ],
}

async function assertToldOrUnknown(
  readElsewhere: CaseContext['readElsewhere'],
  snapshot: SyncStateSnapshot,
  before: Content,
  present: Content,
): Promise<void> {
  if (snapshot.tellsChanges) await assertTells(readElsewhere(sharedChanges(snapshot)), before, present)
  else await assertReads(readElsewhere(shared(snapshot)), present)
}
