import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  asOwner,
  blocksOf,
  bytesIn,
  bytesOf,
  collect,
  entriesOf,
  entry,
  readTestSegment,
  shown,
  sortedEntries,
  type TestEntry,
  writeTestSegment,
} from '../../../test/support/checkpoints.js'
import { runs } from '../../../test/support/long.js'
import { EntryBlockBuilder } from '../../backend/entry-block.js'
import { isStateError } from '../../base/errors.js'
import { blockCodec, CODEC_NAMES, isCodecAvailable } from '../../codec/block-codec.js'
import { crc32 } from '../../codec/checksum.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import {
  encodeBlockHeader,
  encodeFooter,
  encodeIndexEntry,
  encodeSegmentHeader,
  MAX_RAW_BLOCK_BYTES,
} from './segment-format.js'
import { SegmentReader } from './segment-reader.js'
import { SegmentWriter } from './segment-writer.js'

const NAME = 'chk-0000000001.base.segment'
const codecs = CODEC_NAMES.filter(isCodecAvailable)

const small = [
  entry('a', 'one'),
  entry('b', '', 1_700_000_000_123),
  entry('c', 'three'),
  entry('ca', 'x'.repeat(90)),
]

const arbitraryEntry = fc.record({
  key: fc.uint8Array({ maxLength: 40 }),
  value: fc.uint8Array({ maxLength: 200 }),
  expiresAtMs: fc.oneof(fc.constant(Infinity), fc.double({ min: 0, max: 2 ** 50, noNaN: true })),
})

describe('a segment', () => {
  it.each(codecs)('gives back with %s what was written, in order, expiry included', async (codec) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(arbitraryEntry, { maxLength: 60 }),
        fc.integer({ min: 1, max: 900 }),
        async (raw, target) => {
          const entries = sortedEntries(raw)
          const storage = new MemoryCheckpointStorage()
          const totals = await writeTestSegment(storage, NAME, blocksOf(entries, target), codec)
          expect(totals.entryCount).toBe(entries.length)
          expect(shown(await readTestSegment(storage, NAME, totals))).toEqual(shown(entries))
        },
      ),
      { numRuns: 40 },
    )
  })

  // The codecs differ in what they give, not in how it is written and read: one of them will do in a quick run.
  it.each(runs(codecs, codecs.slice(0, 1)))(
    'holds values of 64 MiB with %s, and more blocks than are read ahead',
    async (codec) => {
      const storage = new MemoryCheckpointStorage()
      const large = new Uint8Array(64 * 1024 * 1024)
      for (let i = 0; i < large.length; i += 7) large[i] = i
      const entries: TestEntry[] = [
        ...Array.from({ length: 20 }, (_, i) => entry(`a${String(i).padStart(3, '0')}`, 'v'.repeat(50))),
        { key: bytesOf('b'), value: large, expiresAtMs: Infinity },
        entry('c', 'after'),
      ]
      const totals = await writeTestSegment(storage, NAME, blocksOf(entries), codec)
      const read = await readTestSegment(storage, NAME, totals)
      expect(read.map(({ key }) => key)).toEqual(entries.map(({ key }) => key))
      expect(Buffer.compare(read[20]?.value ?? new Uint8Array(0), large)).toBe(0)
    },
  )

  it('may be empty', async () => {
    const storage = new MemoryCheckpointStorage()
    const totals = await writeTestSegment(storage, NAME, [])
    expect(totals).toMatchObject({ sizeBytes: 88, rawBytes: 0, entryCount: 0 })
    expect(await readTestSegment(storage, NAME, totals)).toEqual([])
  })

  it('has these exact bytes', async () => {
    const storage = new MemoryCheckpointStorage()
    await writeTestSegment(storage, NAME, blocksOf([entry('k', 'v')]))
    const raw = Buffer.from('01000000010000006b76', 'hex')
    const block = { storedBytes: 10, rawBytes: 10, entryCount: 1, rawCrc: crc32(raw), storedCrc: crc32(raw) }
    const header = Buffer.concat([Buffer.from('HFSEGMNT'), Buffer.from('010000000000000000000000', 'hex')])
    const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer)
    const u64 = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer)
    const sealed = (bytes: Buffer) => Buffer.concat([bytes, u32(crc32(bytes))])
    const index = Buffer.concat([
      u64(24),
      u32(10),
      u32(10),
      u32(1),
      Buffer.from('01000000', 'hex'),
      Buffer.from('k'),
    ])
    const expected = Buffer.concat([
      sealed(header),
      sealed(Buffer.concat([u32(10), u32(10), u32(1), u32(block.rawCrc), u32(block.storedCrc)])),
      raw,
      index,
      sealed(Buffer.concat([u64(58), u64(25), u64(1), u64(0), u64(10), u32(1), u32(crc32(index)), u32(0)])),
      Buffer.from('HFSEGEND'),
    ])
    expect(Buffer.from(await bytesIn(storage, NAME)).toString('hex')).toBe(expected.toString('hex'))
  })

  it('takes tombstones as a delta only', async () => {
    const storage = new MemoryCheckpointStorage()
    const blocks = blocksOf([entry('a', undefined), entry('b', 'x')])
    const totals = await writeTestSegment(storage, 'chk-0000000001.delta.segment', blocks, 'none', 'delta')
    const read = await readTestSegment(storage, 'chk-0000000001.delta.segment', totals)
    expect(read.map(({ value }) => value === undefined)).toEqual([true, false])
    await expect(writeTestSegment(storage, NAME, blocks)).rejects.toThrow(/tombstone in a base/)
  })

  it.each([
    ['within a block', [[entry('b', '1'), entry('a', '2')]]],
    ['equal keys', [[entry('a', '1'), entry('a', '2')]]],
    ['across blocks', [[entry('b', '1')], [entry('b', '2')]]],
    ['a prefix after what it is a prefix of', [[entry('ab', '1'), entry('a', '2')]]],
  ])('is refused when keys do not increase: %s', async (_, groups) => {
    const storage = new MemoryCheckpointStorage()
    const blocks = groups.flatMap((group) => blocksOf(group, 10_000))
    await expect(writeTestSegment(storage, NAME, blocks)).rejects.toThrow(/out of order/)
  })

  it('is not finished with a codec that does not give back what it was given', async () => {
    const storage = new MemoryCheckpointStorage()
    const lease = await storage.acquire()
    const output = await lease.create(NAME)
    const codec = blockCodec('none')
    const compress = async (raw: Uint8Array) => {
      const stored = raw.slice()
      stored[raw.length - 1] = (stored[raw.length - 1] as number) ^ 1
      return stored
    }
    const writer = new SegmentWriter(output, { ...codec, compress }, 'base')
    const [block] = blocksOf(small, 1_000)
    if (block !== undefined) await writer.append(block)
    await expect(writer.finish()).rejects.toMatchObject({ code: 'CORRUPTION' })
    await output.abort()
  })

  it.each(codecs)(
    'of %s is whole where the memory of blocks is used again as soon as it may be',
    async (codec) => {
      const storage = new MemoryCheckpointStorage()
      const entries = Array.from({ length: 400 }, (_, i) => entry(`k${i + 100}`, `${i}`.repeat(40)))
      const builder = new EntryBlockBuilder(2_000)
      let givenBack = 0
      const totals = await asOwner(storage, async (lease) => {
        const output = await lease.create(NAME)
        const writer = new SegmentWriter(output, blockCodec(codec), 'base', (block) => {
          block.bytes.fill(0xff)
          builder.giveBack(block)
          givenBack++
        })
        for (const { key, value, expiresAtMs } of entries) {
          builder.add(key, value ?? new Uint8Array(0), expiresAtMs)
          if (builder.full) await writer.append(builder.takeWithMemory())
        }
        if (builder.entryCount > 0) await writer.append(builder.takeWithMemory())
        const written = await writer.finish()
        await output.commit()
        return { ...written, role: 'base' as const }
      })
      expect(shown(await readTestSegment(storage, NAME, totals))).toEqual(shown(entries))
      // What is stored as it is, stays where it is.
      if (codec === 'none') expect(givenBack).toBe(0)
      else expect(givenBack).toBeGreaterThan(20)
    },
  )

  it('waits for the storage instead of collecting blocks', async () => {
    let written = 0
    let open: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const slow = {
      write: async () => {
        await gate
        written++
      },
      commit: async () => {},
      abort: async () => {},
    }
    const writer = new SegmentWriter(slow, blockCodec('none'), 'base')
    const blocks = blocksOf(Array.from({ length: 20 }, (_, i) => entry(`k${i + 10}`, 'v'.repeat(300_000))))
    let taken = 0
    const writing = (async () => {
      for (const block of blocks) {
        await writer.append(block)
        taken++
      }
      await writer.finish()
    })()
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(taken).toBeLessThan(6)
    expect(written).toBe(0)
    open()
    await writing
    expect(taken).toBe(20)
  })

  it('stops reading when the consumer stops, and when the signal fires', async () => {
    const storage = new MemoryCheckpointStorage()
    const entries = Array.from({ length: 50 }, (_, i) => entry(`k${i + 10}`, 'v'.repeat(200)))
    await writeTestSegment(storage, NAME, blocksOf(entries), 'gzip')
    const object = await storage.open(NAME)
    if (object === undefined) throw new Error('it was written')
    for await (const block of (await SegmentReader.open(object, NAME, undefined)).blocks()) {
      expect(block.entryCount).toBe(1)
      break
    }
    const controller = new AbortController()
    const read = async () => {
      for await (const _ of (await SegmentReader.open(object, NAME, undefined)).blocks(controller.signal)) {
        controller.abort()
      }
    }
    await expect(read()).rejects.toMatchObject({ code: 'ABORTED' })
    await object.close()
  })
})

describe('a damaged segment', () => {
  it.each(codecs)(
    'with %s: every flipped bit pattern and every cut is CORRUPTION or INCOMPATIBLE',
    async (codec) => {
      const original = new MemoryCheckpointStorage()
      await writeTestSegment(original, NAME, blocksOf(small), codec)
      const intact = await bytesIn(original, NAME)
      for (let position = 0; position < intact.length; position++) {
        for (const pattern of [0x01, 0x80, 0xff, 0x10]) {
          const bytes = intact.slice()
          bytes[position] = (bytes[position] as number) ^ pattern
          await expectDetected(bytes, `byte ${position} ^ ${pattern}`)
        }
      }
      for (let length = 0; length < intact.length; length++) {
        await expectDetected(intact.slice(0, length), `cut to ${length}`)
      }
      await expectDetected(Buffer.concat([intact, Buffer.from([0])]), 'one byte more')
    },
  )

  it('is found by the manifest where it fits itself', async () => {
    const storage = new MemoryCheckpointStorage()
    const expected = await writeTestSegment(storage, NAME, blocksOf(small))
    const other = new MemoryCheckpointStorage()
    const swapped = small.map((each) => ({ ...each, value: each.value?.map((byte) => byte ^ 1) }))
    const replaced = await writeTestSegment(other, NAME, blocksOf(swapped))
    expect(replaced.sizeBytes).toBe(expected.sizeBytes)
    await expect(readTestSegment(other, NAME, expected)).rejects.toThrow(/SHA-256/)
    for (const lie of [
      { sizeBytes: expected.sizeBytes + 1 },
      { rawBytes: expected.rawBytes + 1 },
      { entryCount: expected.entryCount - 1 },
      { role: 'delta' as const },
      { sha256: 'f'.repeat(64) },
    ]) {
      const read = readTestSegment(storage, NAME, { ...expected, ...lie })
      await expect(read).rejects.toMatchObject({ code: 'CORRUPTION' })
    }
  })
})

describe('a hostile segment', () => {
  const honest = rawOf([entry('k', 'v')])

  function rawOf(entries: TestEntry[]): Uint8Array {
    return blocksOf(entries, 10_000)[0]?.bytes ?? new Uint8Array(0)
  }

  interface Forgery {
    readonly raw?: Uint8Array
    readonly stored?: Uint8Array
    readonly codec?: 'none' | 'lz4' | 'gzip'
    readonly header?: { storedBytes?: number; rawBytes?: number; entryCount?: number; rawCrc?: number }
    readonly footer?: object
    readonly indexEntry?: Uint8Array
    readonly gap?: Uint8Array
  }

  /** A file whose checksums all hold, made of what the test says. */
  function forge(change: Forgery): Uint8Array {
    const raw = change.raw ?? honest
    const stored = change.stored ?? raw
    const sums = { rawCrc: crc32(raw), storedCrc: crc32(stored) }
    const block = {
      storedBytes: stored.length,
      rawBytes: raw.length,
      entryCount: 1,
      ...sums,
      ...change.header,
    }
    const index = change.indexEntry ?? encodeIndexEntry(24, block, bytesOf('k'))
    const footer = {
      indexOffset: 48 + stored.length,
      indexBytes: index.length,
      entryCount: block.entryCount,
      tombstoneCount: 0,
      rawBytes: block.rawBytes,
      blockCount: 1,
      indexCrc: crc32(index),
      ...change.footer,
    }
    const header = encodeSegmentHeader({ codec: change.codec ?? 'none', role: 'base' })
    const gap = change.gap ?? new Uint8Array(0)
    return Buffer.concat([header, encodeBlockHeader(block), stored, index, gap, encodeFooter(footer)])
  }

  it('is read when it does not lie', async () => {
    expect(await readBytes(forge({}))).toHaveLength(1)
  })

  it.each([
    ['a raw size beyond the limit', { header: { rawBytes: MAX_RAW_BLOCK_BYTES + 1 } }],
    ['a raw size of 4 GiB', { header: { rawBytes: 0xffffffff } }],
    ['a stored size of 4 GiB', { header: { storedBytes: 0xffffffff } }],
    ['a stored size beyond the file', { header: { storedBytes: 1_000 } }],
    ['a stored size that reaches into the index', { header: { storedBytes: 20 } }],
    ['a smaller stored size', { header: { storedBytes: 9 } }],
    ['no stored bytes', { header: { storedBytes: 0 } }],
    ['more entries than fit', { header: { entryCount: 1_000_000 } }],
    ['the checksum of other raw bytes', { header: { rawCrc: 1 } }],
    ['keys out of order', { raw: rawOf([entry('k', '1'), entry('j', '2')]), header: { entryCount: 2 } }],
    ['a key twice', { raw: rawOf([entry('k', '1'), entry('k', '2')]), header: { entryCount: 2 } }],
    ['a tombstone in a base', { raw: rawOf([entry('k', undefined)]) }],
    ['an entry more than declared', { raw: rawOf([entry('k', '1'), entry('l', '2')]) }],
    ['an entry less than declared', { raw: rawOf([entry('k', 'a long value')]), header: { entryCount: 2 } }],
    ['bytes between index and footer', { gap: new Uint8Array(3) }],
    ['no entries', { header: { entryCount: 0 } }],
    ['more blocks', { footer: { blockCount: 2 } }],
    ['billions of blocks', { footer: { blockCount: 0xffffffff } }],
    ['no blocks', { footer: { blockCount: 0 } }],
    ['more entries in the footer', { footer: { entryCount: 2 } }],
    [
      'fewer entries in the footer',
      {
        raw: rawOf([entry('k', '1'), entry('l', '2')]),
        header: { entryCount: 2 },
        footer: { entryCount: 1 },
      },
    ],
    ['tombstones in a base', { footer: { tombstoneCount: 1 } }],
    ['more raw bytes in the footer', { footer: { rawBytes: 11 } }],
    ['numbers beyond 2^53', { footer: { entryCount: Number.MAX_SAFE_INTEGER * 2 } }],
    ['an index beyond the file', { footer: { indexOffset: 1e12, indexBytes: 1e12 } }],
    [
      'an index of other blocks',
      {
        indexEntry: encodeIndexEntry(
          25,
          { storedBytes: 10, rawBytes: 10, entryCount: 1, rawCrc: 0, storedCrc: 0 },
          bytesOf('k'),
        ),
      },
    ],
    [
      'another first key in the index',
      {
        indexEntry: encodeIndexEntry(
          24,
          { storedBytes: 10, rawBytes: 10, entryCount: 1, rawCrc: 0, storedCrc: 0 },
          bytesOf('j'),
        ),
      },
    ],
  ])('is CORRUPTION: %s', async (_, change) => {
    const before = process.memoryUsage().arrayBuffers
    await expect(readBytes(forge(change))).rejects.toMatchObject({ code: 'CORRUPTION' })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8_000_000)
  })

  it('cannot inflate a block beyond its declared size', async () => {
    const bomb = await blockCodec('gzip').compress(new Uint8Array(50_000_000))
    const forged = forge({
      codec: 'gzip',
      stored: bomb,
      header: { rawBytes: 60_000 },
      footer: { rawBytes: 60_000 },
    })
    await expect(readBytes(forged)).rejects.toMatchObject({ code: 'CORRUPTION' })
    const lz4 = await blockCodec('lz4').compress(new Uint8Array(50_000_000))
    const other = forge({
      codec: 'lz4',
      stored: lz4,
      header: { rawBytes: 400_000 },
      footer: { rawBytes: 400_000 },
    })
    await expect(readBytes(other)).rejects.toMatchObject({ code: 'CORRUPTION' })
  })

  it('of another version or codec is INCOMPATIBLE and says which', async () => {
    const seal = (bytes: Uint8Array) => {
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(20, crc32(bytes.subarray(0, 20)), true)
      return bytes
    }
    const version = new Uint8Array(forge({}))
    version[8] = 2
    await expect(readBytes(seal(version))).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      details: { found: 'version 2' },
    })
    const codec = new Uint8Array(forge({}))
    codec[10] = 77
    await expect(readBytes(seal(codec))).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      details: { found: 'codec 77' },
    })
    const reserved = new Uint8Array(forge({}))
    reserved[19] = 1
    await expect(readBytes(seal(reserved))).rejects.toMatchObject({ code: 'CORRUPTION' })
    const role = new Uint8Array(forge({}))
    role[11] = 2
    await expect(readBytes(seal(role))).rejects.toMatchObject({ code: 'CORRUPTION' })
  })

  it('of random bytes between an intact header and footer is detected', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 30, maxLength: 300 }), async (garbage) => {
        const bytes = new Uint8Array(forge({ stored: garbage }))
        await expectDetected(bytes, 'garbage')
      }),
    )
  })
})

async function readBytes(bytes: Uint8Array): Promise<TestEntry[]> {
  const storage = new MemoryCheckpointStorage()
  storage.tamper(NAME, bytes)
  return await readTestSegment(storage, NAME)
}

/** No manifest helps here: the file's own checks must find it, whatever was yielded before. */
async function expectDetected(bytes: Uint8Array, what: string): Promise<void> {
  const storage = new MemoryCheckpointStorage()
  storage.tamper(NAME, bytes)
  const object = await storage.open(NAME)
  if (object === undefined) throw new Error('it was written')
  let error: unknown
  try {
    const reader = await SegmentReader.open(object, NAME, undefined)
    entriesOf(await collect(reader.blocks()))
  } catch (thrown) {
    error = thrown
  }
  const detected = isStateError(error, 'CORRUPTION') || isStateError(error, 'INCOMPATIBLE')
  expect(detected, `${what}: ${String(error)}`).toBe(true)
}
