import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { runs } from '../../../test/support/long.js'
import { EntryBlockCursor } from '../../backend/entry-block.js'
import type { LocalSnapshot } from '../../backend/facade/local-snapshot.js'
import type { SharedSnapshot, SharedSnapshotReader } from '../../backend/shared-snapshot.js'
import type { ChangeBase } from '../../backend/state-snapshot.js'
import { seededRandom } from '../../base/random.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { LmdbStateBackend } from '../lmdb-state-backend.js'
import { OpenStore } from '../store/open-store.js'
import type { LmdbStateBackendOptions } from '../types.js'
import type { LentSnapshotData, SharedStore } from './lent-snapshot.js'
import { openSharedSnapshot } from './lent-snapshot-reader.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array): string => new TextDecoder().decode(value)

/** Keys with their values; undefined: a tombstone. */
type Content = Map<string, string | undefined>

let clock: ManualClock
let backend: LmdbStateBackend

async function open(options: LmdbStateBackendOptions | object = {}): Promise<void> {
  backend = await LmdbStateBackend.temporary({ clock, cacheBytes: 1024 * 1024, ...options })
}

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(async () => {
  await backend.close()
})

function put(key: string, value: string, ttlMs?: number): void {
  backend.putSync(bytes(key), bytes(value), ttlMs === undefined ? {} : { ttlMs })
}

async function contentOf(reader: SharedSnapshotReader): Promise<Content> {
  const content: Content = new Map()
  let last = ''
  for await (const block of reader.blocks({ targetBytes: 64 })) {
    const cursor = new EntryBlockCursor(block.bytes)
    while (cursor.next()) {
      const key = text(cursor.key())
      expect(key > last || content.size === 0).toBe(true)
      last = key
      content.set(key, cursor.tombstone ? undefined : text(cursor.value()))
    }
  }
  return content
}

function baseOf({ base }: LocalSnapshot): ChangeBase {
  if (base === undefined) throw new Error('the snapshot is no base')
  return base
}

/** Reads in this thread what was shared with another one. */
async function read(shared: SharedSnapshot | undefined): Promise<{ content: Content; count: number }> {
  const reader = await openSharedSnapshot((shared as SharedSnapshot).data)
  try {
    const count = await reader.count()
    const content = await contentOf(reader)
    expect(await reader.count()).toBe(count)
    return { count, content }
  } finally {
    await reader.close()
  }
}

function present(): Content {
  return new Map([...backend.scanSync()].map(([key, value]) => [text(key), text(value)]))
}

describe('a base', () => {
  it('makes nothing due: what it keeps apart is committed when the time has come', async () => {
    await open({ flushEvery: 100, flushIntervalMs: 1_000 })
    put('a', '1')
    const snapshot = backend.snapshotSync({ track: true })
    const base = baseOf(snapshot)
    put('b', '1')
    await Promise.resolve()
    expect(backend.stats()).toMatchObject({ commits: 0, bufferedKeys: 2 })
    clock.advance(1_000)
    await backend.flush()
    expect(backend.stats()).toMatchObject({ commits: 2, bufferedKeys: 0 })
    base.release()
    snapshot.closeSync()
  })

  it('counts what it keeps apart among what waits, and lets no more than one part wait', async () => {
    await open({ flushEvery: 10, flushIntervalMs: Infinity })
    const seal = () => {
      const snapshot = backend.snapshotSync({ track: true })
      baseOf(snapshot).release()
      snapshot.closeSync()
    }
    for (let i = 0; i < 8; i++) put(`k${i}`, '1')
    seal()
    for (let i = 8; i < 10; i++) put(`k${i}`, '1')
    await expect.poll(() => backend.stats().recordsCommitted).toBe(8)
    seal()
    expect(backend.stats().bufferedKeys).toBe(2)
    put('another', '1')
    seal()
    await expect.poll(() => backend.stats().recordsCommitted).toBe(10)
    expect(backend.stats().bufferedKeys).toBe(1)
  })
})

describe('a shared snapshot', () => {
  it('is the instant at which it was shared, whatever is written and committed before it is read', async () => {
    await open({ flushEvery: 8 })
    for (let i = 0; i < 100; i++) put(`k${i}`, `v${i}`, i % 7 === 0 ? 50 : undefined)
    await backend.flush()
    for (let i = 0; i < 20; i++) put(`k${i}`, `new ${i}`)
    backend.deleteSync(bytes('k50'))
    clock.advance(50)
    const expected = present()
    const snapshot = backend.snapshotSync()
    const shared = snapshot.share?.()
    for (let i = 0; i < 60; i++) put(`k${i}`, 'later')
    put('another', 'later')
    const { content, count } = await read(shared)
    expect(content).toEqual(expected)
    expect(count).toBe(expected.size)
    await backend.flush()
    snapshot.closeSync()
  })

  it('tells what has changed since a base, deleted and expired keys included, and little else', async () => {
    await open()
    for (let i = 0; i < 100; i++) put(`k${i}`, `v${i}`, i < 10 ? 50 : undefined)
    await backend.flush()
    put('in the buffer', 'before the base')
    const before = backend.snapshotSync({ track: true })
    const base = baseOf(before)
    before.closeSync()
    await backend.flush()
    put('k20', 'committed')
    backend.deleteSync(bytes('k21'))
    await backend.flush()
    put('k22', 'in the buffer')
    put('new', 'x')
    put('short', 'x', 10)
    clock.advance(50)
    await backend.sweep()
    const snapshot = backend.snapshotSync({ since: base })
    const { content, count } = await read(snapshot.share?.('changes'))
    const expired = Array.from({ length: 10 }, (_, i) => [`k${i}`, undefined] as const)
    expect(content).toEqual(
      new Map([
        ...expired,
        ['k20', 'committed'],
        ['k21', undefined],
        ['k22', 'in the buffer'],
        ['new', 'x'],
        ['short', undefined],
      ]),
    )
    expect(count).toBe(await backend.count())
    snapshot.closeSync()
    base.release()
  })

  it('tells what has changed with values of every length, compressed or not, committed or not', async () => {
    await open({ compression: 'lz4', cacheBytes: 8 * 1024 * 1024 })
    const before = backend.snapshotSync({ track: true })
    const base = baseOf(before)
    before.closeSync()
    const expected: Content = new Map()
    const random = seededRandom(1)
    const changeSome = (round: string) => {
      // Some of which do not compress.
      for (const [i, length] of [0, 1, 3, 100, 199, 200, 1_000, 1_500, 5_000, 70_000].entries()) {
        const letters = Array.from({ length }, () => 97 + Math.floor(random() * 26))
        for (const value of ['x'.repeat(length), String.fromCharCode(...letters)]) {
          const key = `${round} ${i} ${value.slice(0, 1)}`.padEnd(i * 7)
          put(key, value, i % 2 === 0 ? undefined : 50)
          expected.set(key, value)
        }
      }
    }
    changeSome('a committed')
    changeSome('b committed')
    await backend.flush()
    changeSome('b committed')
    changeSome('c in the buffer')
    const snapshot = backend.snapshotSync({ since: base })
    const { content, count } = await read(snapshot.share?.('changes'))
    expect(content).toEqual(new Map([...expected].sort(([left], [right]) => (left < right ? -1 : 1))))
    expect(count).toBe(expected.size)
    snapshot.closeSync()
    base.release()
  })

  it('cannot tell what has changed since a clear, a release, a replacement, or too much', async () => {
    await open()
    const track = (): ChangeBase => {
      using snapshot = backend.snapshotSync({ track: true })
      return baseOf(snapshot)
    }
    const isKnown = (base: ChangeBase): boolean => {
      using snapshot = backend.snapshotSync({ since: base })
      return snapshot.share?.('changes') !== undefined
    }
    let base = track()
    expect(isKnown(base)).toBe(true)
    await backend.clear()
    expect(isKnown(base)).toBe(false)
    base = track()
    put('after the clear', 'x')
    expect(isKnown(base)).toBe(true)
    base.release()
    expect(isKnown(base)).toBe(false)
    base = track()
    const blocks = backend.snapshotSync().blocks()
    await backend.replaceAll(blocks)
    expect(isKnown(base)).toBe(false)
    base = track()
    for (let i = 0; i < 20_000; i++) put(`key ${i}`, 'x')
    await backend.flush()
    await backend.flush()
    expect(await backend.count()).toBe(20_001)
    expect(isKnown(base)).toBe(false)
  })

  it('is not shared when something was written since, and ends when it is closed', async () => {
    await open()
    put('a', '1')
    const late = backend.snapshotSync()
    put('a', '2')
    expect(late.share?.()).toBeUndefined()
    late.closeSync()
    const snapshot = backend.snapshotSync()
    const shared = snapshot.share?.() as SharedSnapshot
    const reader = await openSharedSnapshot(shared.data)
    snapshot.closeSync()
    await expect(reader.blocks()[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'CLOSED' })
    await reader.close()
    const closed = backend.snapshotSync()
    const unread = closed.share?.() as SharedSnapshot
    closed.closeSync()
    await expect(openSharedSnapshot(unread.data)).rejects.toMatchObject({ code: 'CLOSED' })
    put('a', '3')
    await backend.flush()
  })

  it('is closed again by a reader that comes too late, or cannot begin, before that says so', async () => {
    await open()
    put('a', '1')
    await backend.flush()
    let closed = 0
    const { close } = OpenStore.prototype
    vi.spyOn(OpenStore.prototype, 'close').mockImplementation(async function (this: OpenStore) {
      await close.call(this)
      closed++
    })
    const unreadable = backend.snapshotSync()
    const shared = unreadable.share?.() as SharedSnapshot
    vi.spyOn(OpenStore.prototype, 'view').mockImplementationOnce(() => {
      throw new Error('no room for another reader')
    })
    await expect(openSharedSnapshot(shared.data)).rejects.toThrow('no room for another reader')
    expect(closed).toBe(1)
    unreadable.closeSync()
    const snapshot = backend.snapshotSync()
    const late = snapshot.share?.() as SharedSnapshot
    const revoked = 2
    ;(late.data as LentSnapshotData).store?.gate.set([revoked])
    await expect(openSharedSnapshot(late.data)).rejects.toMatchObject({ code: 'NOT_INITIALIZED' })
    expect(closed).toBe(2)
    vi.restoreAllMocks()
    snapshot.closeSync()
  })

  it('that nobody begins to read does not keep commits waiting once it is closed', async () => {
    await open()
    put('a', '1')
    const snapshot = backend.snapshotSync()
    expect(snapshot.share?.()).toBeDefined()
    put('b', '2')
    const flushed = backend.flush()
    snapshot.closeSync()
    await flushed
    expect(backend.stats().commits).toBeGreaterThan(0)
  })

  it('equals the content, and base and delta together do, after any history', async () => {
    for (let seed = 1; seed <= runs(25, 3); seed++) {
      const random = seededRandom(seed)
      await open({ flushEvery: 1 + Math.floor(random() * 40) })
      let state: Content = new Map()
      let base: ChangeBase | undefined
      for (let round = 0; round < 8; round++) {
        for (let i = 0; i < 40; i++) {
          const key = `k${Math.floor(random() * 60)}`
          const what = random()
          if (what < 0.6)
            put(key, `${round} ${i}`.repeat(1 + Math.floor(random() * 4)), what < 0.1 ? 30 : undefined)
          else if (what < 0.85) backend.deleteSync(bytes(key))
          else if (what < 0.9) clock.advance(20)
          else if (what < 0.93) await backend.flush()
          else if (what < 0.95) await new Promise((resolve) => setImmediate(resolve))
          else if (what < 0.955) await backend.clear()
        }
        const expected = present()
        const snapshot = backend.snapshotSync({ track: true, ...(base && { since: base }) })
        const delta = snapshot.share?.('changes')
        const full = delta === undefined ? snapshot.share?.() : undefined
        const next = baseOf(snapshot)
        put('disturbs', 'x')
        const { content, count } = await read(delta ?? full)
        expect(count).toBe(expected.size)
        if (delta === undefined) state = content
        else {
          for (const [key, value] of content) {
            if (value === undefined) state.delete(key)
            else state.set(key, value)
          }
        }
        // What expires without being written is in neither: whoever merges drops it by its time.
        for (const key of state.keys()) if (!expected.has(key)) state.delete(key)
        expect(new Map([...state].sort())).toEqual(new Map([...expected].sort()))
        snapshot.closeSync()
        base?.release()
        base = next
      }
      await backend.close()
    }
  })
})

describe('writers beside a reader that is about to begin', () => {
  const value = new Uint8Array(1_000)

  it('wait without stopping the thread, where they can wait', async () => {
    await open({ flushEvery: 4 })
    const snapshot = backend.snapshotSync()
    const shared = snapshot.share?.() as SharedSnapshot
    const writing = (async () => {
      for (let i = 0; i < 2_000; i++) await backend.put(bytes(`k${i}`), value)
    })()
    // It can be read: nobody gave the reader up, as one does who cannot wait.
    const { content } = await read(shared)
    expect(content.size).toBe(0)
    await writing
    snapshot.closeSync()
  })

  it('go on without it, at once, where they never let the event loop run', async () => {
    await open({ flushEvery: 4 })
    const snapshot = backend.snapshotSync()
    const shared = snapshot.share?.() as SharedSnapshot
    for (let i = 0; i < 4_000; i++) backend.putSync(bytes(`k${i}`), value)
    await expect(openSharedSnapshot(shared.data)).rejects.toMatchObject({ code: 'NOT_INITIALIZED' })
    snapshot.closeSync()
    await backend.flush()
    expect(await backend.count()).toBe(4_000)
  })
})

describe('a reader whose store goes while it begins', () => {
  /** A snapshot for another thread, at whose store it looks when `happen` has run, and which is gone by then. */
  function lent(happen: (snapshot: LocalSnapshot, data: LentSnapshotData) => void): object {
    const snapshot = backend.snapshotSync()
    const data = snapshot.share?.()?.data as LentSnapshotData
    const { generation, gate } = data.store as SharedStore
    const store = {
      generation,
      gate,
      get dataPath(): string {
        happen(snapshot, data)
        return '/nowhere/data-1.mdb'
      },
    }
    return { ...data, store }
  }

  it('hears that its snapshot was closed, where it was', async () => {
    await open()
    const data = lent((snapshot) => snapshot.closeSync())
    await expect(openSharedSnapshot(data)).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('hears that it comes too late, where nobody waits for it any more', async () => {
    await open()
    const data = lent((_, { store }) => Atomics.store((store as SharedStore).gate, 0, 2))
    await expect(openSharedSnapshot(data)).rejects.toMatchObject({ code: 'NOT_INITIALIZED' })
  })

  it('hears what is wrong with the store, where it was waited for', async () => {
    await open()
    await expect(openSharedSnapshot(lent(() => {}))).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  })
})
