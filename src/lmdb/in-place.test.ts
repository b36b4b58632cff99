import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Slot } from '../base/slot.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'
import type { LmdbStateBackendOptions } from './types.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array | undefined) => value && new TextDecoder().decode(value)
const slot = new Slot()
const shown = (): string => new TextDecoder().decode(slot.bytes.slice(slot.offset, slot.offset + slot.length))

let clock: ManualClock
let backend: LmdbStateBackend

async function open(options: Partial<LmdbStateBackendOptions> = {}): Promise<void> {
  backend = await LmdbStateBackend.temporary({ clock, cacheBytes: 1024 * 1024, ...options })
}

function peeked(key: string): string | undefined {
  return backend.peekSync(bytes(key), slot) ? shown() : undefined
}

/** Writes over the value where it lies, and returns what was there. */
function update(key: string, value: string, ttlMs = Infinity): string | undefined {
  const isThere = backend.updateSync(bytes(key), value.length, slot, { ttlMs })
  const before = shown()
  slot.bytes.set(bytes(value), slot.offset)
  return isThere ? before : undefined
}

/** As many entries as push everything else out of the cache. */
async function fillCache(): Promise<void> {
  for (let i = 0; i < 3_000; i++) backend.putSync(bytes(`filler ${i}`), new Uint8Array(200))
  await backend.flush()
}

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(async () => {
  await backend.close()
})

describe('a value of the LMDB engine', () => {
  it('is shown in a generation that is being committed, and changed above it', async () => {
    await open()
    backend.putSync(bytes('k'), bytes('first'))
    const flushed = backend.flush()
    await Promise.resolve()
    expect(backend.stats()).toMatchObject({ commits: 0, bufferedKeys: 1 })
    expect(peeked('k')).toBe('first')
    expect(update('k', 'again')).toBe('first')
    expect(backend.stats()).toMatchObject({ commits: 0, bufferedKeys: 2, entries: 1 })
    await flushed
    expect(peeked('k')).toBe('again')
    await backend.flush()
    expect(peeked('k')).toBe('again')
  })

  for (const compression of ['none', 'lz4'] as const) {
    it(`is shown in the store and copied up from there (${compression})`, async () => {
      await open({ compression })
      const long = 'state '.repeat(100)
      backend.putSync(bytes('k'), bytes(long))
      backend.putSync(bytes('short'), bytes('s'))
      await fillCache()
      const { storeReads, gets } = backend.stats()
      expect(peeked('k')).toBe(long)
      expect(peeked('short')).toBe('s')
      expect(peeked('none')).toBeUndefined()
      expect(backend.stats()).toMatchObject({ storeReads: storeReads + 3, gets: gets + 3, hits: 2 })
      expect(update('k', long.toUpperCase())).toBe(long)
      expect(update('short', 'sh')).toBe('s\0')
      expect(backend.stats()).toMatchObject({ storeReads: storeReads + 3, gets: gets + 3, entries: 3_002 })
      await fillCache()
      expect(peeked('k')).toBe(long.toUpperCase())
      expect(peeked('short')).toBe('sh')
    })
  }

  it('is committed in time when it was only changed where it lies', async () => {
    await open({ flushIntervalMs: 1_000 })
    update('k', 'value')
    await clock.advanceAsync(1_000)
    await backend.flush()
    expect(backend.stats()).toMatchObject({ commits: 1, recordsCommitted: 1 })
    update('k', 'other')
    await clock.advanceAsync(1_000)
    await backend.flush()
    expect(backend.stats()).toMatchObject({ commits: 2, entries: 1 })
  })

  it('that has expired below is made anew, counted and told of once, after the step in which it was shown', async () => {
    await open()
    const told: string[] = []
    backend.putSync(bytes('k'), bytes('old'), { ttlMs: 10 })
    await backend.flush()
    clock.advance(10)
    backend.on('expired', ({ keys }) => {
      told.push(...keys.map((key) => new TextDecoder().decode(key)))
      void backend.clear()
    })
    expect(update('k', 'new')).toBeUndefined()
    expect(told).toEqual([])
    expect(shown()).toBe('new')
    await Promise.resolve()
    expect(told).toEqual(['k'])
    expect(backend.stats()).toMatchObject({ expired: 1, entries: 0 })
  })

  it('is held back like a put where the disk cannot keep up', async () => {
    await open({ flushEvery: 64 })
    for (let i = 0; i < 8_000; i++) update(`k${i}`, 'x'.repeat(100))
    const { commits, bufferBytes } = backend.stats()
    expect(commits).toBeGreaterThan(0)
    expect(bufferBytes).toBeLessThan(1024 * 1024)
  })

  it('is shown to a reader, who cannot change it', async () => {
    await open()
    const path = await mkdtemp(join(tmpdir(), 'holdfast-in-place-'))
    const writer = await LmdbStateBackend.open({ path, clock })
    writer.putSync(bytes('k'), bytes('value'))
    await writer.flush()
    const reader = await LmdbStateBackend.open({ path, clock, readOnly: true })
    expect(reader.peekSync(bytes('k'), slot)).toBe(true)
    expect(shown()).toBe('value')
    expect(() => reader.updateSync(bytes('k'), 5, slot)).toThrow('readOnly forbids: update')
    await reader.close()
    await writer.close()
    await rm(path, { recursive: true })
  })
})

describe('a key that lies in the slot itself', () => {
  it('is looked up before the slot shows its value', async () => {
    await open()
    update('name', 'key')
    backend.putSync(bytes('key'), bytes('value'))
    await backend.flush()
    backend.peekSync(bytes('name'), slot)
    expect(backend.updateSync(slot, 5, slot)).toBe(true)
    expect(shown()).toBe('value')
    expect(backend.stats()).toMatchObject({ bytesWritten: 4 + 3 + 3 + 5 + 3 + 5, entries: 2 })
  })

  it('from the store may be the key of the next call, or the value of a put', async () => {
    await open()
    const numbers = Array.from({ length: 20 }, (_, i) => i)
    for (const i of numbers) {
      backend.putSync(bytes(`index ${i}`), bytes(`entry ${i}`))
      backend.putSync(bytes(`entry ${i}`), bytes(`value ${i}`), { ttlMs: 1_000 })
      backend.putSync(bytes(`${i}`), bytes('late'), { ttlMs: 10 })
    }
    await fillCache()
    // From now on puts look into the store for what has expired.
    clock.advance(10)
    for (const i of numbers) {
      expect(peeked(`index ${i}`)).toBe(`entry ${i}`)
      if (i % 5 === 0) expect([backend.peekSync(slot, slot), shown()]).toEqual([true, `value ${i}`])
      else if (i % 5 === 1) expect(text(backend.getSync(slot))).toBe(`value ${i}`)
      else if (i % 5 === 2)
        expect([backend.updateSync(slot, `value ${i}`.length, slot), shown()]).toEqual([true, `value ${i}`])
      else if (i % 5 === 3) backend.deleteSync(slot)
      else backend.putSync(bytes(`${i}`), slot.bytes.subarray(slot.offset, slot.offset + slot.length))
      expect(backend.containsSync(bytes(`entry ${i}`))).toBe(i % 5 !== 3)
      if (i % 5 === 4) expect(text(backend.getSync(bytes(`${i}`)))).toBe(`entry ${i}`)
    }
  })
})
