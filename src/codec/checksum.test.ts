import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { crc32, crc32Sliced, RunningSha256, sha256Hex } from './checksum.js'

const long = new Uint8Array(2_500_000).map((_, index) => index * 31)

describe('checksums', () => {
  it('have the published check values', () => {
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926)
    expect(sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  })

  it('can be continued', () => {
    expect(crc32(long.subarray(1_000), crc32(long.subarray(0, 1_000)))).toBe(crc32(long))
  })

  it('are the same in slices', async () => {
    expect(await crc32Sliced(long)).toBe(crc32(long))
    const running = new RunningSha256()
    await running.update(long)
    await running.update(long.subarray(0, 10))
    const whole = createHash('sha256').update(long).update(long.subarray(0, 10)).digest('hex')
    expect(running.digest()).toBe(whole)
  })
})
