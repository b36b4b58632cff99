import { describe, expect, it } from 'vitest'
import { WriteBatch } from '../backend/write-batch.js'
import { isStateError } from '../base/errors.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array): string => new TextDecoder().decode(value)

function contentOf(backend: MemoryStateBackend): string[] {
  return [...backend.scanSync()].map(([key, value]) => `${text(key)}=${value.length}`)
}

const MAX_BYTES = 256 * 1024

describe('a batch that deletes ranges in an engine that is nearly full', () => {
  const KEYS = 1_000

  /** An engine with a window of keys that an open snapshot sees, and so many entries beside it. */
  function filled(fillers: number): { backend: MemoryStateBackend; added: number } {
    const backend = new MemoryStateBackend({ maxBytes: MAX_BYTES, sweepIntervalMs: Infinity })
    for (let i = 0; i < KEYS; i++) backend.putSync(bytes(`window:${i}`), new Uint8Array(20))
    // Beside it, nothing that is removed gives room.
    backend.snapshotSync()
    let added = 0
    try {
      while (added < fillers) backend.putSync(bytes(`filler:${added++}`), new Uint8Array(200))
    } catch (error) {
      expect(isStateError(error, 'BACKEND_FULL')).toBe(true)
    }
    return { backend, added }
  }

  it('is applied wholly or not at all, whatever room its tombstones and puts find', async () => {
    const most = filled(Infinity).added
    const outcomes = { applied: 0, refused: 0 }
    for (let fillers = most; fillers >= 0; fillers -= 20) {
      const { backend } = filled(fillers)
      const before = contentOf(backend)
      const batch = new WriteBatch().deleteRange({ prefix: bytes('window:') })
      for (let i = 0; i < 40; i++) batch.put(bytes(`result:${i}`), new Uint8Array(30))
      try {
        backend.writeSync(batch)
        outcomes.applied++
        expect(backend.memoryUsage().totalBytes).toBeLessThanOrEqual(MAX_BYTES)
        expect(contentOf(backend).filter((entry) => entry.startsWith('window:'))).toEqual([])
        expect(contentOf(backend).filter((entry) => entry.startsWith('result:'))).toHaveLength(40)
      } catch (error) {
        if (!isStateError(error, 'BACKEND_FULL')) throw error
        outcomes.refused++
        expect(contentOf(backend)).toEqual(before)
      }
      await backend.close()
    }
    expect(outcomes.applied).toBeGreaterThan(0)
    expect(outcomes.refused).toBeGreaterThan(0)
  })

  it('overwrites in place what no range of it has removed, and only that', () => {
    const backend = new MemoryStateBackend({ maxBytes: MAX_BYTES, sweepIntervalMs: Infinity })
    backend.putSync(bytes('a'), new Uint8Array(3_000))
    backend.putSync(bytes('b'), new Uint8Array(3_000))
    expect(() => {
      for (let i = 0; ; i++) backend.putSync(bytes(`filler:${i}`), new Uint8Array(1_000))
    }).toThrow('is full')
    const rewritten = () => new WriteBatch().put(bytes('a'), new Uint8Array(3_000))
    backend.writeSync(rewritten())
    const before = contentOf(backend)
    expect(() =>
      backend.writeSync(
        new WriteBatch().deleteRange({ prefix: bytes('a') }).put(bytes('a'), new Uint8Array(60_000)),
      ),
    ).toThrow('is full')
    expect(contentOf(backend)).toEqual(before)
    backend.writeSync(rewritten().deleteRange({ prefix: bytes('filler') }))
    expect(contentOf(backend)).toEqual(['a=3000', 'b=3000'])
  })
})
