import { MemoryStateBackend, WriteBatch } from 'holdfast'
import { LRUCache } from 'lru-cache'
import { MemoryLevel } from 'memory-level'

/** One store under test. Every call copies what it is given, as a store must; `get` returns what a caller may keep. */
export interface Subject {
  put(key: Buffer, value: Buffer): void | Promise<void>
  get(key: Buffer): Uint8Array | undefined | Promise<Uint8Array | undefined>
  /** Collects writes … */
  add(key: Buffer, value: Buffer): void
  /** … and applies them. */
  apply(): void | Promise<void>
  /** How many entries begin with a prefix, having visited them in key order. */
  scan(prefix: Buffer): number | Promise<number>
}

export const subjectNames = ['holdfast', 'Map', 'lru-cache', 'memory-level'] as const
export type SubjectName = (typeof subjectNames)[number]

/** `entries` is how many the store will hold. */
export function createSubject(name: SubjectName, entries: number): Subject {
  switch (name) {
    case 'holdfast':
      return new HoldfastSubject()
    case 'Map':
      return new MapSubject(new Map())
    case 'lru-cache':
      return new MapSubject(new LRUCache<string, Buffer>({ max: entries }))
    case 'memory-level':
      return new LevelSubject()
  }
}

export class HoldfastSubject implements Subject {
  readonly backend = new MemoryStateBackend()
  readonly #batch = new WriteBatch()

  put(key: Buffer, value: Buffer): void {
    this.backend.putSync(key, value)
  }

  get(key: Buffer): Uint8Array | undefined {
    return this.backend.getSync(key)
  }

  add(key: Buffer, value: Buffer): void {
    this.#batch.put(key, value)
  }

  apply(): void {
    this.backend.writeSync(this.#batch)
    this.#batch.clear()
  }

  scan(prefix: Buffer): number {
    let count = 0
    for (const [key] of this.backend.scanSync({ prefix })) if (key.length > 0) count++
    return count
  }
}

interface StringMap {
  set(key: string, value: Buffer): unknown
  get(key: string): Buffer | undefined
  keys(): IterableIterator<string>
}

/** What a Node engineer writes today: latin1 strings as keys, buffers as values. */
class MapSubject implements Subject {
  readonly #map: StringMap
  #pending: [string, Buffer][] = []

  constructor(map: StringMap) {
    this.#map = map
  }

  put(key: Buffer, value: Buffer): void {
    this.#map.set(key.toString('latin1'), Buffer.from(value))
  }

  get(key: Buffer): Uint8Array | undefined {
    return this.#map.get(key.toString('latin1'))
  }

  add(key: Buffer, value: Buffer): void {
    this.#pending.push([key.toString('latin1'), Buffer.from(value)])
  }

  apply(): void {
    for (const [key, value] of this.#pending) this.#map.set(key, value)
    this.#pending = []
  }

  scan(prefix: Buffer): number {
    const start = prefix.toString('latin1')
    // All keys first: reading an entry of an LRU cache changes the order that its iterator follows.
    const keys: string[] = []
    for (const key of this.#map.keys()) if (key.startsWith(start)) keys.push(key)
    const found = keys.sort().map((key) => this.#map.get(key))
    return found.length
  }
}

class LevelSubject implements Subject {
  readonly #db = new MemoryLevel<Buffer, Buffer>({ keyEncoding: 'buffer', valueEncoding: 'buffer' })
  #pending: { type: 'put'; key: Buffer; value: Buffer }[] = []

  put(key: Buffer, value: Buffer): Promise<void> {
    return this.#db.put(Buffer.from(key), Buffer.from(value))
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    return this.#db.get(key)
  }

  add(key: Buffer, value: Buffer): void {
    this.#pending.push({ type: 'put', key: Buffer.from(key), value: Buffer.from(value) })
  }

  async apply(): Promise<void> {
    await this.#db.batch(this.#pending)
    this.#pending = []
  }

  async scan(prefix: Buffer): Promise<number> {
    const end = Buffer.from(prefix)
    end[end.length - 1] = (end.at(-1) as number) + 1
    return (await this.#db.iterator({ gte: prefix, lt: end }).all()).length
  }
}
