import { freemem } from 'node:os'
import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { titled } from '../faults/fault-kit.js'
import { leftToLongRuns } from '../support/long.js'

const GIB = 1024 ** 3

/** Why a test that needs so much memory is skipped; `undefined` where it is not. Smaller, it would prove nothing. */
function missing(neededBytes: number): string | undefined {
  if (leftToLongRuns !== undefined) return leftToLongRuns
  return freemem() > neededBytes ? undefined : `needs ${Math.ceil(neededBytes / GIB)} GiB of free memory`
}

describe('MemoryStateBackend beyond the limits of a Map', () => {
  const forEntries = missing(3 * GIB)
  it.skipIf(forEntries !== undefined)(titled('holds more than 16.7 million entries', forEntries), () => {
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
  })

  const forBytes = missing(8 * GIB)
  it.skipIf(forBytes !== undefined)(titled('holds more than 4 GiB', forBytes), () => {
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
  })
})
