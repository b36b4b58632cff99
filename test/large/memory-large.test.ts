import { freemem } from 'node:os'
import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'

const GIB = 1024 ** 3

/** A title that says why its test is skipped, where it is. */
function titled(title: string, neededBytes: number): string {
  if (freemem() > neededBytes) return title
  return `${title} (skipped: needs ${Math.ceil(neededBytes / GIB)} GiB of free memory)`
}

describe('MemoryStateBackend beyond the limits of a Map', () => {
  const forEntries = 3 * GIB
  it.skipIf(freemem() <= forEntries)(
    titled('holds more than 16.7 million entries', forEntries),
    () => {
      const backend = new MemoryStateBackend()
      const count = 2 ** 24 + 500_000
      const key = Buffer.alloc(8)
      const value = Buffer.alloc(4)
      for (let i = 0; i < count; i++) {
        key.writeUInt32LE(i)
        value.writeUInt32LE(i ^ 0x5a5a5a)
        backend.putSync(key, value)
      }
      expect(backend.stats().entries).toBe(count)
      for (let i = 0; i < count; i += 9_973) {
        key.writeUInt32LE(i)
        const found = backend.getSync(key)
        if (found === undefined || Buffer.from(found).readUInt32LE() !== (i ^ 0x5a5a5a))
          expect.fail(`entry ${i}`)
      }
      const snapshot = backend.snapshotSync()
      for (let i = 0; i < count; i += 2) {
        key.writeUInt32LE(i)
        backend.deleteSync(key)
      }
      expect(backend.stats().entries).toBe(count / 2)
      expect(snapshot.countSync()).toBe(count)
      snapshot.closeSync()
    },
    240_000,
  )

  const forBytes = 8 * GIB
  it.skipIf(freemem() <= forBytes)(
    titled('holds more than 4 GiB', forBytes),
    () => {
      const backend = new MemoryStateBackend()
      const value = Buffer.alloc(1024 ** 2)
      const count = 4_400
      for (let i = 0; i < count; i++) {
        value.writeUInt32LE(i)
        value.writeUInt32LE(i, value.length - 4)
        backend.putSync(Buffer.from(`large-${i}`), value)
      }
      expect(backend.memoryUsage().liveBytes).toBeGreaterThan(4 * GIB)
      for (const i of [0, 1, 2_200, count - 1]) {
        const found = Buffer.from(backend.getSync(Buffer.from(`large-${i}`)) ?? [])
        expect([found.length, found.readUInt32LE(), found.readUInt32LE(found.length - 4)]).toEqual([
          1024 ** 2,
          i,
          i,
        ])
      }
    },
    120_000,
  )
})
