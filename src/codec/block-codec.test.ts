import { deflateSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isStateError } from '../base/errors.js'
import { blockCodec, CODEC_NAMES, CODEC_NUMBERS, isCodecAvailable, threadCodec } from './block-codec.js'

const available = CODEC_NAMES.filter(isCodecAvailable)

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

const ways = available.flatMap((name) => [
  { name, where: 'in the thread pool', codec: blockCodec(name) },
  { name, where: 'on the calling thread', codec: threadCodec(name, true) },
])

describe.each(ways)('codec $name $where', ({ codec }) => {
  it('gives back what went in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 3_000 }),
        fc.nat(200),
        async (piece, times) => {
          const raw = new Uint8Array(Buffer.concat(Array.from({ length: times + 1 }, () => piece)))
          const stored = await codec.compress(raw)
          expect(Buffer.compare(await codec.decompress(stored, raw.length), raw)).toBe(0)
        },
      ),
      { numRuns: 50 },
    )
  })

  it('reads a stretch of a larger buffer', async () => {
    const raw = bytes('abcabcabcabcabcabcabcabcabc')
    const stored = await codec.compress(raw)
    const around = new Uint8Array(stored.length + 20).fill(0xee)
    around.set(stored, 7)
    const read = await codec.decompress(around.subarray(7, 7 + stored.length), raw.length)
    expect(Buffer.compare(read, raw)).toBe(0)
  })

  it('gives plain bytes, of which slice is a copy', async () => {
    const raw = await codec.decompress(await codec.compress(Buffer.from('abcabc')), 6)
    raw.slice().fill(0)
    expect(raw).toEqual(bytes('abcabc'))
  })

  it('is CORRUPTION when more or fewer bytes than declared would come out', async () => {
    const stored = await codec.compress(new Uint8Array(1_000).fill(7))
    for (const rawBytes of [1, 999, 1_001, 100_000]) {
      await expect(codec.decompress(stored, rawBytes)).rejects.toMatchObject({ code: 'CORRUPTION' })
    }
  })

  it('is CORRUPTION or another content for garbage, never a crash or another size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 1, max: 300 }),
        async (stored, size) => {
          const read = await codec.decompress(stored, size).catch((error: unknown) => error)
          if (read instanceof Uint8Array) expect(read.length).toBe(size)
          else expect(isStateError(read, 'CORRUPTION')).toBe(true)
        },
      ),
    )
  })
})

describe('hostile blocks', () => {
  it('never inflate beyond the declared size', async () => {
    const bomb = gzipSync(new Uint8Array(64 * 1024 * 1024))
    expect(bomb.length).toBeLessThan(100_000)
    const before = process.memoryUsage().arrayBuffers
    await expect(blockCodec('gzip').decompress(bomb, 1_000)).rejects.toMatchObject({ code: 'CORRUPTION' })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000)
  })

  it('have their lz4 size prefix checked before it is believed', async () => {
    const stored = Buffer.from(await blockCodec('lz4').compress(new Uint8Array(100)))
    stored.writeUInt32LE(0xfffffff0, 0)
    await expect(blockCodec('lz4').decompress(stored, 100)).rejects.toThrow(/size prefix says 4294967280/)
  })

  it('are CORRUPTION when they are another format of the same family', async () => {
    await expect(blockCodec('gzip').decompress(deflateSync(bytes('abc')), 3)).rejects.toMatchObject({
      code: 'CORRUPTION',
    })
  })
})

describe('the table', () => {
  it('has fixed numbers', () => {
    expect(CODEC_NUMBERS).toEqual({ none: 0, lz4: 1, gzip: 2, zstd: 3 })
  })

  it('has a fixed lz4 layout: size prefix and one block', async () => {
    const stored = await blockCodec('lz4').compress(bytes('abc'))
    expect([...stored]).toEqual([3, 0, 0, 0, 0x30, 0x61, 0x62, 0x63])
  })

  it.skipIf(isCodecAvailable('zstd'))('names a codec that this runtime lacks', () => {
    let error: unknown
    try {
      blockCodec('zstd')
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({ code: 'INCOMPATIBLE', details: { supported: 'lz4, gzip, none' } })
    expect((error as Error).message).toContain('zstd')
  })
})
