// An asynchronous engine for tests, with a server that outlives it: a request may fail before it has done anything, or its answer be lost.

import type { EngineBatch, RemoteEngine } from '../../src/backend/facade/engines.js'
import { RemoteBackend } from '../../src/backend/facade/remote-backend.js'
import { isInInterval, type KeyInterval } from '../../src/backend/scan-range.js'
import type { Entry } from '../../src/backend/types.js'
import { OperationKind } from '../../src/backend/write-batch.js'
import { equalBytes } from '../../src/base/bytes.js'
import { ForwardClock, systemClock } from '../../src/base/clock.js'
import { StateError } from '../../src/base/errors.js'

const nameOf = (key: Uint8Array): string => Buffer.from(key).toString('latin1')
const onItsWay = () => new Promise((resolve) => setImmediate(resolve))

/** What the other end holds. */
export class RemoteServer {
  readonly rows = new Map<string, Uint8Array>()
  reads = 0
  writes = 0
  /** Most bytes of values that a batch has put. */
  largestBatch = 0
  /** What becomes of the next writes: one after the other. */
  readonly faults: ('refused' | 'answer lost' | undefined)[] = []

  inside(interval: Pick<KeyInterval, 'from' | 'until'>): Entry[] {
    return [...this.rows]
      .map(([name, value]): Entry => [new Uint8Array(Buffer.from(name, 'latin1')), value.slice()])
      .filter(([key]) => isInInterval(key, interval))
      .sort(([left], [right]) => Buffer.compare(left, right))
  }

  write({ cursor }: EngineBatch): void {
    this.writes++
    const fault = this.faults.shift()
    if (fault === 'refused') throw unreachable()
    cursor.rewind()
    while (cursor.next()) {
      if (cursor.kind !== OperationKind.EXPECT_VALUE && cursor.kind !== OperationKind.EXPECT_ABSENT) continue
      const held = this.rows.get(nameOf(cursor.key()))
      const isAsExpected =
        cursor.kind === OperationKind.EXPECT_ABSENT
          ? held === undefined
          : held !== undefined && equalBytes(held, cursor.value())
      if (!isAsExpected) throw new StateError('CONCURRENT_MODIFICATION', { key: cursor.key().slice() })
    }
    cursor.rewind()
    let bytes = 0
    while (cursor.next()) {
      if (cursor.kind === OperationKind.PUT) bytes += cursor.valueLength
      if (cursor.kind === OperationKind.PUT) this.rows.set(nameOf(cursor.key()), cursor.value().slice())
      if (cursor.kind === OperationKind.DELETE) this.rows.delete(nameOf(cursor.key()))
      if (cursor.kind === OperationKind.DELETE_RANGE) {
        for (const [key] of this.inside(cursor.interval())) this.rows.delete(nameOf(key))
      }
    }
    this.largestBatch = Math.max(this.largestBatch, bytes)
    if (fault === 'answer lost') throw unreachable()
  }
}

const unreachable = () =>
  new StateError('STORAGE_ERROR', { storage: 'toy', operation: 'write', reason: 'the connection is lost' })

class ToyEngine implements RemoteEngine {
  readonly name = 'toy'
  readonly supports
  readonly clock = new ForwardClock(systemClock)
  readonly ttlMs = Infinity
  readonly expired = 0
  readonly #server: RemoteServer

  constructor(server: RemoteServer, durable: boolean) {
    this.#server = server
    this.supports = Object.freeze({
      sync: false,
      ttl: false,
      orderedScan: 'paged' as const,
      snapshots: false,
      changes: false,
      sharing: false,
      replace: false,
      inPlace: false,
      durable,
    })
  }

  get entries(): number {
    return this.#server.rows.size
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    await onItsWay()
    this.#server.reads++
    return keys.map((key) => this.#server.rows.get(nameOf(key))?.slice())
  }

  async has(key: Uint8Array): Promise<boolean> {
    await onItsWay()
    return this.#server.rows.has(nameOf(key))
  }

  async expiredAtMs(): Promise<undefined> {}

  async write(batch: EngineBatch): Promise<void> {
    await onItsWay()
    this.#server.write(batch)
    await onItsWay()
  }

  async deleteRange(interval: KeyInterval): Promise<void> {
    await onItsWay()
    for (const [key] of this.#server.inside(interval)) this.#server.rows.delete(nameOf(key))
  }

  async clear(): Promise<void> {
    this.#server.rows.clear()
  }

  async *scan(interval: KeyInterval): AsyncIterable<Entry> {
    await onItsWay()
    const entries = this.#server.inside(interval)
    yield* interval.reverse ? entries.reverse() : entries
  }

  async count(): Promise<number> {
    return this.entries
  }

  async flush(): Promise<void> {
    await onItsWay()
  }

  async close(): Promise<void> {}
}

export class ToyBackend extends RemoteBackend {
  constructor(server: RemoteServer, { durable = true }: { readonly durable?: boolean } = {}) {
    super(new ToyEngine(server, durable))
  }
}
