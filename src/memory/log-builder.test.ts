import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { blocksOf, type TestEntry } from '../../test/support/checkpoints.js'
import { runs } from '../../test/support/long.js'
import type { BuiltBlocks } from '../backend/built-state.js'
import type { EntryBlock } from '../backend/entry-block.js'
import { StateError } from '../base/errors.js'
import { seededRandom } from '../base/random.js'
import { randomHashKey } from '../log/index/key-hash.js'
import { SEGMENT_BYTES } from '../log/layout.js'
import type { LogImage } from '../log/share/log-image.js'
import { ManualClock } from '../testing/manual-clock.js'
import { type LogBuilding, openStateBuilder } from './log-builder.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const NOW_MS = 1_700_000_000_000

function unlimited(): LogBuilding {
  return { nowMs: NOW_MS, hashKey: randomHashKey(), segmentBytes: SEGMENT_BYTES, roomBytes: Infinity }
}

const buildingOf = (backend: MemoryStateBackend) => backend.building?.data as LogBuilding

/** Entries of which none gets a segment of its own. */
function smallEntries(count: number, random: () => number): TestEntry[] {
  return randomEntries(count, random).filter(({ value }) => (value?.length ?? 0) < 300_000)
}

/** Blocks as a restore gives them whose content was put together in another thread: what comes of it was cloned, and lost there. */
function builtOf(blocks: readonly EntryBlock[], { laterMs = 0, building = unlimited() } = {}): BuiltBlocks {
  return {
    [Symbol.asyncIterator]() {
      throw new Error('the blocks are not to be iterated')
    },
    takeBuilt: async (check) => {
      const builder = openStateBuilder(building, { expectedEntries: 10, laterMs })
      for (const block of blocks) builder.add(block)
      check()
      const { data, transferList } = builder.finish()
      return structuredClone(data, { transfer: transferList as ArrayBuffer[] })
    },
  }
}

async function* iterated(blocks: readonly EntryBlock[]): AsyncGenerator<EntryBlock> {
  yield* blocks
}

function randomEntries(count: number, random: () => number): TestEntry[] {
  const upTo = (limit: number) => Math.floor(random() * limit)
  return Array.from({ length: count }, (_, i) => ({
    key: Buffer.from(`${String(i).padStart(7, '0')}${'k'.repeat(upTo(40))}`),
    // Now and then one that gets a segment of its own.
    value: Buffer.alloc(upTo(1_000) === 0 ? 300_000 + upTo(500_000) : upTo(200), i),
    expiresAtMs: random() < 0.3 ? NOW_MS + upTo(1_000_000) : Infinity,
  }))
}

async function contentOf(backend: MemoryStateBackend): Promise<string> {
  const lines: string[] = []
  for await (const [key, value] of backend.scan()) {
    lines.push(`${Buffer.from(key).toString('latin1')} ${value.length} ${value[0]} ${value.at(-1)}`)
  }
  return lines.join('\n')
}

describe('a log that another thread has put together', () => {
  it('is the same to all calls as one that was filled here: reads, writes, order, expiry, snapshots, compaction', async () => {
    const random = seededRandom(5)
    const upTo = (limit: number) => Math.floor(random() * limit)
    for (const count of [0, 1, 300, runs(50_000, 1_500)]) {
      const entries = randomEntries(count, random)
      const blocks = blocksOf(entries, 8_192)
      const clocks = [new ManualClock(NOW_MS), new ManualClock(NOW_MS)] as const
      const built = new MemoryStateBackend({ clock: clocks[0] })
      const filled = new MemoryStateBackend({ clock: clocks[1] })
      const backends = [built, filled]
      const both = async (act: (backend: MemoryStateBackend) => unknown) => {
        for (const backend of backends) await act(backend)
      }
      await both((backend) => backend.put(Buffer.from('before'), Buffer.from('gone')))
      await built.replaceAll(builtOf(blocks), { clockMs: NOW_MS })
      await filled.replaceAll(iterated(blocks), { clockMs: NOW_MS })
      expect(await contentOf(built)).toBe(await contentOf(filled))
      expect(built.stats().entries).toBe(filled.stats().entries)
      for (const { key, value } of entries)
        expect(Buffer.compare(built.getSync(key) ?? Buffer.alloc(1), value ?? Buffer.alloc(0))).toBe(0)
      const [snapshot, other] = backends.map((backend) => backend.snapshotSync({ track: true }))
      const before = await contentOf(built)
      // Enough that segments die, and keys that come anew.
      for (let i = 0; i < count * 2; i++) {
        const key = Buffer.from(entries[upTo(count)]?.key ?? '')
        const value = Buffer.alloc(upTo(200), i)
        const what = upTo(4)
        await both((backend) => {
          if (what === 0) backend.deleteSync(key)
          else if (what === 1) backend.putSync(Buffer.from(`new ${i}`), value, { ttlMs: 1_000_000 })
          else backend.putSync(key, value)
        })
      }
      expect(await contentOf(built)).toBe(await contentOf(filled))
      const seen: string[] = []
      for await (const [key, value] of snapshot?.scan() ?? []) {
        seen.push(`${Buffer.from(key).toString('latin1')} ${value.length} ${value[0]} ${value.at(-1)}`)
      }
      expect(seen.join('\n')).toBe(before)
      await snapshot?.close()
      await other?.close()
      for (const clock of clocks) clock.advance(500_000)
      expect(await built.count()).toBe(await filled.count())
      expect(await contentOf(built)).toBe(await contentOf(filled))
      for (const clock of clocks) clock.advance(2_000_000)
      expect(await built.count()).toBe(await filled.count())
      expect(built.stats()).toMatchObject({
        entries: filled.stats().entries,
        expired: filled.stats().expired,
      })
      await both((backend) => backend.close())
    }
  })

  it('lets what expires do so as much later as it is told, and everything else stay', async () => {
    const clock = new ManualClock(NOW_MS)
    await using backend = new MemoryStateBackend({ clock })
    const entries: TestEntry[] = [
      { key: Buffer.from('a'), value: Buffer.from('1'), expiresAtMs: NOW_MS + 10 },
      { key: Buffer.from('b'), value: Buffer.from('2'), expiresAtMs: Infinity },
    ]
    await backend.replaceAll(builtOf(blocksOf(entries), { laterMs: 100 }))
    clock.advance(109)
    expect(await backend.count()).toBe(2)
    clock.advance(1)
    expect(await backend.count()).toBe(1)
  })

  it('is the same where its memory was made ready in the thread pool, in time or too late', async () => {
    const random = seededRandom(7)
    const entries = Array.from({ length: 700 }, (_, i) => ({
      key: Buffer.from(String(i).padStart(7, '0')),
      value: Buffer.alloc(90_000 + Math.floor(random() * 20_000), i + 1),
      expiresAtMs: i % 3 === 0 ? NOW_MS + 1_000_000 : Infinity,
    }))
    // More are expected than come: as large a log begins with large segments.
    const builder = openStateBuilder(unlimited(), { expectedEntries: 10_000_000, laterMs: 0 })
    let turns = 0
    for (const block of blocksOf(entries, 200_000)) {
      builder.add(block)
      // The second half of the segments comes too fast.
      while (turns < 150 && turns++ % 5 < 4) await nextTurn()
    }
    const { data } = builder.finish()
    const { segments } = data as LogImage
    expect(new Set(segments.map(({ buffer }) => buffer)).size).toBe(segments.length)
    expect(segments.every(({ buffer }) => buffer.byteLength === 16 * 1024 * 1024)).toBe(true)
    await using backend = new MemoryStateBackend({ clock: new ManualClock(NOW_MS) })
    const built: BuiltBlocks = { ...builtOf([]), takeBuilt: async () => data }
    await backend.replaceAll(built)
    for (const { key, value } of entries)
      expect(Buffer.compare(backend.getSync(key) ?? Buffer.alloc(1), value)).toBe(0)
    expect(await backend.count()).toBe(entries.length)
  })

  it('is not taken where it was given up, or is not there: what was there before stays', async () => {
    await using backend = new MemoryStateBackend()
    backend.putSync(Buffer.from('a'), Buffer.from('1'))
    const blocks = builtOf([])
    const failing = { ...blocks, takeBuilt: () => Promise.reject(new Error('the disk is gone')) }
    await expect(backend.replaceAll(failing)).rejects.toThrow('the disk is gone')
    const signal = AbortSignal.abort()
    await expect(backend.replaceAll(blocks, { signal })).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await contentOf(backend)).toBe('a 1 49 49')
    const closing = {
      ...blocks,
      takeBuilt: async (check: () => void) => {
        await backend.close()
        check()
      },
    }
    await expect(backend.replaceAll(closing)).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it.each([
    ['put together elsewhere', Infinity],
    ['put together elsewhere', 64 * 1024 * 1024],
    ['read entry by entry', Infinity],
    ['read entry by entry', 64 * 1024 * 1024],
  ])(
    'everything in a log that is %s expires in its time, whatever is due already (limit %d)',
    async (way, maxBytes) => {
      const clock = new ManualClock(NOW_MS)
      await using backend = new MemoryStateBackend({ clock, maxBytes })
      // More segments than after which a write would look at what is due.
      const count = 18_000
      const entries = Array.from({ length: count }, (_, i) => ({
        key: Buffer.from(String(i).padStart(7, '0')),
        value: Buffer.alloc(i % 200 === 0 ? 300_000 : 100, i),
        expiresAtMs: i % 3 === 0 ? NOW_MS - 1 : NOW_MS + 1_000 + i,
      }))
      const blocks = blocksOf(entries)
      const isBuilt = way === 'put together elsewhere'
      await backend.replaceAll(
        isBuilt ? builtOf(blocks, { building: buildingOf(backend) }) : iterated(blocks),
      )
      expect(await backend.count()).toBe((count * 2) / 3)
      clock.advance(1_000_000)
      await vi.waitFor(() => expect(backend.stats().entries).toBe(0))
    },
  )

  it('keeps to the limit of the engine, which works as one that was filled here when it is full', async () => {
    const maxBytes = 4 * 1024 * 1024
    const clock = new ManualClock(NOW_MS)
    await using built = new MemoryStateBackend({ clock, maxBytes })
    await using filled = new MemoryStateBackend({ clock, maxBytes })
    const random = seededRandom(11)
    const entries = smallEntries(15_000, random)
    const blocks = blocksOf(entries)
    await built.replaceAll(builtOf(blocks, { building: buildingOf(built) }))
    await filled.replaceAll(iterated(blocks))
    expect(await contentOf(built)).toBe(await contentOf(filled))
    expect(built.memoryUsage().totalBytes).toBeLessThanOrEqual(maxBytes)
    // Three times the limit is written over what is there: full segments are emptied and used again.
    for (let written = 0; written < 3 * maxBytes; written += 150) {
      const { key } = entries[Math.floor(random() * entries.length)] as TestEntry
      for (const backend of [built, filled]) backend.putSync(key, Buffer.alloc(100, written))
    }
    expect(await contentOf(built)).toBe(await contentOf(filled))
    expect(built.memoryUsage().totalBytes).toBeLessThanOrEqual(maxBytes)
  })

  it('leaves what is there where it has no room beside it, and is then made of the blocks themselves', async () => {
    const maxBytes = 4 * 1024 * 1024
    await using backend = new MemoryStateBackend({ clock: new ManualClock(NOW_MS), maxBytes })
    const old = blocksOf(smallEntries(12_000, seededRandom(12)))
    await backend.replaceAll(iterated(old))
    const present = await contentOf(backend)
    const next = blocksOf(smallEntries(12_000, seededRandom(13)))
    let iterations = 0
    const offered = (): BuiltBlocks => ({
      ...builtOf(next, { building: buildingOf(backend) }),
      [Symbol.asyncIterator]: () => {
        iterations++
        return iterated(next)
      },
    })
    await expect(backend.replaceAll(offered())).rejects.toMatchObject({ code: 'BACKEND_FULL' })
    expect(iterations).toBe(1)
    expect(await contentOf(backend)).toBe(present)
    await backend.clear()
    await backend.replaceAll(offered())
    expect(iterations).toBe(1)
    expect(await backend.count()).toBeGreaterThan(11_000)
  })

  it('lets nobody write between what was put together in vain and the blocks', async () => {
    await using backend = new MemoryStateBackend({ clock: new ManualClock(NOW_MS) })
    const iteration = new AbortController()
    const refused = new Set<unknown>()
    const writeMeanwhile = async () => {
      while (!iteration.signal.aborted) {
        await Promise.resolve()
        try {
          backend.putSync(Buffer.from('lost'), Buffer.from('1'))
          refused.add('nothing')
        } catch (error) {
          refused.add((error as StateError).code)
        }
      }
    }
    await backend.replaceAll({
      takeBuilt: async () => {
        void writeMeanwhile()
        throw new StateError('BACKEND_FULL', { used: 1, capacity: 1 })
      },
      [Symbol.asyncIterator]: () => {
        iteration.abort()
        return iterated([])
      },
    } satisfies BuiltBlocks as BuiltBlocks)
    expect([...refused]).toEqual(['NOT_INITIALIZED'])
  })
})
