import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { isStateError } from '../../base/errors.js'
import { LmdbStateBackend } from '../../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { HoldfastLevel } from './holdfast-level.js'

// abstract-level's own suite runs on both engines in `npm run test:adapters`; here is what it does not ask.

const folder = mkdtempSync(join(tmpdir(), 'holdfast-level-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const inMemory = () => new MemoryStateBackend()
const binary = { keyEncoding: 'view', valueEncoding: 'view' } as const

async function codeOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => 'resolved',
    (error: unknown) => (isStateError(error) ? error.code : (error as { code?: unknown }).code),
  )
}

describe('a level database', () => {
  it('keeps keys of any bytes in the order of bytes, the empty one and 2,048 bytes included', async () => {
    const db = new HoldfastLevel<Uint8Array, Uint8Array>(inMemory(), binary)
    const keys = [[], [0], [0, 0], [0, 255], [127], [128], [255], [255, 0], [255, 255]].map((bytes) =>
      Uint8Array.from(bytes),
    )
    keys.push(new Uint8Array(2_048).fill(255))
    await Promise.all(keys.toReversed().map((key) => db.put(key, key)))
    const seen = await db.keys().all()
    expect(seen.map((key) => [...key])).toEqual(keys.map((key) => [...key]))
    const reversed = await db.keys({ reverse: true, limit: 3 }).all()
    expect(reversed.map((key) => key.length)).toEqual([2_048, 2, 2])
    expect(await codeOf(db.put(new Uint8Array(2_049), keys[0] as Uint8Array))).toBe('INVALID_ARGUMENT')
    await db.close()
  })

  it('does in the order of the calls what is not awaited', async () => {
    const db = new HoldfastLevel(inMemory())
    await db.open()
    const writes = [
      db.put('a', '1'),
      db.put('a', '2'),
      db.del('a'),
      db.batch([{ type: 'put', key: 'a', value: '3' }]),
    ]
    expect(db.getSync('a')).toBe('3')
    await Promise.all(writes)
    expect(await db.get('a')).toBe('3')
    await db.close()
  })

  it('shares a backend with others whose prefixes begin alike, and clears its own keys only', async () => {
    const backend = inMemory()
    const a = new HoldfastLevel(backend, { prefix: 'a' })
    const ab = new HoldfastLevel(backend, { prefix: 'ab' })
    await a.put('x', 'of a')
    await ab.put('x', 'of ab')
    await a.sublevel('b').put('x', 'of a sublevel')
    expect(await a.iterator().all()).toEqual([
      ['!b!x', 'of a sublevel'],
      ['x', 'of a'],
    ])
    await a.clear()
    expect(await a.keys().all()).toEqual([])
    expect(await ab.keys().all()).toEqual(['x'])
    await Promise.all([a.close(), ab.close()])
    expect(backend.containsSync(Buffer.from('ab\0x'))).toBe(true)
    await backend.close()
  })

  it.each(['x\0y', 1])('refuses the prefix %j', (prefix) => {
    expect(() => new HoldfastLevel(inMemory(), { prefix: prefix as string })).toThrow('options.prefix')
  })

  it('refuses what is no store', () => {
    for (const store of ['', undefined, {}, new Map()]) {
      expect(() => new HoldfastLevel(store as string)).toThrow('store must be')
    }
  })

  it('closes though its backend was closed before, and snapshots and iterators were refused', async () => {
    const backend = inMemory()
    const db = new HoldfastLevel(backend)
    await db.open()
    const held = [db.snapshot(), db.iterator()]
    await backend.close()
    expect(() => db.snapshot()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    await expect(db.iterator().next()).rejects.toMatchObject({ code: 'CLOSED' })
    await db.close()
    await db.close()
    await Promise.all(held.map((each) => each.close()))
  })

  it('holds no snapshot behind a close in the middle of an iterator, or one that sought', async () => {
    const backend = inMemory()
    const db = new HoldfastLevel(backend)
    await db.batch(['a', 'b', 'c', 'd'].map((key) => ({ type: 'put', key, value: key })))
    const open = db.iterator()
    const sought = db.keys({ reverse: true })
    const held = db.snapshot()
    const ofHeld = db.values({ snapshot: held })
    await open.next()
    await ofHeld.next()
    await sought.next()
    sought.seek('b')
    expect(await sought.next()).toBe('b')
    sought.seek('c')
    const pending = open.next()
    await db.close()
    expect(await pending).toEqual(['b', 'b'])
    expect(backend.stats().openSnapshots).toBe(0)
    expect(await codeOf(open.next())).toBe('LEVEL_ITERATOR_NOT_OPEN')
    // The backend is its owner's.
    expect(backend.getSync(Buffer.from('a'))).toBeDefined()
    await backend.close()
  })

  it('rejects with CLOSED where the backend is closed under it, and can be closed all the same', async () => {
    const backend = inMemory()
    const db = new HoldfastLevel(backend)
    await db.put('a', '1')
    const iterator = db.iterator()
    await iterator.next()
    await backend.close()
    expect(await codeOf(db.get('a'))).toBe('CLOSED')
    expect(await codeOf(iterator.next())).toBe('CLOSED')
    await db.close()
    expect(db.status).toBe('closed')
  })

  it('seeks within its bounds and its prefix only', async () => {
    const backend = inMemory()
    const db = new HoldfastLevel(backend, { prefix: 'm' })
    const [below, above] = [
      new HoldfastLevel(backend, { prefix: 'a' }),
      new HoldfastLevel(backend, { prefix: 'z' }),
    ]
    for (const each of [db, below, above]) {
      await each.batch(['b', 'd', 'f', 'h'].map((key) => ({ type: 'put', key, value: key })))
    }
    const from = async (target: string, options: object) => {
      const iterator = db.keys(options)
      iterator.seek(target)
      return await iterator.all()
    }
    expect(await from('', {})).toEqual(['b', 'd', 'f', 'h'])
    expect(await from('c', { lt: 'h' })).toEqual(['d', 'f'])
    expect(await from('e', { reverse: true, gt: 'b' })).toEqual(['d'])
    expect(await from('a', { gte: 'd' })).toEqual([])
    expect(await from('\uffff', { reverse: true })).toEqual(['h', 'f', 'd', 'b'])
    expect(await from('z', { reverse: true, lte: 'h' })).toEqual([])
    expect(await from('z', {})).toEqual([])
  })

  it('removes with a limit, in either direction, and what a snapshot holds', async () => {
    const db = new HoldfastLevel(inMemory())
    const names = Array.from({ length: 1_300 }, (_, i) => String(i).padStart(4, '0'))
    await db.batch(names.map((key) => ({ type: 'put', key, value: key })))
    const snapshot = db.snapshot()
    await db.clear({ limit: 600 })
    await db.clear({ reverse: true, limit: 698, gte: '0' })
    expect(await db.keys().all()).toEqual(['0600', '0601'])
    await db.put('later', '1')
    await db.clear({ snapshot, lte: '0600' })
    await snapshot.close()
    expect(await db.keys().all()).toEqual(['0601', 'later'])
    await db.close()
  })

  it('lets entries expire, alone and in batches, and refuses a life that is none', async () => {
    const clock = new ManualClock()
    const backend = new MemoryStateBackend({ clock })
    const db = new HoldfastLevel(backend)
    await db.put('a', '1', { ttlMs: 1_000 })
    await db.batch([{ type: 'put', key: 'b', value: '1' }], { ttlMs: 2_000 })
    await db.put('c', '1', { ttlMs: 2 ** 40 })
    clock.advance(1_000)
    expect(await db.keys().all()).toEqual(['b', 'c'])
    clock.advance(1_000)
    expect(await db.keys().all()).toEqual(['c'])
    for (const ttlMs of [0, -1, Number.NaN]) {
      expect(await codeOf(db.put('d', '1', { ttlMs }))).toBe('INVALID_ARGUMENT')
    }
    await db.close()
    await backend.close()
  })

  it('applies a batch that cannot be written wholly not at all', async () => {
    const db = new HoldfastLevel(inMemory())
    const huge = 'k'.repeat(3_000)
    const batch = db.batch([
      { type: 'put', key: 'a', value: '1' },
      { type: 'put', key: huge, value: '1' },
    ])
    expect(await codeOf(batch)).toBe('INVALID_ARGUMENT')
    expect(await db.keys().all()).toEqual([])
    await db.close()
  })
})

describe('a level database whose backend has been closed', () => {
  it('says so in every read and write, and is closed all the same', async () => {
    const backend = new MemoryStateBackend()
    const db = new HoldfastLevel(backend)
    await db.put('a', '1')
    await backend.close()
    const attempts = [
      () => db.get('a'),
      () => db.put('a', '2'),
      () => db.iterator().next(),
      () => db.keys().all(),
      () => db.values().nextv(2),
      () => db.clear({ limit: 1 }),
      async () => db.snapshot(),
    ]
    for (const attempt of attempts) await expect(attempt()).rejects.toMatchObject({ code: 'CLOSED' })
    await db.close()
    expect(db.status).toBe('closed')
  })
})

describe('a level database at a location', () => {
  it('is there again when it is opened again', async () => {
    const location = join(folder, 'again')
    const db = new HoldfastLevel(location)
    await db.put('a', '1', { sync: true })
    await db.batch().put('b', '2').write()
    await db.close()
    const other = new HoldfastLevel(location)
    expect(await other.getMany(['a', 'b', 'c'])).toEqual(['1', '2', undefined])
    const iterator = other.iterator({ reverse: true })
    expect(await iterator.next()).toEqual(['b', '2'])
    await other.close()
    await db.open({ createIfMissing: false })
    expect(await db.has('a')).toBe(true)
    await db.close()
  })

  it('is not made where it must be there, nor opened where it must not', async () => {
    const db = new HoldfastLevel(join(folder, 'none'), { createIfMissing: false })
    const missing = await db.open().catch((error: unknown) => (error as Error).cause)
    expect((missing as Error).message).toContain('does not exist')
    await db.open({ createIfMissing: true })
    await db.close()
    const there = await db.open({ errorIfExists: true }).catch((error: unknown) => (error as Error).cause)
    expect((there as Error).message).toContain('exists already')
  })

  it('is durable with sync, whether the write or the database says so', async () => {
    const backend = await LmdbStateBackend.open({ path: join(folder, 'sync'), flushIntervalMs: Infinity })
    const db = new HoldfastLevel(backend, { sync: true })
    await db.put('a', '1', { sync: false })
    expect(backend.stats().bufferedKeys).toBe(1)
    await db.del('b')
    expect(backend.stats().bufferedKeys).toBe(0)
    await db
      .batch()
      .put('c', '1')
      .write({ sync: false } as object)
    expect(backend.stats().bufferedKeys).toBe(1)
    await db.clear()
    expect(backend.stats().bufferedKeys).toBe(0)
    await db.close()
    await backend.close()
  })
})
