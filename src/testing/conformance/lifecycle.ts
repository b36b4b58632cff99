import assert from 'node:assert/strict'
import { WriteBatch } from '../../backend/write-batch.js'
import { isStateError } from '../../base/errors.js'
import { type ConformanceCapability, type ConformanceTopic, promise } from './case.js'
import { blockOf, bytes, fill, rejection, rejects, scanRejects, step, streamOf } from './helpers.js'

/** Promises 8 (as far as a process can see) and 9. */
export const lifecycle: ConformanceTopic = {
  title: 'life cycle',
  cases: [
    promise('has a name', async ({ open }) => {
      const { name } = await open()
      assert.match(name, /^\S+$/)
    }),

    promise('says what it supports, and is that: what it cannot is declared', async ({ open, can }) => {
      const backend = await open()
      const { supports } = backend
      assert.ok(Object.isFrozen(supports), 'supports should be frozen')
      assert.equal(backend.supports, supports, 'supports should stay the same')
      const said: readonly (readonly [ConformanceCapability, unknown])[] = [
        ['sync', supports.sync],
        ['snapshots', supports.snapshots],
        ['changes', supports.changes],
        ['share', supports.sharing],
        ['replaceAll', supports.replace],
        ['inPlace', supports.inPlace],
        ['ttl', supports.ttl],
        ['instantScans', supports.orderedScan === 'instant'],
      ]
      for (const [capability, value] of said) assert.equal(value, can(capability), `supports: ${capability}`)
      assert.equal(typeof supports.durable, 'boolean')
    }),

    promise('every call after close rejects with CLOSED', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1' })
      await backend.close()
      for (const call of [
        () => backend.get(bytes('a')),
        () => backend.getMany([bytes('a')]),
        () => backend.getMany([]),
        () => backend.getOrThrow(bytes('a')),
        () => backend.put(bytes('a'), bytes('1')),
        () => backend.delete(bytes('a')),
        () => backend.contains(bytes('a')),
        () => backend.write(new WriteBatch().put(bytes('a'), bytes('1'))),
        () => backend.write(new WriteBatch()),
        () => backend.listKeys(bytes('')),
        () => backend.count(),
        () => backend.clear(),
        () => backend.deleteRange({}),
        () => backend.flush(),
        ...(backend.supports.snapshots ? [() => backend.snapshot()] : []),
        ...(backend.supports.replace ? [() => backend.replaceAll(streamOf(blockOf(['a', '1'])))] : []),
      ]) {
        const error = await rejects('CLOSED', call)
        assert.ok(error.details.component !== '', 'the error names the component')
      }
      await scanRejects('CLOSED', () => backend.scan())
      assert.throws(
        () => backend.stats(),
        (error) => isStateError(error, 'CLOSED'),
      )
    }),

    promise('a second close is a no-op, also at the same time and by disposal', async ({ open }) => {
      const backend = await open()
      await fill(backend, { a: '1' })
      await Promise.all([backend.close(), backend.close()])
      await backend.close()
      await backend[Symbol.asyncDispose]()
      const disposed = await open()
      await disposed[Symbol.asyncDispose]()
      await rejects('CLOSED', () => disposed.count())
      await disposed.close()
    }),

    promise(
      'close ends open snapshots and running scans with CLOSED',
      async ({ open }) => {
        const backend = await open()
        await fill(backend, { a: '1', b: '2', c: '3' })
        const snapshot = await backend.snapshot()
        const running = backend.scan()
        await step(running)
        const unstarted = backend.scan()
        const ofSnapshot = snapshot.scan()
        await step(ofSnapshot)
        const blocks = snapshot.blocks({ targetBytes: 1 })
        await blocks.next()
        const finished = backend.scan({ limit: 0 })
        await finished.next()
        await backend.close()
        await rejects('CLOSED', () => running.next())
        await rejects('CLOSED', () => unstarted.next())
        await rejects('CLOSED', () => ofSnapshot.next())
        await rejects('CLOSED', () => blocks.next())
        await rejects('CLOSED', () => snapshot.get(bytes('a')))
        await rejects('CLOSED', () => snapshot.getMany([bytes('a')]))
        await rejects('CLOSED', () => snapshot.contains(bytes('a')))
        await rejects('CLOSED', () => snapshot.count())
        await scanRejects('CLOSED', () => snapshot.scan())
        await scanRejects('CLOSED', () => snapshot.blocks())
        await snapshot.close()
        await running.return?.()
        assert.equal((await finished.next()).done, true)
      },
      ['snapshots'],
    ),

    promise(
      'close ends a running replaceAll with CLOSED',
      async ({ open }) => {
        const backend = await open()
        await fill(backend, { a: '1' })
        const blocks = async function* () {
          yield blockOf(['b', '1'])
          await backend.close()
          yield blockOf(['c', '1'])
        }
        await rejection('CLOSED', backend.replaceAll(blocks()))
        await rejects('CLOSED', () => backend.count())
      },
      ['replaceAll'],
    ),

    promise(
      'close leaves no timer behind',
      async ({ open, clock }) => {
        const others = clock.pendingTimers
        const backend = await open({ ttlMs: 1_000 })
        await fill(backend, { a: '1', b: '2' })
        await clock.advanceAsync(100)
        await backend.close()
        assert.equal(clock.pendingTimers, others)
        await clock.advanceAsync(60_000)
      },
      ['clock', 'ttl'],
    ),

    promise('flush resolves, also with nothing written and twice at once', async ({ open }) => {
      const backend = await open()
      await backend.flush()
      await fill(backend, { a: '1' })
      await Promise.all([backend.flush(), backend.flush()])
      await backend.flush()
      assert.equal(await backend.count(), 1)
    }),

    promise('two backends share nothing', async ({ open }) => {
      const [one, other] = [await open(), await open()]
      await fill(one, { a: '1' })
      assert.equal(await other.count(), 0)
      await fill(other, { a: '2', b: '2' })
      await one.close()
      assert.equal(await other.count(), 2)
    }),
  ],
}
