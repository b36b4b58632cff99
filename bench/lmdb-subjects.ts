import { createRequire } from 'node:module'
import { ClassicLevel } from 'classic-level'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { open, type RootDatabase } from 'lmdb'

/** One store on disk under test. */
export interface Subject {
  /** One write that is awaited: accepted, and readable. */
  put(key: Buffer, value: Buffer): Promise<unknown>
  /** Many writes, as fast as the store takes them: accepted, and readable. */
  accept(keys: Iterable<Buffer>, value: Buffer): Promise<void>
  /** Many writes, durable at the end. */
  store(keys: Iterable<Buffer>, value: Buffer): Promise<void>
  get(key: Buffer): Uint8Array | undefined
  /** Entries that begin with a prefix; their values are read. */
  scan(prefix: Buffer, end: Buffer): number
  close(): Promise<void>
}

/** `better-sqlite3` needs a newer Node than this project does, and is measured where there is one. */
export type SubjectName = 'holdfast' | 'holdfast, log' | 'lmdb' | 'classic-level' | 'better-sqlite3'

export const BATCH_WRITES = 1_000
/** Puts that become durable together, where several callers wait at once. */
export const GROUP_PUTS = 64
/** Of holdfast: its default. */
export const CACHE_BYTES = 256 * 1024 * 1024

/** `peerFolder`: where `better-sqlite3` is installed. */
export function openSubject(
  name: SubjectName,
  path: string,
  peerFolder: string | undefined,
): Promise<Subject> {
  switch (name) {
    case 'better-sqlite3':
      return Promise.resolve(new SqliteSubject(path, peerFolder as string))
    case 'holdfast':
      return HoldfastSubject.open(path, false)
    case 'holdfast, log':
      return HoldfastSubject.open(path, true)
    case 'lmdb':
      return Promise.resolve(new LmdbSubject(path))
    case 'classic-level':
      return LevelSubject.open(path)
  }
}

class HoldfastSubject implements Subject {
  readonly #backend: LmdbStateBackend

  constructor(backend: LmdbStateBackend) {
    this.#backend = backend
  }

  static async open(path: string, log: boolean): Promise<HoldfastSubject> {
    return new HoldfastSubject(await LmdbStateBackend.open({ path, cacheBytes: CACHE_BYTES, log }))
  }

  put(key: Buffer, value: Buffer): Promise<void> {
    return this.#backend.put(key, value)
  }

  async accept(keys: Iterable<Buffer>, value: Buffer): Promise<void> {
    for (const key of keys) this.#backend.putSync(key, value)
  }

  async store(keys: Iterable<Buffer>, value: Buffer): Promise<void> {
    for (const key of keys) this.#backend.putSync(key, value)
    await this.#backend.flush()
  }

  get(key: Buffer): Uint8Array | undefined {
    return this.#backend.getSync(key)
  }

  scan(prefix: Buffer): number {
    let bytes = 0
    for (const [, value] of this.#backend.scanSync({ prefix })) bytes += value.length
    return bytes
  }

  close(): Promise<void> {
    return this.#backend.close()
  }
}

/** LMDB as it is, with the options that holdfast opens it with. */
class LmdbSubject implements Subject {
  readonly #root: RootDatabase<Buffer, Buffer>

  constructor(path: string) {
    this.#root = open<Buffer, Buffer>({
      path,
      encoding: 'binary',
      keyEncoding: 'binary',
      pageSize: 8_192,
      overlappingSync: false,
      mapSize: 2 ** 36,
      noSubdir: false,
    })
  }

  put(key: Buffer, value: Buffer): Promise<boolean> {
    return this.#root.put(key, value)
  }

  async accept(keys: Iterable<Buffer>, value: Buffer): Promise<void> {
    let left = BATCH_WRITES
    let last: Promise<unknown> | undefined
    for (const key of keys) {
      last = this.#root.put(key, value)
      if (--left > 0) continue
      left = BATCH_WRITES
      await last
    }
    await last
  }

  async store(keys: Iterable<Buffer>, value: Buffer): Promise<void> {
    await this.accept(keys, value)
    await this.#root.flushed
  }

  get(key: Buffer): Uint8Array | undefined {
    return this.#root.get(key)
  }

  scan(start: Buffer, end: Buffer): number {
    let bytes = 0
    for (const { value } of this.#root.getRange({ start, end })) bytes += value.length
    return bytes
  }

  async close(): Promise<void> {
    await this.#root.close()
  }
}

class LevelSubject implements Subject {
  readonly #db: ClassicLevel<Buffer, Buffer>

  constructor(db: ClassicLevel<Buffer, Buffer>) {
    this.#db = db
  }

  static async open(path: string): Promise<LevelSubject> {
    const db = new ClassicLevel<Buffer, Buffer>(path, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
    await db.open()
    return new LevelSubject(db)
  }

  put(key: Buffer, value: Buffer): Promise<void> {
    return this.#db.put(key, value, { sync: true })
  }

  accept(keys: Iterable<Buffer>, value: Buffer): Promise<void> {
    return this.#write(keys, value, false)
  }

  store(keys: Iterable<Buffer>, value: Buffer): Promise<void> {
    return this.#write(keys, value, true)
  }

  get(key: Buffer): Uint8Array | undefined {
    return this.#db.getSync(key)
  }

  /** It has no synchronous iterator: not measured. */
  scan(): number {
    return Number.NaN
  }

  close(): Promise<void> {
    return this.#db.close()
  }

  async #write(keys: Iterable<Buffer>, value: Buffer, sync: boolean): Promise<void> {
    let batch = this.#db.batch()
    for (const key of keys) {
      batch.put(Buffer.from(key), value)
      if (batch.length < BATCH_WRITES) continue
      await batch.write({ sync })
      batch = this.#db.batch()
    }
    await batch.write({ sync })
  }
}

/** What is used of the package, which the compiler does not find: it is no dependency. */
interface SqliteDatabase {
  pragma(text: string): unknown
  exec(text: string): unknown
  prepare(text: string): {
    run(...parameters: unknown[]): unknown
    get(...parameters: unknown[]): unknown
    all(...parameters: unknown[]): unknown[]
  }
  close(): void
}

/** A table of blobs in the write-ahead mode, where each commit is synced. */
class SqliteSubject implements Subject {
  readonly #database: SqliteDatabase
  readonly #put: ReturnType<SqliteDatabase['prepare']>
  readonly #get: ReturnType<SqliteDatabase['prepare']>
  readonly #scan: ReturnType<SqliteDatabase['prepare']>

  constructor(path: string, peerFolder: string) {
    const Database = createRequire(`${peerFolder}/`)('better-sqlite3') as new (path: string) => SqliteDatabase
    this.#database = new Database(path)
    this.#database.pragma('journal_mode = WAL')
    this.#database.pragma('synchronous = FULL')
    this.#database.pragma(`cache_size = -${CACHE_BYTES / 1024}`)
    this.#database.exec('create table if not exists kv (k blob primary key, v blob) without rowid')
    this.#put = this.#database.prepare(
      'insert into kv values (?, ?) on conflict (k) do update set v = excluded.v',
    )
    this.#get = this.#database.prepare('select v from kv where k = ?')
    this.#scan = this.#database.prepare('select v from kv where k >= ? and k < ? order by k')
  }

  async put(key: Buffer, value: Buffer): Promise<void> {
    this.#put.run(key, value)
  }

  async accept(keys: Iterable<Buffer>, value: Buffer): Promise<void> {
    let left = 0
    for (const key of keys) {
      if (left === 0) {
        this.#database.exec('begin')
        left = BATCH_WRITES
      }
      this.#put.run(key, value)
      if (--left === 0) this.#database.exec('commit')
    }
    if (left > 0) this.#database.exec('commit')
  }

  store(keys: Iterable<Buffer>, value: Buffer): Promise<void> {
    return this.accept(keys, value)
  }

  get(key: Buffer): Uint8Array | undefined {
    return (this.#get.get(key) as { v: Uint8Array } | undefined)?.v
  }

  scan(start: Buffer, end: Buffer): number {
    let bytes = 0
    for (const row of this.#scan.all(start, end)) bytes += (row as { v: Uint8Array }).v.length
    return bytes
  }

  async close(): Promise<void> {
    this.#database.close()
  }
}
