import { describe, expect, it } from 'vitest'
import { openLog } from '../../test/support/logs.js'
import { SegmentPool } from './segment-pool.js'

const bytes = (text: string) => Buffer.from(text)

describe('Compactor', () => {
  it('goes on where what it moves out of a segment that a snapshot reads dies on the way', () => {
    const log = openLog({ pool: new SegmentPool(0, 256 * 1024) })
    const seek = (i: number) => log.seek(bytes(`key-${i}`), 0, `key-${i}`.length)
    const put = (i: number, text: string) => log.write(seek(i), bytes(text), 0, text.length, Infinity)
    const count = 6_000
    for (let i = 0; i < count; i++) put(i, `${i}`.padEnd(60))
    const epoch = log.openSnapshot()
    const kept = Array.from({ length: count / 100 }, (_, i) => i * 100)
    const addresses = new Map(kept.map((i) => [i, seek(i)]))
    let moves = 0
    const removeMoved = () => {
      for (const [i, address] of addresses) {
        if (seek(i) === address) continue
        moves++
        addresses.delete(i)
        log.remove(seek(i))
      }
    }
    for (let i = 0; i < count; i++) {
      if (i % 100 > 0) log.remove(seek(i))
      if (i % 20 === 0) removeMoved()
    }
    for (let steps = 0; steps < 200 && log.hasChores; steps++) {
      log.tidy(0)
      removeMoved()
    }
    expect(moves).toBeGreaterThan(20)
    for (let i = 0; i < count; i++) {
      const seen = log.visible(seek(i), epoch)
      expect(Buffer.from(log.entries.copyValue(seen)).toString().trimEnd()).toBe(`${i}`)
    }
    log.closeSnapshot(epoch)
    while (log.hasChores) log.tidy(Infinity)
    expect(log.keys).toBe(addresses.size)
    expect(log.memory.segmentBytes).toBeLessThanOrEqual(2 * 256 * 1024)
  })
})
