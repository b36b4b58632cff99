import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { unstorageDriver } from './unstorage-driver.js'

describe('a driver for unstorage', () => {
  it('keeps text and raw values, lists and clears by base, and leaves others alone', async () => {
    const backend = new MemoryStateBackend()
    const driver = unstorageDriver({ backend })
    const other = unstorageDriver({ backend, prefix: 'unstorage:a' })
    other.setItem('a:1', 'other')
    driver.setItems([
      { key: 'a:1', value: '1' },
      { key: 'a:2', value: '2' },
      { key: 'b', value: '' },
    ])
    driver.setItemRaw('raw', Uint8Array.of(0, 255))
    expect(driver.getItem('b')).toBe('')
    expect(driver.getItem('none')).toBeNull()
    expect([...(driver.getItemRaw('raw') as Uint8Array)]).toEqual([0, 255])
    expect(await driver.getKeys('a:')).toEqual(['a:1', 'a:2'])
    await driver.clear('a:')
    expect(await driver.getKeys()).toEqual(['b', 'raw'])
    driver.removeItem('b')
    expect(driver.hasItem('b')).toBe(false)
    await driver.clear()
    expect(await driver.getKeys('')).toEqual([])
    expect(other.getItem('a:1')).toBe('other')
    await driver.dispose()
    await backend.close()
  })

  it('gives text back that is not well formed, and refuses such keys', async () => {
    const backend = new MemoryStateBackend()
    const driver = unstorageDriver({ backend })
    driver.setItem('half', '\ud83d')
    expect(driver.getItem('half')).toBe('\ud83d')
    expect(() => driver.setItem('\ud83d', 'x')).toThrow('key must be')
    expect(() => driver.hasItem('\ud83e')).toThrow('key must be')
    await expect(driver.getKeys('\ud83d')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await backend.close()
  })

  it('lets items expire by seconds, of the item before those of the call and of the driver', async () => {
    const clock = new ManualClock()
    const backend = new MemoryStateBackend({ clock })
    const driver = unstorageDriver({ backend, ttl: 10 })
    driver.setItems(
      [
        { key: 'item', value: 'x', options: { ttl: 1 } },
        { key: 'call', value: 'x' },
      ],
      { ttl: 2 },
    )
    driver.setItem('driver', 'x', { ttl: 0 })
    for (const [seconds, left] of [
      [1, ['call', 'driver']],
      [1, ['driver']],
      [8, []],
    ] as const) {
      clock.advance(seconds * 1_000)
      expect(await driver.getKeys()).toEqual(left)
    }
    expect(() => driver.setItem('a', 'x', { ttl: -1 })).toThrow('ttl must be')
    expect(() => unstorageDriver({ backend, ttl: Number.NaN })).toThrow('options.ttl must be')
    await backend.close()
  })
})
