import { type EntryBlock, EntryBlockCursor } from '../../src/backend/entry-block.js'
import type { SharedSnapshot } from '../../src/backend/shared-snapshot.js'
import type { ChangeBase } from '../../src/backend/state-snapshot.js'
import { WriteBatch } from '../../src/backend/write-batch.js'
import { isStateError } from '../../src/base/errors.js'
import type { MemoryStateSnapshot } from '../../src/memory/memory-state-backend.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { openSharedSnapshot } from '../../src/memory/shared-memory-snapshot.js'
import { ManualClock } from '../../src/testing/manual-clock.js'
import { same } from './world.js'

interface Put {
  readonly kind: 'put'
  readonly key: number
  readonly size: number
  readonly ttlMs: number
}

interface Delete {
  readonly kind: 'delete'
  readonly key: number
}

export type Step =
  | Put
  | Delete
  | { readonly kind: 'batch'; readonly operations: readonly (Put | Delete)[] }
  | { readonly kind: 'churn'; readonly from: number; readonly count: number; readonly size: number }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'sweep' | 'clear' | 'replace' | 'base' }
  | { readonly kind: 'hold'; readonly scan: boolean }
  | { readonly kind: 'letGo' | 'release' | 'closeUnderReader'; readonly nth: number }
  | Share
  | { readonly kind: 'turns'; readonly count: number }

interface Share {
  readonly kind: 'share'
  /** Which of the bases; undefined: the whole content. */
  readonly since: number | undefined
  readonly alsoBase: boolean
  readonly targetBytes: number
  readonly turnsPerBlock: number
}

interface Stored {
  readonly value: string
  readonly expiresAtMs: number
}

/** By key; values as texts that tell them apart, with their time of expiry. */
type Content = ReadonlyMap<string, string>

interface Base {
  readonly base: ChangeBase
  readonly content: Content
  /** How many writes there had been, and how often the whole content had gone. */
  readonly writes: number
  readonly wipes: number
}

/** Read as the header of an entry by mistake, it would be one that is not buried. */
const FILLER = '!'

/** A memory engine, a map that holds what it must hold, and readers of its snapshots on the same event loop. */
export class SharedSnapshotWorld {
  /** What was compared, how often changes could not be told, and how many readers had to stop. */
  readonly figures = { fulls: 0, deltas: 0, unknown: 0, endedEarly: 0 }
  readonly #clock = new ManualClock(1_000)
  readonly #backend: MemoryStateBackend
  readonly #model = new Map<string, Stored>()
  /** When each key was written or removed last. */
  readonly #touched = new Map<string, number>()
  readonly #held: { close(): unknown }[] = []
  readonly #reading: { snapshot: MemoryStateSnapshot; done: Promise<void>; closeEarly: () => void }[] = []
  #bases: Base[] = []
  #writes = 0
  #wipes = 0

  constructor(maxBytes: number) {
    this.#backend = new MemoryStateBackend({ maxBytes, clock: this.#clock })
  }

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'put':
      case 'delete':
        return this.#write([step], false)
      case 'batch':
        return this.#write(step.operations, true)
      case 'churn':
        for (let i = 0; i <= step.count; i++) {
          this.#write(
            [{ kind: 'put', key: (step.from + i) % 24, size: step.size + i, ttlMs: Infinity }],
            false,
          )
        }
        return
      case 'pass':
        return void this.#clock.advance(step.ms)
      case 'sweep':
        return void this.#backend.sweep()
      case 'clear':
        this.#wipe()
        this.#model.clear()
        return this.#backend.clear()
      case 'replace':
        return this.#replace()
      case 'hold':
        return void this.#held.push(step.scan ? this.#scan() : this.#backend.snapshotSync())
      case 'letGo':
        return void (await this.#held.splice(step.nth % Math.max(1, this.#held.length), 1)[0]?.close())
      case 'base': {
        using snapshot = this.#backend.snapshotSync({ track: true })
        return this.#track(snapshot)
      }
      case 'release':
        return this.#bases.splice(step.nth % Math.max(1, this.#bases.length), 1)[0]?.base.release()
      case 'share':
        return this.#share(step)
      case 'closeUnderReader':
        return this.#reading[step.nth % Math.max(1, this.#reading.length)]?.closeEarly()
      case 'turns':
        return turns(step.count)
    }
  }

  /** Lets every reader come to its end. */
  async finish(): Promise<void> {
    await Promise.all(this.#reading.map(({ done }) => done))
    await this.take({
      kind: 'share',
      since: undefined,
      alsoBase: false,
      targetBytes: 1_000,
      turnsPerBlock: 0,
    })
    await this.#reading.at(-1)?.done
  }

  async close(): Promise<void> {
    for (const each of this.#held) await each.close()
    await this.#backend.close()
    await Promise.allSettled(this.#reading.map(({ done }) => done))
  }

  #write(operations: readonly (Put | Delete)[], asBatch: boolean): void {
    this.#writes++
    const texts = operations.map((operation, i) =>
      operation.kind === 'put' ? `${this.#writes}.${i}:`.padEnd(operation.size, FILLER) : '',
    )
    const batch = new WriteBatch()
    try {
      for (const [i, operation] of operations.entries()) {
        const key = bytesOf(operation.key)
        const into = asBatch ? batch : undefined
        if (operation.kind === 'put') {
          const value = Buffer.from(texts[i] as string)
          if (into === undefined) this.#backend.putSync(key, value, { ttlMs: operation.ttlMs })
          else into.put(key, value, { ttlMs: operation.ttlMs })
        } else if (into === undefined) this.#backend.deleteSync(key)
        else into.delete(key)
      }
      if (asBatch) this.#backend.writeSync(batch)
    } catch (error) {
      if (!isStateError(error, 'BACKEND_FULL')) throw error
      return
    }
    for (const [i, operation] of operations.entries()) {
      const key = String(bytesOf(operation.key))
      this.#touched.set(key, this.#writes)
      if (operation.kind === 'delete') this.#model.delete(key)
      else {
        const expiresAtMs = this.#clock.now() + operation.ttlMs
        this.#model.set(key, { value: texts[i] as string, expiresAtMs })
      }
    }
  }

  async #replace(): Promise<void> {
    const content = new MemoryStateBackend({ clock: this.#clock })
    for (let i = 0; i < 5; i++) content.putSync(bytesOf(i), bytesOf(i))
    await this.#backend.replaceAll(content.snapshotSync().blocks())
    await content.close()
    this.#wipe()
    this.#model.clear()
    for (let i = 0; i < 5; i++) {
      this.#model.set(String(bytesOf(i)), { value: String(bytesOf(i)), expiresAtMs: Infinity })
    }
  }

  #wipe(): void {
    this.#writes++
    this.#wipes++
  }

  #scan(): { close(): unknown } {
    const scan = this.#backend.scanSync()
    scan.next()
    return { close: () => scan.return?.() }
  }

  /** What is alive now. */
  #content(): Content {
    const alive = [...this.#model].filter(([, { expiresAtMs }]) => expiresAtMs > this.#clock.now())
    return new Map(alive.map(([key, { value, expiresAtMs }]) => [key, `${value}@${expiresAtMs}`]))
  }

  #track(snapshot: MemoryStateSnapshot): void {
    const { base } = snapshot
    if (base === undefined) throw new Error('the snapshot is no base')
    this.#bases.push({ base, content: this.#content(), writes: this.#writes, wipes: this.#wipes })
  }

  #share(step: Share): void {
    const since =
      step.since === undefined ? undefined : this.#bases[step.since % Math.max(1, this.#bases.length)]
    const snapshot = this.#backend.snapshotSync({
      track: step.alsoBase,
      ...(since && { since: since.base }),
    })
    if (step.alsoBase) this.#track(snapshot)
    const shared = snapshot.share(since === undefined ? 'all' : 'changes')
    if (shared === undefined) {
      same(since !== undefined, true, 'only changes are ever unknown')
      if (since?.wipes === this.#wipes) this.figures.unknown++
      snapshot.closeSync()
      return
    }
    same(since?.wipes ?? this.#wipes, this.#wipes, 'a base of other content')
    const state = { isClosedEarly: false }
    const done = this.#check(snapshot, shared, step, since, state)
    // The failure surfaces where the end is awaited.
    done.catch(() => {})
    const closeEarly = () => {
      state.isClosedEarly = true
      snapshot.closeSync()
    }
    this.#reading.push({ snapshot, done, closeEarly })
  }

  /** Reads what was shared in this very moment, and compares it with what is there in this very moment. */
  async #check(
    snapshot: MemoryStateSnapshot,
    shared: SharedSnapshot,
    step: Share,
    since: Base | undefined,
    state: { readonly isClosedEarly: boolean },
  ): Promise<void> {
    const expected = this.#content()
    const touched = new Map(this.#touched)
    try {
      const { blocks, count } = await this.#read(shared, step)
      same(count, expected.size, 'count')
      same(contentOf(blocks, since?.content ?? new Map()), expected, since === undefined ? 'all' : 'changes')
      if (since === undefined) this.figures.fulls++
      else {
        const isChanged = (key: string) =>
          (touched.get(key) ?? 0) > since.writes || !expected.has(key) || !since.content.has(key)
        same(
          keysOf(blocks).filter((key) => !isChanged(key)),
          [],
          'keys that have not changed',
        )
        this.figures.deltas++
      }
    } catch (error) {
      if (!state.isClosedEarly || !isStateError(error, 'CLOSED')) throw error
      this.figures.endedEarly++
    } finally {
      snapshot.closeSync()
    }
  }

  async #read(
    { data }: SharedSnapshot,
    { targetBytes, turnsPerBlock }: Share,
  ): Promise<{ blocks: EntryBlock[]; count: number }> {
    const reader = await openSharedSnapshot(data)
    const blocks: EntryBlock[] = []
    try {
      for await (const block of reader.blocks({ targetBytes })) {
        blocks.push(block)
        await turns(turnsPerBlock)
      }
      return { blocks, count: await reader.count() }
    } finally {
      await reader.close()
    }
  }
}

function bytesOf(key: number): Buffer {
  return Buffer.from(`key-${key}`.padEnd(5 + (key % 7), '.'))
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

function keysOf(blocks: readonly EntryBlock[]): string[] {
  return blocks.flatMap(({ bytes }) => {
    const keys: string[] = []
    for (const cursor = new EntryBlockCursor(bytes); cursor.next(); )
      keys.push(String(Buffer.from(cursor.key())))
    return keys
  })
}

/** `before` with the blocks laid over it. */
function contentOf(blocks: readonly EntryBlock[], before: Content): Content {
  const content = new Map(before)
  let last = ''
  for (const { bytes, entryCount } of blocks) {
    let entries = 0
    for (const cursor = new EntryBlockCursor(bytes); cursor.next(); entries++) {
      const key = String(Buffer.from(cursor.key()))
      same(key > last, true, 'key order')
      last = key
      if (cursor.tombstone) content.delete(key)
      else content.set(key, `${Buffer.from(cursor.value())}@${cursor.expiresAtMs}`)
    }
    same(entries, entryCount, 'entries of a block')
  }
  return content
}
