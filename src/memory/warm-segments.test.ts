import { existsSync } from 'node:fs'
import { expect, it } from 'vitest'
import { SEGMENT_BYTES } from '../log/layout.js'
import { WarmSegments } from './warm-segments.js'

it.skipIf(!existsSync('/dev/zero'))(
  'memory is ready after a while, all of it zeros, and given out once',
  async () => {
    const warm = new WarmSegments()
    expect(warm.take()).toBeUndefined()
    warm.prepare()
    warm.prepare()
    let taken: SharedArrayBuffer | undefined
    await expect.poll(() => (taken = warm.take()), { timeout: 10_000 }).toBeDefined()
    expect(taken?.byteLength).toBe(SEGMENT_BYTES)
    expect(Buffer.from(taken as SharedArrayBuffer).equals(Buffer.alloc(SEGMENT_BYTES))).toBe(true)
    expect(warm.take()).toBeUndefined()
    // It is asked for anew when one was taken, and only then.
    warm.prepare()
    await expect.poll(() => warm.take() !== undefined, { timeout: 10_000 }).toBe(true)
  },
)
