import assert from 'node:assert/strict'
import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import type { ChangeBase, StateSnapshot } from '../../backend/state-snapshot.js'
import { type ConformanceTopic, promise } from './case.js'
import {
  blockOf,
  bytes,
  contents,
  fill,
  freshAndSettled,
  rejects,
  scanRejects,
  streamOf,
  text,
} from './helpers.js'

type Content = readonly (readonly [key: string, value: string])[]
type Change = readonly [key: string, value: string | undefined]

async function changesOf(blocks: AsyncIterable<EntryBlock>): Promise<Change[]> {
  const changes: Change[] = []
  for await (const block of blocks) {
    const before = changes.length
    const cursor = new EntryBlockCursor(block.bytes)
    while (cursor.next())
      changes.push([text(cursor.key()), cursor.tombstone ? undefined : text(cursor.value())])
    assert.equal(changes.length - before, block.entryCount, 'a block should hold as many entries as it says')
  }
  const keys = changes.map(([key]) => key)
  assert.deepEqual(keys, [...new Set(keys)].sort(), 'changes should come in key order, each key once')
  return changes
}

/** Checks that what was there at the base and the changes since then make what the snapshot holds. */
async function assertTells(snapshot: StateSnapshot, before: Content): Promise<void> {
  assert.ok(snapshot.tellsChanges, 'what has changed should be known')
  const state = new Map(before)
  for (const [key, value] of await changesOf(snapshot.changes({ targetBytes: 64 }))) {
    if (value === undefined) state.delete(key)
    else state.set(key, value)
  }
  const merged = [...state].sort(([left], [right]) => (left < right ? -1 : 1))
  assert.deepEqual(merged, await contents(snapshot))
}

function baseOf({ base }: StateSnapshot): ChangeBase {
  assert.ok(base !== undefined, 'the snapshot should be a base')
  return base
}

/** Runs once on what was just written, and once on what the engine has had time to settle. */
const tells = freshAndSettled(['snapshots', 'changes'])

/** What has changed between two snapshots, told as blocks: what makes checkpoints incremental. */
export const changes: ConformanceTopic = {
  title: 'changes between snapshots',
  cases: [
    ...tells(
      'what was put and deleted since a base makes the present of it',
      async ({ snapshotOf }, backend) => {
        const first = await snapshotOf(backend, { track: true })
        const before = await contents(first)
        await fill(backend, { a: 'changed', new: '1', gone: '1' })
        await backend.delete(bytes('b'))
        await backend.delete(bytes('gone'))
        await fill(backend, { c: 'a value that is longer than before' })
        const second = await snapshotOf(backend, { since: baseOf(first) })
        await fill(backend, { d: 'later', a: 'later', later: '1' })
        await backend.flush()
        await assertTells(second, before)
        baseOf(first).release()
      },
    ),

    ...tells(
      'changes may be read again, whatever was written or given up meanwhile',
      async ({ snapshotOf }, backend) => {
        const first = await snapshotOf(backend, { track: true })
        const before = await contents(first)
        await fill(backend, { a: 'changed', new: 'v'.repeat(100), other: '1' })
        await backend.delete(bytes('b'))
        const second = await snapshotOf(backend, { since: baseOf(first) })
        await fill(backend, { a: 'later', later: '1' })
        for await (const _ of second.changes({ targetBytes: 1 })) break
        await backend.delete(bytes('new'))
        for (let round = 0; round < 3; round++) {
          await assertTells(second, before)
          await fill(backend, { c: `later ${round}` })
          await backend.flush()
        }
      },
    ),

    ...tells('nothing has changed where nothing was written', async ({ snapshotOf }, backend) => {
      const first = await snapshotOf(backend, { track: true })
      const second = await snapshotOf(backend, { since: baseOf(first) })
      await assertTells(second, await contents(first))
    }),

    ...tells('a deleted range has changed', async ({ snapshotOf }, backend) => {
      const first = await snapshotOf(backend, { track: true })
      const before = await contents(first)
      await backend.deleteRange({ gte: bytes('b'), lt: bytes('d') })
      await fill(backend, { bb: 'new' })
      await assertTells(await snapshotOf(backend, { since: baseOf(first) }), before)
    }),

    ...tells('a base outlives its snapshot, and bases form a chain', async ({ snapshotOf }, backend) => {
      let base: ChangeBase | undefined
      let before: Content = []
      for (let round = 0; round < 4; round++) {
        await fill(backend, { [`k${round}`]: `${round}`, a: `${round}` })
        if (round > 0) await backend.delete(bytes(`k${round - 1}`))
        const snapshot = await snapshotOf(backend, {
          track: true,
          ...(base === undefined ? {} : { since: base }),
        })
        if (base !== undefined) await assertTells(snapshot, before)
        base?.release()
        base = baseOf(snapshot)
        before = await contents(snapshot)
        await snapshot.close()
      }
    }),

    ...tells(
      'a base that was released, or of a cleared or another content, is known no more',
      async ({ snapshotOf, open }, backend) => {
        const first = await snapshotOf(backend, { track: true })
        baseOf(first).release()
        baseOf(first).release()
        const unknown = await snapshotOf(backend, { since: baseOf(first) })
        assert.equal(unknown.tellsChanges, false, 'after its release')
        await scanRejects('INVALID_ARGUMENT', () => unknown.changes())
        const other = await open()
        const foreign = await snapshotOf(other, { track: true })
        assert.equal((await snapshotOf(backend, { since: baseOf(foreign) })).tellsChanges, false, "another's")
        const next = await snapshotOf(backend, { track: true })
        const before = await contents(next)
        await backend.clear()
        await fill(backend, { e: '1' })
        const cleared = await snapshotOf(backend, { since: baseOf(next) })
        if (cleared.tellsChanges) await assertTells(cleared, before)
      },
    ),

    ...tells(
      'after a replacement, also of a range, a base tells of it or is known no more',
      async ({ snapshotOf }, backend) => {
        for (const range of [{ gte: bytes('b'), lt: bytes('c') }, {}]) {
          const first = await snapshotOf(backend, { track: true })
          const before = await contents(first)
          await backend.replaceAll(streamOf(blockOf(['b', 'new'], ['bb', 'new'])), { range })
          const second = await snapshotOf(backend, { since: baseOf(first) })
          if (second.tellsChanges) await assertTells(second, before)
        }
      },
      ['replaceAll'],
    ),

    promise(
      'without a base a snapshot tells no changes, and is none unless asked',
      async ({ open, snapshotOf }) => {
        const snapshot = await snapshotOf(await open())
        assert.equal(snapshot.base, undefined)
        assert.equal(snapshot.tellsChanges, false)
        await scanRejects('INVALID_ARGUMENT', () => snapshot.changes())
      },
      ['snapshots'],
    ),

    promise(
      'rejects what is no base and no options',
      async ({ open }) => {
        const backend = await open()
        for (const wrong of [{ since: 5 }, { since: {} }, { track: 1 }, { unknown: true }, 7]) {
          await rejects('INVALID_ARGUMENT', () => backend.snapshot(wrong as object))
        }
      },
      ['snapshots'],
    ),

    promise(
      'a closed snapshot tells nothing, and unread changes hold nothing up',
      async ({ open, snapshotOf }) => {
        const backend = await open()
        await fill(backend, { a: '1' })
        const first = await snapshotOf(backend, { track: true })
        await fill(backend, { b: '1' })
        const second = await snapshotOf(backend, { since: baseOf(first) })
        await second.close()
        await scanRejects('CLOSED', () => second.changes())
        await fill(backend, { c: '1' })
        await backend.flush()
        assert.equal(await backend.count(), 3)
      },
      ['snapshots', 'changes'],
    ),
  ],
}
