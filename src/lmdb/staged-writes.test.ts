import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { canStage } from '../backend/state-backend.js'
import { WriteBatch } from '../backend/write-batch.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value)
const put = (key: string, value: string): WriteBatch => new WriteBatch().put(bytes(key), bytes(value))

let clock: ManualClock
let backend: LmdbStateBackend
beforeEach(async () => {
  clock = new ManualClock()
  backend = await LmdbStateBackend.temporary({ clock, cacheBytes: 1024 * 1024 })
})
afterEach(() => backend.close())

async function all(): Promise<[string | undefined, string | undefined][]> {
  const found: [string | undefined, string | undefined][] = []
  for await (const [key, value] of backend.scan()) found.push([text(key), text(value)])
  return found
}

describe('a staged write', () => {
  it('is seen by nobody until it is applied, and then wholly', async () => {
    backend.putSync(bytes('b'), bytes('before'))
    const stage = backend.stage()
    stage.add(put('a', '1'))
    stage.add(put('b', '2').delete(bytes('c')))
    const snapshot = backend.snapshotSync()
    backend.putSync(bytes('c'), bytes('meanwhile'))
    backend.putSync(bytes('b'), bytes('meanwhile'))
    expect(await all()).toEqual([
      ['b', 'meanwhile'],
      ['c', 'meanwhile'],
    ])
    stage.apply()
    expect(await all()).toEqual([
      ['a', '1'],
      ['b', '2'],
    ])
    expect(text(backend.getSync(bytes('b')))).toBe('2')
    expect([...snapshot.scanSync()].map(([key]) => text(key))).toEqual(['b'])
    snapshot.closeSync()
    backend.putSync(bytes('b'), bytes('after'))
    expect(text(backend.getSync(bytes('b')))).toBe('after')
    await backend.flush()
    expect(await all()).toEqual([
      ['a', '1'],
      ['b', 'after'],
    ])
  })

  it('is one commit: what was written before it is another one, and what comes later as well', async () => {
    backend.putSync(bytes('before'), bytes('1'))
    const stage = backend.stage()
    for (let i = 0; i < 100; i++) stage.add(put(`key ${i}`, '1'))
    stage.apply()
    await backend.flush()
    expect(backend.stats()).toMatchObject({ commits: 2, entries: 101, bufferedKeys: expect.any(Number) })
  })

  it('leaves nothing where it is dropped, and the next one begins anew', async () => {
    const stage = backend.stage()
    stage.add(put('a', '1'))
    stage.drop()
    stage.drop()
    expect(() => stage.add(put('a', '1'))).toThrowError(/TRANSACTION_FAILED|is over/)
    expect(() => stage.apply()).toThrowError(expect.objectContaining({ code: 'TRANSACTION_FAILED' }))
    expect(await all()).toEqual([])
    expect(backend.stats()).toMatchObject({ puts: 0, entries: 0, bufferedKeys: 0 })
    const next = backend.stage()
    next.add(put('b', '1'))
    next.apply()
    expect(await all()).toEqual([['b', '1']])
    expect(backend.stats()).toMatchObject({ puts: 1, entries: 1 })
  })

  it('is the only one at a time, and takes no expectations and no ranges', () => {
    const stage = backend.stage()
    expect(() => backend.stage()).toThrowError(expect.objectContaining({ code: 'TRANSACTION_FAILED' }))
    for (const batch of [
      new WriteBatch().expect(bytes('a'), undefined),
      new WriteBatch().deleteRange({ prefix: bytes('a') }),
    ]) {
      expect(() => stage.add(batch)).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    }
    expect(() => stage.add({} as WriteBatch)).toThrowError(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    )
    stage.drop()
    backend.stage().apply()
  })

  it('ends with the backend', async () => {
    const stage = backend.stage()
    stage.add(put('a', '1'))
    await backend.close()
    expect(() => stage.add(put('b', '1'))).toThrowError(expect.objectContaining({ code: 'CLOSED' }))
    expect(() => stage.apply()).toThrowError(expect.objectContaining({ code: 'CLOSED' }))
    stage.drop()
    expect(() => backend.stage()).toThrowError(expect.objectContaining({ code: 'CLOSED' }))
  })

  it('that does not fit is refused, and what there was before stays: the store is as usable as before', async () => {
    await using small = await LmdbStateBackend.temporary({
      clock,
      maxBytes: 1024 * 1024,
      cacheBytes: 1024 * 1024,
    })
    small.putSync(bytes('kept'), bytes('1'))
    const stage = small.stage()
    const fill = () => {
      for (let i = 0; i < 100; i++) stage.add(new WriteBatch().put(bytes(`key ${i}`), new Uint8Array(60_000)))
    }
    expect(fill).toThrowError(expect.objectContaining({ code: 'BACKEND_FULL' }))
    stage.drop()
    await small.flush()
    expect((await small.listKeys(bytes(''))).map(text)).toEqual(['kept'])
    small.putSync(bytes('more'), new Uint8Array(60_000))
    await small.flush()
    expect(small.stats().entries).toBe(2)
  })

  it('counts what it covers, whoever asks for the number of entries, and whenever', async () => {
    for (let i = 0; i < 50; i++) backend.putSync(bytes(`key ${i}`), bytes('1'))
    await backend.flush()
    for (let i = 40; i < 60; i++) backend.putSync(bytes(`key ${i}`), bytes('1'))
    expect(backend.stats().entries).toBe(60)
    const stage = backend.stage()
    for (let i = 30; i < 70; i++) stage.add(put(`key ${i}`, '2'))
    stage.add(new WriteBatch().delete(bytes('key 0')).delete(bytes('none')))
    backend.putSync(bytes('key 69'), bytes('meanwhile'))
    expect(backend.stats().entries).toBe(61)
    stage.apply()
    expect(backend.stats().entries).toBe(69)
    backend.deleteSync(bytes('key 1'))
    expect(backend.stats().entries).toBe(68)
    await backend.flush()
    expect(backend.stats().entries).toBe(68)
    expect(await backend.count()).toBe(68)
  })

  it('tells once of what had expired under its keys', async () => {
    const expired: (string | undefined)[] = []
    backend.on('expired', ({ keys }) => expired.push(...keys.map(text)))
    backend.putSync(bytes('a'), bytes('1'), { ttlMs: 10 })
    await backend.flush()
    backend.putSync(bytes('b'), bytes('1'), { ttlMs: 10 })
    clock.advance(20)
    const stage = backend.stage()
    stage.add(put('a', '2').put(bytes('b'), bytes('2')).put(bytes('c'), bytes('1'), { ttlMs: 5 }))
    stage.apply()
    expect(await all()).toEqual([
      ['a', '2'],
      ['b', '2'],
      ['c', '1'],
    ])
    clock.advance(20)
    await backend.sweep()
    expect(expired.toSorted()).toEqual(['a', 'b', 'c'])
    expect(backend.stats()).toMatchObject({ expired: 3, entries: 2 })
  })

  it('is above a clear that comes before it, and below one that comes after', async () => {
    backend.putSync(bytes('a'), bytes('1'))
    const stage = backend.stage()
    stage.add(put('b', '1'))
    await backend.clear()
    stage.apply()
    expect(await all()).toEqual([['b', '1']])
    expect(backend.stats().entries).toBe(1)
    await backend.flush()
    expect(await all()).toEqual([['b', '1']])
    await backend.clear()
    expect(await all()).toEqual([])
    expect(backend.stats().entries).toBe(0)
  })

  it('is what has changed since a base', async () => {
    const base = backend.snapshotSync({ track: true })
    const stage = backend.stage()
    stage.add(put('a', '1'))
    stage.apply()
    const snapshot = backend.snapshotSync(base.base === undefined ? {} : { since: base.base })
    expect(snapshot.tellsChanges).toBe(true)
    let entries = 0
    for await (const block of snapshot.changes()) entries += block.entryCount
    expect(entries).toBe(1)
    base.base?.release()
    base.closeSync()
    snapshot.closeSync()
  })
})

it('only engines that stage writes say so', async () => {
  await using memory = new MemoryStateBackend()
  expect([canStage(backend), canStage(memory)]).toEqual([true, false])
})
