import assert from 'node:assert/strict'
import type { StateSnapshot } from '../../backend/state-snapshot.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { isStateError } from '../../base/errors.js'
import { seededRandom } from '../../base/random.js'
import { type ConformanceTopic, promise, type TestedBackend } from './case.js'
import { assertBytes, bytes, collect, counting, pattern, text } from './helpers.js'

const ACCOUNTS = 12
const TOTAL = ACCOUNTS * 100

/** Many asynchronous tasks of one process on one backend. */
export const concurrency: ConformanceTopic = {
  title: 'many tasks at once',
  cases: [
    promise('two hundred tasks, each on keys of its own, do not disturb each other', async ({ open }) => {
      const backend = await open()
      const counted = counting(backend, 'puts', 'deletes', 'gets', 'hits')
      await inParallel(200, async (task) => {
        for (let i = 0; i < 10; i++) {
          const key = bytes(`task ${task} ${i % 3}`)
          await backend.put(key, pattern((task * i) % 120, task))
          assertBytes(await backend.get(key), pattern((task * i) % 120, task))
          if (i % 4 === 3) {
            await backend.delete(key)
            assert.equal(await backend.contains(key), false)
          }
        }
        assert.equal((await backend.listKeys(bytes(`task ${task} `))).length, 2)
      })
      assert.equal(await backend.count(), 400)
      assert.deepEqual(counted(), { puts: 2_000, deletes: 400, gets: 2_000, hits: 2_000 })
    }),

    promise('counters under expect lose no update', async ({ open }) => {
      const backend = await open()
      const counted = counting(backend, 'puts')
      const key = bytes('counter')
      let conflicts = 0
      await inParallel(25, async () => {
        for (let added = 0; added < 8; ) {
          const seen = await backend.get(key)
          const next = bytes(`${Number(text(seen ?? bytes('0'))) + 1}`)
          try {
            await backend.write(new WriteBatch().expect(key, seen).put(key, next))
            added++
          } catch (error) {
            if (!isStateError(error, 'CONCURRENT_MODIFICATION')) throw error
            conflicts++
          }
        }
      })
      assertBytes(await backend.get(key), bytes('200'))
      assert.ok(conflicts > 0, 'the tasks did meet')
      assert.equal(counted().puts, 200)
    }),

    promise('scans, snapshots and getMany never see half of a batch', async ({ open }) => {
      const backend = await open()
      const opening = new WriteBatch()
      for (let i = 0; i < ACCOUNTS; i++) opening.put(account(i), bytes('100'))
      await backend.write(opening)
      let transfers = 0
      let checks = 0
      await inParallel(20, async (task) => {
        const random = seededRandom(task)
        for (let i = 0; i < 12; i++) {
          if (task % 2 === 0) {
            if (await transfer(backend, random)) transfers++
          } else {
            await checkTotal(backend, i)
            checks++
          }
          if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
        }
      })
      assert.ok(transfers > 0 && checks > 0)
      assert.equal(await total(backend), TOTAL)
      assert.equal(backend.stats().openSnapshots, 0)
    }),

    promise('calls that are not waited for apply all', async ({ open }) => {
      const backend = await open()
      const calls: Promise<void>[] = []
      for (let i = 0; i < 500; i++) calls.push(backend.put(bytes(`key ${i}`), pattern(i % 60, i)))
      await Promise.all(calls)
      assert.equal(await backend.count(), 500)
      const keys = Array.from({ length: 500 }, (_, i) => bytes(`key ${i}`))
      for (const [i, value] of (await backend.getMany(keys)).entries()) assertBytes(value, pattern(i % 60, i))
      await Promise.all(keys.map((key) => backend.delete(key)))
      assert.equal(await backend.count(), 0)
    }),
  ],
}

function account(index: number): Uint8Array {
  return bytes(`account ${String(index).padStart(2, '0')}`)
}

/** Moves a sum between two accounts, if nobody was faster: whether that was so. */
async function transfer(backend: TestedBackend, random: () => number): Promise<boolean> {
  const from = Math.floor(random() * ACCOUNTS)
  const to = (from + 1 + Math.floor(random() * (ACCOUNTS - 1))) % ACCOUNTS
  const [source, target] = await backend.getMany([account(from), account(to)])
  assert.ok(source !== undefined && target !== undefined)
  const amount = Math.floor(random() * 150)
  const batch = new WriteBatch().expect(account(from), source).expect(account(to), target)
  batch.put(account(from), bytes(`${Number(text(source)) - amount}`))
  batch.put(account(to), bytes(`${Number(text(target)) + amount}`))
  try {
    await backend.write(batch)
    return true
  } catch (error) {
    if (isStateError(error, 'CONCURRENT_MODIFICATION')) return false
    throw error
  }
}

async function checkTotal(backend: TestedBackend, round: number): Promise<void> {
  const { orderedScan, snapshots } = backend.supports
  if (round % 3 === 1 && orderedScan === 'instant') {
    assert.equal(await total(backend), TOTAL, 'scan')
  } else if (round % 3 === 2 && snapshots) {
    const snapshot = await backend.snapshot()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(await total(snapshot), TOTAL, 'snapshot')
    await snapshot.close()
  } else {
    const values = await backend.getMany(Array.from({ length: ACCOUNTS }, (_, i) => account(i)))
    assert.equal(sum(values), TOTAL, 'getMany')
  }
}

async function total(from: TestedBackend | StateSnapshot): Promise<number> {
  return sum((await collect(from.scan())).map(([, value]) => value))
}

function sum(values: readonly (Uint8Array | undefined)[]): number {
  return values.reduce((added, value) => added + Number(text(value ?? bytes('NaN'))), 0)
}

async function inParallel(tasks: number, run: (task: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: tasks }, (_, task) => run(task)))
}
