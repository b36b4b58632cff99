import assert from 'node:assert/strict'
import { isStateError, type StateErrorCode } from '../base/errors.js'
import type {
  CheckpointStorage,
  ObjectReader,
  ObjectWriter,
  PreparedReplacement,
  StorageLease,
} from '../storage/checkpoint-storage.js'

/** What the suite needs of a test runner: those of vitest, jest, mocha and `node:test` fit. */
export interface StorageSuiteRunner {
  describe(title: string, body: () => void): void
  it(title: string, body: () => Promise<void>): void
}

/** A fresh, empty storage for one test. */
export interface StorageFixture {
  readonly storage: CheckpointStorage
  /** A second storage object on the same content. Where it is missing, one object is all there can be. */
  reopen?(): CheckpointStorage
  /** Makes the present owner of the lease look as if its process had died. */
  killOwner(): Promise<void>
  /** Removes everything. */
  dispose(): Promise<void>
}

/**
 * Checks every promise of {@link CheckpointStorage} that can be checked without breaking the medium. For whoever
 * writes a storage: `title` heads the tests, `createFixture` is called once per test.
 *
 * @example
 * runStorageConformanceSuite({ describe, it }, 'MyStorage', () => openMyFixture())
 */
export function runStorageConformanceSuite(
  runner: StorageSuiteRunner,
  title: string,
  createFixture: () => Promise<StorageFixture>,
): void {
  const test: DefineTest<Subject> = (name, body) =>
    runner.it(name, async () => {
      const fixture = await createFixture()
      try {
        const { storage } = fixture
        const another = () => fixture.reopen?.() ?? storage
        await body({ storage, another, killOwner: () => fixture.killOwner() })
      } finally {
        await fixture.dispose()
      }
    })
  const testOwned: DefineTest<OwnedSubject> = (name, body) =>
    test(name, async (subject) => {
      const lease = await subject.storage.acquire()
      await body({ ...subject, lease })
      await lease.release()
    })
  runner.describe(`${title} keeps the storage contract:`, () => {
    testObjects(testOwned)
    testWriters(testOwned)
    testReaders(testOwned)
    testReplacing(testOwned)
    testBadArguments(testOwned)
    testLease(test)
    testFencedWrites(test)
  })
}

type DefineTest<Given> = (name: string, body: (given: Given) => Promise<void>) => void

interface Subject {
  readonly storage: CheckpointStorage
  /** A further storage object on the same content, where there can be one. */
  another(): CheckpointStorage
  killOwner(): Promise<void>
}

interface OwnedSubject extends Subject {
  readonly lease: StorageLease
}

function testObjects(test: DefineTest<OwnedSubject>): void {
  test('an empty storage lists nothing and holds nothing', async ({ storage, lease }) => {
    assert.deepEqual(await storage.list(), [])
    assert.equal(await storage.open('absent'), undefined)
    assert.equal(await storage.read('absent', 10), undefined)
    assert.equal(await lease.remove('absent'), false)
    assert.equal(await lease.discardUncommitted(0), 0)
    assert.notEqual(storage.name, '')
  })

  test('published objects are listed with their sizes and read back, the empty one too', async ({
    storage,
    lease,
  }) => {
    const contents: Record<string, Uint8Array> = {
      'chk-0000000042.manifest': pattern(1_000, 1),
      '0': pattern(0, 2),
      '-': pattern(1, 3),
      ['x'.repeat(128)]: pattern(300_000, 4),
    }
    for (const [name, bytes] of Object.entries(contents)) await publish(lease, name, bytes)
    const listed = (await storage.list()).sort((left, right) => (left.name < right.name ? -1 : 1))
    const expected = Object.entries(contents).map(([name, bytes]) => ({ name, sizeBytes: bytes.length }))
    assert.deepEqual(
      listed,
      expected.sort((left, right) => (left.name < right.name ? -1 : 1)),
    )
    for (const [name, bytes] of Object.entries(contents)) await expectObject(storage, name, bytes)
  })

  test('a removed object is gone, and its name may be used again', async ({ storage, lease }) => {
    await publish(lease, 'a', pattern(10, 1))
    await publish(lease, 'b', pattern(10, 2))
    assert.equal(await lease.remove('a'), true)
    assert.equal(await lease.remove('a'), false)
    assert.equal(await storage.open('a'), undefined)
    assert.deepEqual(await storage.list(), [{ name: 'b', sizeBytes: 10 }])
    await publish(lease, 'a', pattern(7, 3))
    await expectObject(storage, 'a', pattern(7, 3))
  })

  test('a second storage object sees what the first one published', async ({ lease, another }) => {
    await publish(lease, 'a', pattern(10, 1))
    const other = another()
    await expectObject(other, 'a', pattern(10, 1))
    assert.equal(await lease.remove('a'), true)
    assert.deepEqual(await other.list(), [])
  })
}

function testWriters(test: DefineTest<OwnedSubject>): void {
  test('an object appears at commit, not before', async ({ storage, lease }) => {
    const writer = await lease.create('a')
    await writer.write(pattern(100, 1))
    assert.deepEqual(await storage.list(), [])
    assert.equal(await storage.open('a'), undefined)
    assert.equal(await storage.read('a', 100), undefined)
    await writer.commit()
    await expectObject(storage, 'a', pattern(100, 1))
  })

  test('many writes make one object; the bytes may be reused after each', async ({ storage, lease }) => {
    const writer = await lease.create('a')
    const reused = Buffer.alloc(1_000)
    for (let i = 0; i < 20; i++) {
      reused.fill(i)
      await writer.write(reused)
    }
    await writer.commit()
    const bytes = await storage.read('a', 20_000)
    assert.equal(bytes?.length, 20_000)
    for (let i = 0; i < 20_000; i++) assert.equal(bytes[i], Math.floor(i / 1_000))
  })

  test('a view of a larger buffer is written as what it shows', async ({ storage, lease }) => {
    const whole = pattern(100, 1)
    await publish(lease, 'a', whole.subarray(10, 20))
    await expectObject(storage, 'a', whole.slice(10, 20))
  })

  test('the second writer of a name is FENCED and harms nothing', async ({ storage, lease }) => {
    const first = await lease.create('a')
    const second = await lease.create('a')
    await first.write(pattern(10, 1))
    await second.write(pattern(20, 2))
    await first.commit()
    await rejectsWith('FENCED', second.commit())
    await rejectsWith('FENCED', second.commit())
    await rejectsWith('FENCED', second.write(pattern(1, 1)))
    await second.abort()
    await expectObject(storage, 'a', pattern(10, 1))
    assert.equal((await storage.list()).length, 1)
  })

  test('of several commits of one name at once, one wins', async ({ storage, lease }) => {
    const writers = await Promise.all(Array.from({ length: 6 }, () => lease.create('a')))
    await Promise.all(writers.map((writer, i) => writer.write(pattern(100, i))))
    const outcomes = await Promise.allSettled(writers.map((writer) => writer.commit()))
    const winners = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? [i] : []))
    assert.equal(winners.length, 1)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') assert.ok(isStateError(outcome.reason, 'FENCED'))
    }
    await expectObject(storage, 'a', pattern(100, winners[0] as number))
  })

  test('an aborted writer leaves nothing; abort is idempotent, then the writer is CLOSED', async ({
    storage,
    lease,
  }) => {
    const writer = await lease.create('a')
    await writer.write(pattern(100, 1))
    await writer.abort()
    await writer.abort()
    await rejectsWith('CLOSED', writer.write(pattern(1, 1)))
    await rejectsWith('CLOSED', writer.commit())
    assert.deepEqual(await storage.list(), [])
    assert.equal(await lease.discardUncommitted(0), 0)
  })

  test('where an object can be prepared, it appears at commit all the same, and is not written to any more', async ({
    storage,
    lease,
  }) => {
    const writer = await lease.create('a')
    if (writer.prepare === undefined) return
    await writer.write(pattern(100, 1))
    await writer.prepare()
    assert.deepEqual(await storage.list(), [])
    assert.equal(await storage.open('a'), undefined)
    await rejectsWith('CLOSED', writer.write(pattern(1, 1)))
    assert.equal(await lease.discardUncommitted(0), 0)
    await writer.commit()
    await expectObject(storage, 'a', pattern(100, 1))
    const given = await lease.create('b')
    await given.write(pattern(100, 1))
    await given.prepare?.()
    await given.abort()
    await rejectsWith('CLOSED', given.commit())
    assert.deepEqual(
      (await storage.list()).map(({ name }) => name),
      ['a'],
    )
  })

  test('where a replacement can be prepared, the old bytes are seen until its commit, and for good without one', async ({
    storage,
    lease,
  }) => {
    if (lease.prepareReplace === undefined) return
    await lease.replace('a', pattern(10, 1))
    const prepared = await lease.prepareReplace('a', pattern(20, 2))
    assert.equal(await lease.discardUncommitted(0), 0)
    await expectObject(storage, 'a', pattern(10, 1))
    await prepared.commit()
    await expectObject(storage, 'a', pattern(20, 2))
    await prepared.abort()
    const given = await lease.prepareReplace('a', pattern(30, 3))
    await given.abort()
    await given.abort()
    const first = await lease.prepareReplace('b', pattern(5, 4))
    await expectObject(storage, 'a', pattern(20, 2))
    assert.equal(await storage.open('b'), undefined)
    await first.commit()
    await expectObject(storage, 'b', pattern(5, 4))
    await rejectsWith('INVALID_ARGUMENT', lease.prepareReplace('A', pattern(1, 1)))
  })

  test('after commit, abort is a no-op and the writer is CLOSED', async ({ storage, lease }) => {
    const writer = await publish(lease, 'a', pattern(10, 1))
    await writer.abort()
    await rejectsWith('CLOSED', writer.write(pattern(1, 1)))
    await rejectsWith('CLOSED', writer.commit())
    await expectObject(storage, 'a', pattern(10, 1))
  })

  test('abort waits for a commit under way and does not undo it', async ({ storage, lease }) => {
    const writer = await lease.create('a')
    await writer.write(pattern(10, 1))
    const committed = writer.commit()
    await writer.abort()
    await committed
    await expectObject(storage, 'a', pattern(10, 1))
  })

  test('a living writer of this storage is not discarded', async ({ storage, lease }) => {
    const writer = await lease.create('a')
    await writer.write(pattern(10, 1))
    assert.equal(await lease.discardUncommitted(0), 0)
    await writer.commit()
    await expectObject(storage, 'a', pattern(10, 1))
  })
}

function testReaders(test: DefineTest<OwnedSubject>): void {
  test('a reader returns exactly the range, and CORRUPTION beyond the end', async ({ storage, lease }) => {
    const bytes = pattern(1_000, 1)
    await publish(lease, 'a', bytes)
    const reader = await opened(storage, 'a')
    assert.equal(reader.sizeBytes, 1_000)
    assert.deepEqual(await reader.read(0, 1_000), bytes)
    assert.deepEqual(await reader.read(990, 10), bytes.slice(990))
    assert.deepEqual(await reader.read(1_000, 0), new Uint8Array(0))
    const parts = await Promise.all([reader.read(0, 10), reader.read(500, 10), reader.read(5, 10)])
    assert.deepEqual(parts, [bytes.slice(0, 10), bytes.slice(500, 510), bytes.slice(5, 15)])
    await rejectsWith('CORRUPTION', reader.read(991, 10))
    await rejectsWith('CORRUPTION', reader.read(1_001, 0))
    await rejectsWith('CORRUPTION', reader.read(0, Number.MAX_SAFE_INTEGER))
    await reader.close()
  })

  test('what a reader returned is the caller’s to change', async ({ storage, lease }) => {
    await publish(lease, 'a', pattern(10, 1))
    const reader = await opened(storage, 'a')
    for (const bytes of [await reader.read(0, 10), await storage.read('a', 10)]) bytes?.fill(0)
    await reader.close()
    await expectObject(storage, 'a', pattern(10, 1))
  })

  test('an open reader gives what it opened or an error, through replace and remove, and never other bytes', async ({
    storage,
    lease,
  }) => {
    const expectOldOrError = async (reader: ObjectReader, bytes: Uint8Array) => {
      const read = await reader.read(0, bytes.length).catch((error: unknown) => {
        assert.ok(isStateError(error), `a StateError, not ${String(error)}`)
        return bytes
      })
      assert.deepEqual(read, bytes)
      await reader.close()
    }
    await lease.replace('a', pattern(10, 1))
    const before = await opened(storage, 'a')
    await lease.replace('a', pattern(20, 2))
    const after = await opened(storage, 'a')
    await lease.remove('a')
    await publish(lease, 'a', pattern(30, 3))
    await expectOldOrError(before, pattern(10, 1))
    await expectOldOrError(after, pattern(20, 2))
  })

  test('a closed reader is CLOSED; close is idempotent', async ({ storage, lease }) => {
    await publish(lease, 'a', pattern(10, 1))
    const reader = await opened(storage, 'a')
    await reader.close()
    await reader.close()
    await rejectsWith('CLOSED', reader.read(0, 1))
  })

  test('read refuses an object larger than its bound', async ({ storage, lease }) => {
    await publish(lease, 'a', pattern(11, 1))
    await rejectsWith('CORRUPTION', storage.read('a', 10))
    assert.equal((await storage.read('a', 11))?.length, 11)
  })
}

function testReplacing(test: DefineTest<OwnedSubject>): void {
  test('replace writes, overwrites, and copies what it is given', async ({ storage, lease }) => {
    const bytes = pattern(10, 1)
    await lease.replace('latest', bytes)
    bytes.fill(0)
    await expectObject(storage, 'latest', pattern(10, 1))
    await lease.replace('latest', pattern(5, 2))
    await expectObject(storage, 'latest', pattern(5, 2))
    assert.deepEqual(await storage.list(), [{ name: 'latest', sizeBytes: 5 }])
  })

  test('a reader beside a hundred replacements sees whole versions only', async ({ storage, lease }) => {
    await lease.replace('latest', pattern(1, 0))
    const replacing = (async () => {
      for (let i = 1; i <= 100; i++) await lease.replace('latest', pattern(1 + (i % 7) * 100, i))
    })()
    let last = 0
    while (last < 100) {
      const bytes = (await storage.read('latest', 1_000)) as Uint8Array
      const version = bytes[0] as number
      assert.ok(version >= last, 'versions only go up')
      assert.deepEqual(bytes, pattern(bytes.length, version))
      last = version
    }
    await replacing
  })
}

function testBadArguments(test: DefineTest<OwnedSubject>): void {
  const badNames: readonly unknown[] = [
    '',
    '.',
    '..',
    '.hidden',
    '.lease-0000000001',
    'a/b',
    '../a',
    'a\\b',
    'a\0',
    'A',
    'a b',
    'a_b',
    'ä',
    'a\n',
    'x'.repeat(129),
    undefined,
    7,
    ['a'],
  ]

  test('names that are no object names are INVALID_ARGUMENT everywhere', async ({ storage, lease }) => {
    for (const bad of badNames) {
      const name = bad as string
      await rejectsWith('INVALID_ARGUMENT', lease.create(name))
      await rejectsWith('INVALID_ARGUMENT', storage.open(name))
      await rejectsWith('INVALID_ARGUMENT', storage.read(name, 1))
      await rejectsWith('INVALID_ARGUMENT', lease.replace(name, pattern(1, 1)))
      await rejectsWith('INVALID_ARGUMENT', lease.remove(name))
    }
    assert.deepEqual(await storage.list(), [])
  })

  test('wrong bytes, bounds and times are INVALID_ARGUMENT and end nothing', async ({ storage, lease }) => {
    await rejectsWith('INVALID_ARGUMENT', lease.replace('a', 'text' as unknown as Uint8Array))
    for (const bad of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '1' as unknown as number]) {
      await rejectsWith('INVALID_ARGUMENT', storage.read('a', bad))
    }
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY, '1' as unknown as number]) {
      await rejectsWith('INVALID_ARGUMENT', lease.discardUncommitted(bad))
    }
    const writer = await lease.create('a')
    await rejectsWith('INVALID_ARGUMENT', writer.write([1, 2] as unknown as Uint8Array))
    await writer.write(pattern(3, 1))
    await writer.commit()
    const reader = await opened(storage, 'a')
    for (const bad of [-1, 0.5, Number.NaN]) {
      await rejectsWith('INVALID_ARGUMENT', reader.read(bad, 1))
      await rejectsWith('INVALID_ARGUMENT', reader.read(0, bad))
    }
    assert.deepEqual(await reader.read(0, 3), pattern(3, 1))
    await reader.close()
  })
}

function testLease(test: DefineTest<Subject>): void {
  test('one owner at a time: the second is FENCED until the first lets go', async ({ storage, another }) => {
    const other = another()
    const first = await storage.acquire()
    await first.check()
    await rejectsWith('FENCED', storage.acquire())
    await rejectsWith('FENCED', other.acquire())
    await first.check()
    await first.release()
    const second = await other.acquire()
    await second.check()
    assert.ok(second.token > first.token, 'tokens grow')
    await rejectsWith('FENCED', storage.acquire())
    await second.release()
  })

  test('release is idempotent, closes the lease, and never frees another’s', async ({ storage }) => {
    const first = await storage.acquire()
    await Promise.all([first.release(), first.release()])
    await first.release()
    await rejectsWith('CLOSED', first.check())
    const second = await storage.acquire()
    await first.release()
    await second.check()
    await rejectsWith('FENCED', storage.acquire())
    await second.release()
  })

  test('the lease of a dead owner is taken over, and the old one is FENCED', async ({
    storage,
    another,
    killOwner,
  }) => {
    const dead = await storage.acquire()
    await killOwner()
    const heir = await another().acquire()
    assert.ok(heir.token > dead.token, 'tokens grow')
    await rejectsWith('FENCED', dead.check())
    await dead.release()
    await heir.check()
    await rejectsWith('FENCED', storage.acquire())
    await heir.release()
  })

  test('of many acquisitions at once, one wins', async ({ another }) => {
    let lastToken = 0
    for (let round = 0; round < 5; round++) {
      const rivals = Array.from({ length: 6 }, () => another())
      const outcomes = await Promise.allSettled(rivals.map((rival) => rival.acquire()))
      const leases = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') assert.ok(isStateError(outcome.reason, 'FENCED'))
      }
      assert.equal(leases.length, 1)
      for (const lease of leases) {
        assert.ok(lease.token > lastToken, 'tokens grow')
        lastToken = lease.token
        await lease.check()
        await lease.release()
      }
    }
  })

  test('leases are not objects', async ({ storage }) => {
    const lease = await storage.acquire()
    assert.deepEqual(await storage.list(), [])
    await publish(lease, 'lease-0000000001', pattern(3, 1))
    await lease.check()
    await lease.release()
    await expectObject(storage, 'lease-0000000001', pattern(3, 1))
  })
}

function testFencedWrites(test: DefineTest<Subject>): void {
  interface Begun {
    readonly lease: StorageLease
    readonly begun: ObjectWriter
    readonly prepared: PreparedReplacement | undefined
  }

  /** Every call of a lease that writes, and what was begun under it. */
  const writesOf = ({ lease, begun, prepared }: Begun): Record<string, () => Promise<unknown>> => ({
    create: async () => await (await lease.create('new')).commit(),
    commit: () => begun.commit(),
    ...(prepared && { commitPrepared: () => prepared.commit() }),
    replace: () => lease.replace('kept', pattern(5, 9)),
    remove: () => lease.remove('kept'),
    discardUncommitted: () => lease.discardUncommitted(0),
  })

  async function begin(storage: CheckpointStorage): Promise<Begun> {
    const lease = await storage.acquire()
    await publish(lease, 'kept', pattern(10, 1))
    const begun = await lease.create('begun')
    await begun.write(pattern(10, 2))
    const prepared = await lease.prepareReplace?.('kept', pattern(5, 8))
    return { lease, begun, prepared }
  }

  const expectRefused = async (code: StateErrorCode, writes: Record<string, () => Promise<unknown>>) => {
    for (const write of Object.values(writes)) await rejectsWith(code, write())
  }

  test('a fenced lease writes nothing, by no call, also not what it had begun', async ({
    storage,
    another,
    killOwner,
  }) => {
    const made = await begin(storage)
    const { lease } = made
    await killOwner()
    const heir = await another().acquire()
    await expectRefused('FENCED', writesOf(made))
    assert.deepEqual(await storage.list(), [{ name: 'kept', sizeBytes: 10 }])
    await expectObject(storage, 'kept', pattern(10, 1))
    // The name is free for the new owner.
    await publish(heir, 'begun', pattern(3, 3))
    await expectObject(storage, 'begun', pattern(3, 3))
    await made.begun.abort()
    await heir.release()
    await expectRefused('FENCED', { check: () => lease.check() })
  })

  test('the lease of a living owner is taken over where that is asked for', async ({ storage, another }) => {
    const made = await begin(storage)
    const { lease } = made
    const other = another()
    await rejectsWith('FENCED', other.acquire({ takeOver: false }))
    await lease.check()
    const heir = await other.acquire({ takeOver: true })
    assert.ok(heir.token > lease.token, 'tokens grow')
    await expectRefused('FENCED', { check: () => lease.check(), ...writesOf(made) })
    await heir.check()
    await publish(heir, 'new', pattern(3, 3))
    await lease.release()
    await heir.check()
    await heir.release()
  })

  test('a lease that was released writes nothing, also not what it had begun', async ({ storage }) => {
    const made = await begin(storage)
    const { lease } = made
    await lease.release()
    await expectRefused('CLOSED', writesOf(made))
    await expectObject(storage, 'kept', pattern(10, 1))
    assert.equal((await storage.list()).length, 1)
  })

  test('wrong options of an acquisition are INVALID_ARGUMENT and take nothing', async ({ storage }) => {
    await rejectsWith('INVALID_ARGUMENT', storage.acquire({ takeOver: 1 as unknown as boolean }))
    await rejectsWith('INVALID_ARGUMENT', storage.acquire({ takeover: true } as object))
    await (await storage.acquire()).release()
  })
}

async function publish(lease: StorageLease, name: string, bytes: Uint8Array) {
  const writer = await lease.create(name)
  await writer.write(bytes)
  await writer.commit()
  return writer
}

async function opened(storage: CheckpointStorage, name: string) {
  const reader = await storage.open(name)
  assert.ok(reader !== undefined, `${name} is there`)
  return reader
}

async function expectObject(storage: CheckpointStorage, name: string, bytes: Uint8Array): Promise<void> {
  const found = await storage.read(name, bytes.length)
  assert.ok(found !== undefined, `${name} is there`)
  assert.ok(Buffer.compare(found, bytes) === 0, `${name} holds what was written`)
}

async function rejectsWith(code: StateErrorCode, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isStateError(error), `a StateError, not ${String(error)}`)
    assert.equal(error.code, code)
    return true
  })
}

/** Bytes that tell their position and `seed`, which is the first of them. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (seed + i * 31) & 0xff)
}
