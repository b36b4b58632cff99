import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { WriteBatch } from '../backend/write-batch.js'
import { ManualClock } from '../testing/manual-clock.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const bytes = (text: string) => Buffer.from(text)
const filled = (size: number, byte: number) => new Uint8Array(size).fill(byte)

function isFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'BACKEND_FULL'
}

/** Puts until the engine is full; returns how many it took. */
function fill(backend: MemoryStateBackend, value: Uint8Array, prefix = 'fill'): number {
  for (let i = 0; ; i++) {
    try {
      backend.putSync(bytes(`${prefix}-${i}`), value)
    } catch (error) {
      if (isFull(error)) return i
      throw error
    }
  }
}

describe('MemoryStateBackend: limits', () => {
  const maxBytes = 4 * 1024 * 1024

  it('writes and expires ten times its limit and stays under it', () => {
    const clock = new ManualClock()
    const backend = new MemoryStateBackend({ clock, maxBytes, ttlMs: 1_000 })
    let written = 0
    for (let i = 0; written < maxBytes * 10; i++) {
      const value = filled(50 + (i % 400), i % 256)
      backend.putSync(bytes(`session-${i}`), value)
      written += value.length
      if (i % 1_000 === 0) clock.advance(300)
      if (i % 5_000 === 0) expect(backend.memoryUsage().totalBytes).toBeLessThanOrEqual(maxBytes)
    }
    expect(backend.memoryUsage().totalBytes).toBeLessThanOrEqual(maxBytes)
    expect(backend.stats().expired).toBeGreaterThan(80_000)
  })

  it('overwrites ten times its limit with values of changing sizes and stays under it', () => {
    const backend = new MemoryStateBackend({ maxBytes })
    for (let i = 0; i < 200_000; i++) {
      backend.putSync(bytes(`key-${i % 5_000}`), filled(100 + ((i * 37) % 300), i % 256))
    }
    expect(backend.memoryUsage().totalBytes).toBeLessThanOrEqual(maxBytes)
    expect(backend.stats().entries).toBe(5_000)
  })

  it('when full, rejects writes with the figures, still reads and deletes, and takes writes again afterwards', () => {
    const backend = new MemoryStateBackend({ maxBytes })
    const value = filled(200, 7)
    const count = fill(backend, value)
    expect(count * 200).toBeGreaterThan(maxBytes * 0.6)
    const before = backend.stats()
    expect(() => backend.putSync(bytes('one more'), filled(100_000, 1))).toThrow(
      expect.objectContaining({
        code: 'BACKEND_FULL',
        details: { used: expect.any(Number), capacity: maxBytes },
      }),
    )
    expect(backend.stats()).toEqual(before)
    expect(backend.getSync(bytes('fill-0'))).toEqual(value)
    // What lies in place needs no room.
    backend.putSync(bytes('fill-1'), filled(200, 8))
    for (let i = 0; i < count; i += 2) backend.deleteSync(bytes(`fill-${i}`))
    expect(fill(backend, value, 'again')).toBeGreaterThan(count / 3)
    for (let i = 1; i < count; i += 2) expect(backend.getSync(bytes(`fill-${i}`))?.[0]).toBe(i === 1 ? 8 : 7)
  })

  it('a batch that does not fit changes nothing; one that only overwrites fits a full engine', () => {
    const backend = new MemoryStateBackend({ maxBytes })
    const count = fill(backend, filled(200, 7))
    const growing = new WriteBatch()
    for (let i = 0; i < 1_000; i++) growing.put(bytes(`fill-${i}`), filled(2_000, 9))
    expect(() => backend.writeSync(growing)).toThrow(expect.objectContaining({ code: 'BACKEND_FULL' }))
    for (let i = 0; i < count; i += 97) expect(backend.getSync(bytes(`fill-${i}`))).toEqual(filled(200, 7))
    const inPlace = new WriteBatch()
    for (let i = 0; i < 1_000; i++) inPlace.put(bytes(`fill-${i}`), filled(190, 5))
    backend.writeSync(inPlace)
    expect(backend.getSync(bytes('fill-999'))).toEqual(filled(190, 5))
    expect(backend.memoryUsage().totalBytes).toBeLessThanOrEqual(maxBytes)
  })

  it('deletes go on in a full engine while a snapshot is open', () => {
    const backend = new MemoryStateBackend({ maxBytes })
    const count = fill(backend, filled(200, 7))
    const snapshot = backend.snapshotSync()
    for (let i = 0; i < count; i++) backend.deleteSync(bytes(`fill-${i}`))
    expect(backend.stats().entries).toBe(0)
    expect(snapshot.countSync()).toBe(count)
    expect(snapshot.getSync(bytes('fill-5'))).toEqual(filled(200, 7))
    snapshot.closeSync()
    backend.sweep()
    expect(backend.memoryUsage().totalBytes).toBeLessThanOrEqual(maxBytes)
    expect(fill(backend, filled(200, 7))).toBeGreaterThan(count * 0.9)
  })

  it('gives memory back after everything was deleted', () => {
    const backend = new MemoryStateBackend()
    for (let i = 0; i < 200_000; i++) backend.putSync(bytes(`key-${i}`), filled(300, 1))
    const grown = backend.memoryUsage().totalBytes
    for (let i = 0; i < 200_000; i++) backend.deleteSync(bytes(`key-${i}`))
    backend.sweep()
    expect(backend.memoryUsage().totalBytes).toBeLessThan(grown / 1.5)
    expect(backend.memoryUsage().liveBytes).toBe(0)
  })
})

describe('MemoryStateBackend: memory', () => {
  it('takes at most 48 bytes per entry beside key and value', () => {
    const backend = new MemoryStateBackend()
    const count = 300_000
    for (let i = 0; i < count; i++) backend.putSync(bytes(String(i).padStart(24, '0')), filled(100, i % 256))
    const usage = backend.memoryUsage()
    const overhead = (usage.liveBytes + usage.deadBytes + usage.indexBytes) / count - 124
    expect(overhead).toBeLessThanOrEqual(48)
  })

  it('holds values larger than a segment', () => {
    const backend = new MemoryStateBackend()
    for (const megabytes of [17, 40, 64]) {
      const value = filled(megabytes * 1024 * 1024, megabytes)
      value[value.length - 1] = 99
      backend.putSync(bytes('large'), value)
      const read = backend.getSync(bytes('large'))
      expect([read?.length, read?.[0], read?.at(-1)]).toEqual([value.length, megabytes, 99])
    }
    backend.deleteSync(bytes('large'))
    backend.sweep()
    expect(backend.memoryUsage().totalBytes).toBeLessThan(2 * 1024 * 1024)
  })

  it('small results share memory that cannot be transferred away from under their neighbours', () => {
    const backend = new MemoryStateBackend()
    backend.putSync(bytes('a'), bytes('first'))
    backend.putSync(bytes('b'), bytes('second'))
    const [first, second] = [backend.getSync(bytes('a')), backend.getSync(bytes('b'))]
    try {
      structuredClone(first, { transfer: [first?.buffer as ArrayBuffer] })
    } catch {
      // Newer runtimes refuse; older ones copy.
    }
    expect(Buffer.from(second as Uint8Array).toString()).toBe('second')
  })
})

describe('MemoryStateBackend: expiry', () => {
  it('tells which keys expired: swept, overwritten or deleted, each once', async () => {
    const clock = new ManualClock()
    const backend = new MemoryStateBackend({ clock })
    const expired: string[] = []
    backend.on('expired', ({ keys }) => expired.push(...keys.map((key) => Buffer.from(key).toString())))
    for (const name of ['swept', 'overwritten', 'deleted', 'refreshed']) {
      backend.putSync(bytes(name), bytes('v'), { ttlMs: 500 })
    }
    clock.set(clock.now() + 400)
    backend.putSync(bytes('refreshed'), bytes('w'), { ttlMs: 500_000 })
    clock.set(clock.now() + 150)
    backend.putSync(bytes('overwritten'), bytes('w'))
    backend.deleteSync(bytes('deleted'))
    await clock.advanceAsync(5_000)
    expect(expired.toSorted()).toEqual(['deleted', 'overwritten', 'swept'])
    expect(backend.stats().expired).toBe(3)
    expect(backend.stats().entries).toBe(2)
  })

  it('a listener that writes to the backend sees it in order', async () => {
    const clock = new ManualClock()
    const backend = new MemoryStateBackend({ clock })
    backend.on('expired', ({ keys }) => {
      for (const key of keys) backend.putSync(bytes(`gone:${Buffer.from(key)}`), bytes('1'))
    })
    for (let i = 0; i < 100; i++) backend.putSync(bytes(`k${i}`), bytes('v'), { ttlMs: 10 })
    await clock.advanceAsync(2_000)
    expect(backend.stats().entries).toBe(100)
    expect(backend.getSync(bytes('gone:k42'))).toEqual(new Uint8Array(bytes('1')))
  })

  it('keeps no timer when nothing can expire and nothing is to be tidied', async () => {
    const clock = new ManualClock()
    const backend = new MemoryStateBackend({ clock })
    backend.putSync(bytes('a'), bytes('1'))
    expect(clock.pendingTimers).toBe(0)
    backend.putSync(bytes('b'), bytes('1'), { ttlMs: 100 })
    expect(clock.pendingTimers).toBe(1)
    await clock.advanceAsync(3_000)
    expect(clock.pendingTimers).toBe(0)
    expect(backend.stats().expired).toBe(1)
  })

  it('an entry refreshed for long does not fill the expiry queue', () => {
    const clock = new ManualClock()
    const backend = new MemoryStateBackend({ clock, ttlMs: 60_000 })
    for (let i = 0; i < 100_000; i++) {
      backend.putSync(bytes('hot'), bytes(String(i % 10)))
      if (i % 10 === 0) clock.set(clock.now() + 1)
    }
    expect(backend.memoryUsage().expiryBytes).toBeLessThan(10_000)
  })
})

describe('MemoryStateBackend: options', () => {
  it('names every wrong and unknown option at once', () => {
    const wrong = { ttlMs: -1, maxBytes: 1, sweepIntervalMs: Number.NaN, clock: {}, speed: 'high' }
    expect(() => new MemoryStateBackend(wrong as object)).toThrow(
      /ttlMs.*maxBytes.*sweepIntervalMs.*clock lacks now\(\).*speed/s,
    )
  })

  it('tells apart what expired and what was never there', () => {
    const clock = new ManualClock()
    const backend = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
    backend.putSync(bytes('a'), bytes('1'), { ttlMs: 10 })
    clock.set(clock.now() + 25)
    expect(() => backend.getOrThrowSync(bytes('a'))).toThrow(
      expect.objectContaining({
        code: 'STATE_EXPIRED',
        details: expect.objectContaining({ expiredForMs: 15 }),
      }),
    )
    expect(() => backend.getOrThrowSync(bytes('b'))).toThrow(
      expect.objectContaining({ code: 'KEY_NOT_FOUND' }),
    )
  })
})

describe('MemoryStateBackend: errors', () => {
  it('the key in an error is a copy, whatever kind of array the caller uses', () => {
    const backend = new MemoryStateBackend()
    const key = bytes('reused buffer')
    const failure = () => {
      try {
        return backend.getOrThrowSync(key)
      } catch (error) {
        return error as { details: { key: Uint8Array } }
      }
    }
    const error = failure()
    key.fill(0)
    expect(Buffer.from('details' in error ? error.details.key : []).toString()).toBe('reused buffer')
  })
})

describe('MemoryStateBackend: entries in any order', () => {
  const everyKey = () => true
  const show = (key: Uint8Array, value: Uint8Array) => `${Buffer.from(key)} ${Buffer.from(value)}`
  const name = fc.nat({ max: 6_000 }).map((number) => `key-${number}`)
  const change = fc.oneof(
    fc.record({ kind: fc.constant('put'), key: name, value: fc.string({ maxLength: 40 }) }),
    fc.record({ kind: fc.constant('delete'), key: name, value: fc.constant('') }),
    fc.record({ kind: fc.constant('clear'), key: name, value: fc.constant('') }),
  )

  it('are those of the first step, whatever is written meanwhile', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 6_000 }),
        fc.array(change, { maxLength: 60 }),
        async (count, changes) => {
          const clock = new ManualClock()
          const backend = new MemoryStateBackend({ clock })
          for (let i = 0; i < count; i++) {
            backend.putSync(bytes(`key-${i}`), bytes(`${i}`), i % 7 === 0 ? { ttlMs: 10 } : {})
          }
          // What it sees is gone, but not forgotten.
          const older = backend.snapshotSync()
          for (let i = 0; i < count; i += 5) backend.deleteSync(bytes(`key-${i}`))
          clock.advance(10)
          const expected = Array.from(backend.scanSync(), ([key, value]) => show(key, value)).sort()
          const found: string[] = []
          let next = 0
          for (const entry of backend.unsortedSync(everyKey)) {
            if (entry !== undefined) found.push(show(...entry))
            const due = changes[next]
            if (due === undefined || found.length % 97 !== 0) continue
            next++
            if (due.kind === 'put') backend.putSync(bytes(due.key), bytes(due.value))
            else if (due.kind === 'delete') backend.deleteSync(bytes(due.key))
            else void backend.clear()
          }
          expect(found.sort()).toEqual(expected)
          older.closeSync()
          await backend.close()
        },
      ),
      { numRuns: 20 },
    )
  })

  it('of an older snapshot pass over what has come since, whatever becomes of that meanwhile', () => {
    const backend = new MemoryStateBackend()
    for (let i = 0; i < 100; i++) backend.putSync(bytes(`old-${i}`), bytes(`${i}`))
    const snapshot = backend.snapshotSync()
    const putNew = (length: number) => {
      for (let i = 0; i < 400; i++) backend.putSync(bytes(`new-${i}`), filled(length, 255))
    }
    putNew(200_000)
    const found: string[] = []
    for (const entry of snapshot.walkUnsorted(everyKey)) {
      if (entry === undefined) continue
      found.push(show(...entry))
      if (found.length > 1) continue
      // What they lay in has nothing left that lives, and is written anew.
      for (let i = 0; i < 400; i++) backend.deleteSync(bytes(`new-${i}`))
      backend.sweep()
      putNew(180_000)
    }
    snapshot.closeSync()
    expect(found.sort()).toEqual(Array.from({ length: 100 }, (_, i) => `old-${i} ${i}`).sort())
  })

  it('are only those that are wanted, which are asked for where they lie', () => {
    const backend = new MemoryStateBackend()
    for (let i = 0; i < 100; i++) backend.putSync(bytes(`key-${i}`), bytes(`${i}`))
    const isWanted = (memory: Uint8Array, offset: number, length: number) =>
      length === 6 && memory[offset + 4] === 0x37
    const found = [...backend.unsortedSync(isWanted)].flatMap((entry) =>
      entry === undefined ? [] : Buffer.from(entry[0]).toString(),
    )
    expect(found.sort()).toEqual(Array.from({ length: 10 }, (_, i) => `key-7${i}`))
  })

  it('end with an error where the backend is closed meanwhile', async () => {
    const backend = new MemoryStateBackend()
    for (let i = 0; i < 100; i++) backend.putSync(bytes(`key-${i}`), bytes(`${i}`))
    const entries = backend.unsortedSync(everyKey)
    while (entries.next().value === undefined);
    await backend.close()
    expect(() => entries.next()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    expect(entries.next()).toEqual({ value: undefined, done: true })
  })
})
