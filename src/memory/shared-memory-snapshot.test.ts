import { MessageChannel, type MessagePort, type Transferable, Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { runs } from '../../test/support/long.js'
import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import type { SharedSnapshot } from '../backend/shared-snapshot.js'
import type { ChangeBase } from '../backend/state-snapshot.js'
import { ManualClock } from '../testing/manual-clock.js'
import { MemoryStateBackend, type MemoryStateSnapshot } from './memory-state-backend.js'
import { openSharedSnapshot } from './shared-memory-snapshot.js'

const encode = (text: string) => Buffer.from(text)
const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Messages between threads take some turns of the event loop, nobody knows how many. */
async function turnsUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await turn()
}

function baseOf({ base }: MemoryStateSnapshot): ChangeBase {
  if (base === undefined) throw new Error('the snapshot is no base')
  return base
}

async function allBlocks(blocks: AsyncIterable<EntryBlock>): Promise<EntryBlock[]> {
  const all: EntryBlock[] = []
  for await (const block of blocks) all.push(block)
  return all
}

/** `key=value` of entries, `-key` of tombstones. */
function textsOf(blocks: readonly EntryBlock[]): string[] {
  return blocks.flatMap(({ bytes }) => {
    const texts: string[] = []
    for (const cursor = new EntryBlockCursor(bytes); cursor.next(); ) {
      const key = Buffer.from(cursor.key())
      texts.push(cursor.tombstone ? `-${key}` : `${key}=${Buffer.from(cursor.value())}`)
    }
    return texts
  })
}

async function read(shared: SharedSnapshot | undefined): Promise<string[]> {
  const reader = await openSharedSnapshot(shared?.data)
  try {
    return textsOf(await allBlocks(reader.blocks()))
  } finally {
    await reader.close()
  }
}

describe('A shared snapshot', () => {
  it('gives all of its instant, or what was written, deleted and expired since a base', async () => {
    const clock = new ManualClock(0)
    const backend = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
    for (const key of ['a', 'b', 'c', 'd']) backend.putSync(encode(key), encode('1'))
    backend.putSync(encode('e'), encode('1'), { ttlMs: 10 })
    const first = backend.snapshotSync({ track: true })
    const base = baseOf(first)
    backend.putSync(encode('b'), encode('2'))
    backend.putSync(encode('b'), encode('22'))
    backend.deleteSync(encode('c'))
    backend.putSync(encode('f'), encode('2'))
    backend.putSync(encode('g'), encode('2'))
    backend.deleteSync(encode('g'))
    clock.advance(10)
    const second = backend.snapshotSync({ since: base })
    const [full, delta] = [second.share(), second.share('changes')]
    backend.putSync(encode('a'), encode('3'))
    await backend.clear()
    expect(await read(full)).toEqual(['a=1', 'b=22', 'd=1', 'f=2'])
    // What came and went in between was never in any of the two.
    expect(await read(delta)).toEqual(['b=22', '-c', '-e', 'f=2'])
    await backend.close()
  })

  it('tells apart what had expired unseen from what expired later', async () => {
    const clock = new ManualClock(0)
    const backend = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
    // More than a snapshot finds the time to remove.
    const many = runs(300_000, 60_000)
    for (let i = 0; i < many; i++) backend.putSync(encode(`due-${i}`), encode('1'), { ttlMs: 10 })
    backend.putSync(encode('later'), encode('1'), { ttlMs: 20 })
    const first = backend.snapshotSync({ track: true })
    const base = baseOf(first)
    first.closeSync()
    clock.advance(10)
    const second = backend.snapshotSync({ since: base })
    expect(backend.stats().entries).toBeGreaterThan(1)
    const reader = await openSharedSnapshot(second.share('changes')?.data)
    clock.advance(10)
    // One that was expired is written again before anybody has removed it.
    backend.putSync(encode('due-0'), encode('2'))
    expect(await reader.count()).toBe(1)
    const texts = textsOf(await allBlocks(reader.blocks()))
    expect(texts.length).toBe(many)
    expect(texts.every((text) => text.startsWith('-due-'))).toBe(true)
    await reader.close()
    await backend.close()
  })

  it('is there only in the instant of the snapshot, and with a base that is still known', async () => {
    const backend = new MemoryStateBackend()
    backend.putSync(encode('a'), encode('1'))
    const snapshot = backend.snapshotSync({ track: true })
    const base = baseOf(snapshot)
    const known = (since: ChangeBase) => backend.snapshotSync({ since }).share('changes')
    backend.putSync(encode('a'), encode('2'))
    expect(snapshot.share()).toBeUndefined()
    expect(known(base)).toBeDefined()
    expect(new MemoryStateBackend().snapshotSync({ since: base }).share('changes')).toBeUndefined()
    base.release()
    expect(known(base)).toBeUndefined()
    const next = baseOf(backend.snapshotSync({ track: true }))
    await backend.clear()
    expect(known(next)).toBeUndefined()
    snapshot.closeSync()
    expect(() => snapshot.share()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    await backend.close()
  })

  it('ends its reader with CLOSED, and keeps the memory until the reader has stopped', async () => {
    const backend = new MemoryStateBackend()
    const value = encode('x'.repeat(1_000))
    for (let i = 0; i < 2_000; i++) backend.putSync(encode(`key-${i}`), value)
    const snapshot = backend.snapshotSync()
    const shared = snapshot.share()
    const reader = await openSharedSnapshot(shared?.data)
    const blocks = reader.blocks({ targetBytes: 2_000 })[Symbol.asyncIterator]()
    await blocks.next()
    for (let i = 0; i < 2_000; i++) backend.putSync(encode(`key-${i}`), encode('y'.repeat(1_100)))
    snapshot.closeSync()
    const pinned = backend.memoryUsage().deadBytes
    expect(backend.stats().openSnapshots).toBe(0)
    expect(pinned).toBeGreaterThan(1_500_000)
    await expect(blocks.next()).rejects.toMatchObject({ code: 'CLOSED' })
    await turnsUntil(() => backend.memoryUsage().deadBytes < pinned)
    backend.sweep()
    expect(backend.memoryUsage().deadBytes).toBeLessThan(pinned / 2)
    await expect(reader.count()).rejects.toMatchObject({ code: 'CLOSED' })
    await backend.close()
  })

  it('cannot be opened any more once it is closed', async () => {
    const backend = new MemoryStateBackend()
    const snapshot = backend.snapshotSync()
    const shared = snapshot.share()
    snapshot.closeSync()
    await expect(openSharedSnapshot(shared?.data)).rejects.toMatchObject({ code: 'CLOSED' })
    const other = backend.snapshotSync()
    const opening = openSharedSnapshot(other.share()?.data)
    await backend.close()
    await expect(opening).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('cannot be opened any more once the thread that lent it is gone, which closes its port and does no more', async () => {
    const backend = new MemoryStateBackend()
    const shared = backend.snapshotSync().share()
    const [port] = (shared?.transferList ?? []) as readonly MessagePort[]
    const closing = new Promise((resolve) => port?.once('close', resolve))
    port?.close()
    await closing
    await expect(openSharedSnapshot(shared?.data)).rejects.toMatchObject({ code: 'CLOSED' })
    await backend.close()
  })

  it('is let go of when the thread that reads it dies', async () => {
    const backend = new MemoryStateBackend()
    for (let i = 0; i < 2_000; i++) backend.putSync(encode(`key-${i}`), encode('x'.repeat(1_000)))
    const snapshot = backend.snapshotSync()
    const thread = new ReadingThread()
    await thread.open(snapshot.share())
    for (let i = 0; i < 2_000; i++) backend.putSync(encode(`key-${i}`), encode('y'.repeat(1_100)))
    snapshot.closeSync()
    const pinned = backend.memoryUsage().deadBytes
    await thread.end()
    await turnsUntil(() => backend.memoryUsage().deadBytes < pinned)
    backend.sweep()
    expect(backend.memoryUsage().deadBytes).toBeLessThan(pinned / 2)
    await backend.close()
  })

  it('is exact while the other thread reads and this one writes as fast as it can', async () => {
    const keys = runs(200_000, 80_000)
    const backend = new MemoryStateBackend()
    /** The version that each key holds; 0: none. */
    const versions = new Uint32Array(keys)
    let version = 1
    let random = 12_345
    /** Writes to an eighth of the keys, so that what has changed stays within what is tracked. */
    const write = (count: number, from: number, most = keys / 8) => {
      for (let i = 0; i < count; i++) {
        random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0
        const key = (from + ((random >>> 8) % most)) % keys
        if (random % 11 === 0) {
          backend.deleteSync(encode(`key-${key}`))
          versions[key] = 0
        } else {
          version++
          backend.putSync(encode(`key-${key}`), encode(`${version}`.padEnd((random >>> 4) % 64)))
          versions[key] = version
        }
      }
    }
    write(2 * keys, 0, keys)
    const thread = new ReadingThread()
    let base: { known: Uint32Array; release(): void; mark: ChangeBase } | undefined
    for (let round = 0; round < runs(12, 5); round++) {
      // Little has changed by then, or more than the reader can look at before it is overwritten.
      const from = round * 77_777
      write(round % 3 === 0 ? 500 : 10_000, from)
      const since = round % 4 === 3 ? undefined : base
      const snapshot = backend.snapshotSync({ track: true, ...(since && { since: since.mark }) })
      const mark = baseOf(snapshot)
      const shared = snapshot.share(since === undefined ? 'all' : 'changes')
      expect(shared).toBeDefined()
      const expected = versions.slice()
      const reading = thread.read(shared)
      const state = { isRead: false }
      void reading.finally(() => {
        state.isRead = true
      })
      do {
        write(2_000, from)
        await turn()
      } while (!state.isRead)
      const { blocks, count } = await reading
      const known = since === undefined ? new Uint32Array(keys) : since.known.slice()
      for (const each of blocks) {
        for (const cursor = new EntryBlockCursor(each); cursor.next(); ) {
          const key = Number(Buffer.from(cursor.key()).subarray(4))
          known[key] = cursor.tombstone ? 0 : Number(Buffer.from(cursor.value()))
        }
      }
      const wrong = known.findIndex((each, key) => each !== expected[key])
      expect(wrong, `key ${wrong}: ${known[wrong]}, not ${expected[wrong]}`).toBe(-1)
      expect(count).toBe(expected.filter((each) => each !== 0).length)
      snapshot.closeSync()
      base?.release()
      base = { known, mark, release: () => mark.release() }
    }
    await thread.end()
    await backend.close()
  })
})

/** Runs `openSharedSnapshot` of the compiled package in a thread of its own. */
class ReadingThread {
  readonly #port: MessagePort
  readonly #worker: Worker

  constructor() {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    const script = `
      const { workerData: port } = require('node:worker_threads')
      port.on('message', async ({ module, data, opensOnly }) => {
        try {
          const reader = await (await import(module)).openSharedSnapshot(data)
          const blocks = []
          if (!opensOnly) for await (const { bytes } of reader.blocks({ targetBytes: 4096 })) blocks.push(bytes)
          const count = await reader.count()
          if (!opensOnly) await reader.close()
          port.postMessage({ blocks, count })
        } catch (error) {
          port.postMessage({ error })
        }
      })`
    this.#worker = new Worker(script, { eval: true, workerData: port2, transferList: [port2] })
  }

  open(shared: SharedSnapshot | undefined): Promise<unknown> {
    return this.#send(shared, true)
  }

  read(shared: SharedSnapshot | undefined): Promise<{ blocks: Uint8Array[]; count: number }> {
    return this.#send(shared, false)
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
    this.#port.close()
  }

  #send(
    shared: SharedSnapshot | undefined,
    opensOnly: boolean,
  ): Promise<{ blocks: Uint8Array[]; count: number }> {
    return new Promise((resolve, reject) => {
      this.#port.once('message', (answer: { blocks: Uint8Array[]; count: number; error?: unknown }) => {
        if (answer.error === undefined) resolve(answer)
        else reject(answer.error)
      })
      const { module, data, transferList } = shared as SharedSnapshot
      this.#port.postMessage({ module, data, opensOnly }, transferList as readonly Transferable[])
    })
  }
}
