// Reads of what is stored, past the writers of the parts.

import { isInInterval, type KeyInterval, type KeyStretch } from '../backend/scan-range.js'
import { compareBytes } from '../base/bytes.js'
import type { ForwardClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import { invalidArgument } from '../base/options.js'
import { lexBounds, partsOf } from './batch-arguments.js'
import type { Command } from './clients.js'
import { deadlineOf, isStored, type PartKeys, partOf } from './layout.js'
import type { NearCache } from './near-cache.js'
import { COUNT, HEAD, PAGE } from './scripts.js'
import type { RedisSettings } from './settings.js'
import type { StoreServer } from './store-server.js'

const PAGE_ENTRIES = 500
const SCANNED_AT_ONCE = '1000'

export class StoredReads {
  readonly #server: StoreServer
  readonly #settings: RedisSettings
  readonly #clock: ForwardClock
  readonly #keysOf: (part: number) => PartKeys

  constructor(
    server: StoreServer,
    settings: RedisSettings,
    clock: ForwardClock,
    keysOf: (part: number) => PartKeys,
  ) {
    this.#server = server
    this.#settings = settings
    this.#clock = clock
    this.#keysOf = keysOf
  }

  /** Values as they are stored, also of what has expired; without a cache all are asked for. */
  async many(keys: readonly Uint8Array[], cache: NearCache | undefined): Promise<(Uint8Array | undefined)[]> {
    const { keyGroups } = this.#settings
    const found: (Uint8Array | undefined)[] = Array.from({ length: keys.length })
    const byPart = new Map<number, number[]>()
    for (const [i, key] of keys.entries()) {
      const known = cache?.get(key)
      if (known !== undefined) {
        found[i] = known.stored
        continue
      }
      const number = partOf(key, keyGroups)
      const places = byPart.get(number)
      if (places === undefined) byPart.set(number, [i])
      else places.push(i)
    }
    const mark = cache?.readMark ?? -1
    const asked = [...byPart.values()].reduce((sum, { length }) => sum + length, 0)
    const isMixed = cache !== undefined && asked > 0 && asked < keys.length
    // What is at hand may be from before a write, and what is asked for from behind it: all of it is asked for then.
    if (isMixed && mark < 0) return await this.many(keys, undefined)
    await Promise.all(
      [...byPart].map(async ([number, places]) => {
        const own = places.map((i) => keys[i] as Uint8Array)
        const values = await this.ofPart(number, own)
        for (const [j, i] of places.entries()) {
          const value = values[j] ?? undefined
          found[i] = value
          cache?.fill(mark, own[j] as Uint8Array, value)
        }
      }),
    )
    if (isMixed && cache.readMark !== mark) return await this.many(keys, undefined)
    return found
  }

  /** Has read the keys when it returns its promise. */
  async ofPart(part: number, wanted: readonly Uint8Array[]): Promise<(Buffer | null)[]> {
    const { data, meta } = this.#keysOf(part)
    const clock: Command | undefined = this.#settings.shared ? ['HGET', meta, 'clock'] : undefined
    const read = this.#server.connection.read(data, wanted, clock)
    const [values, time = null] = await this.#server.ask('read', () => read.send())
    if (time !== null) this.#clock.advanceTo(Number(String(time)))
    const answer = values as (Buffer | null)[]
    const wrong = answer.findIndex((stored) => stored !== null && !isStored(stored))
    if (wrong >= 0) this.#assertStored(answer[wrong] ?? null, read.fieldAt(wrong))
    return answer
  }

  /** When the entry expires; `undefined`: there is none. */
  async deadline(key: Uint8Array): Promise<number | undefined> {
    const part = partOf(key, this.#settings.keyGroups)
    await this.catchUp(part)
    const { data } = this.#keysOf(part)
    const stored = (await this.#server.run('read', HEAD, [data], [bufferOf(key)])) as Buffer | null
    this.#assertStored(stored, key)
    return stored === null ? undefined : deadlineOf(stored)
  }

  /** A reader's time is never behind the store's; an owner that writes alone has set that itself. */
  async catchUp(part: number): Promise<void> {
    if (!this.#settings.shared) return
    const clock = await this.#server.command('read', ['HGET', this.#keysOf(part).meta, 'clock'])
    if (clock !== null) this.#clock.advanceTo(Number(String(clock)))
  }

  /** How many entries of a part are alive. */
  async count(part: number): Promise<number> {
    const { data, meta, due } = this.#keysOf(part)
    const answer = await this.#server.run('count', COUNT, [data, meta, due], [String(this.#clock.now())])
    const [count, clock] = String(answer).split(' ').map(Number)
    this.#clock.advanceTo(clock ?? 0)
    return count ?? 0
  }

  /** Entries of a part as they are stored, in the order of their keys, page by page. */
  pages(part: number, interval: KeyInterval): AsyncIterable<[Uint8Array, Buffer][]> {
    return this.#settings.ordered ? this.#pagesInOrder(part, interval) : this.#pagesSorted(part, interval)
  }

  /** The keys of a range, in no order. */
  async keysIn(range: KeyStretch): Promise<Uint8Array[]> {
    const parts = partsOf(range, this.#settings.keyGroups)
    return (await Promise.all(parts.map((part) => this.#keysInPart(part, range)))).flat()
  }

  async *#pagesInOrder(part: number, interval: KeyInterval): AsyncIterable<[Uint8Array, Buffer][]> {
    let [min, max]: [Buffer | string, Buffer | string] = lexBounds(interval)
    const size = Math.min(interval.limit, PAGE_ENTRIES)
    for (;;) {
      const page = await this.#page(part, [interval.reverse ? 'xel' : 'lex', min, max, String(size)])
      const last = page.at(-1)?.[0]
      if (last === undefined) return
      yield page.filter(isPresent)
      const bound = Buffer.concat([Buffer.from('('), last])
      if (interval.reverse) max = bound
      else min = bound
    }
  }

  async *#pagesSorted(part: number, interval: KeyInterval): AsyncIterable<[Uint8Array, Buffer][]> {
    const found = await this.#keysInPart(part, interval)
    found.sort(interval.reverse ? (left, right) => compareBytes(right, left) : compareBytes)
    for (let from = 0; from < found.length; ) {
      const size = Math.min(interval.limit, PAGE_ENTRIES)
      const page = await this.#page(part, ['keys', ...found.slice(from, from + size).map(bufferOf)])
      if (page.length === 0) return
      from += page.length
      yield page.filter(isPresent)
    }
  }

  async #page(part: number, args: Command): Promise<[Uint8Array, Buffer | null][]> {
    const { data, order } = this.#keysOf(part)
    const flat = (await this.#server.run('scan', PAGE, [data, order], args)) as (Buffer | null)[]
    const page: [Uint8Array, Buffer | null][] = []
    for (let i = 0; i < flat.length; i += 2) {
      const key = new Uint8Array(flat[i] as Buffer)
      const stored = flat[i + 1] ?? null
      this.#assertStored(stored, key)
      page.push([key, stored])
    }
    return page
  }

  async #keysInPart(part: number, range: KeyStretch): Promise<Uint8Array[]> {
    const { data } = this.#keysOf(part)
    const { maxSortedKeys } = this.#settings
    const found = new Map<string, Uint8Array>()
    let position = '0'
    do {
      const answer = await this.#server.command('scan', ['HSCAN', data, position, 'COUNT', SCANNED_AT_ONCE])
      const [next, flat] = answer as [Buffer | string, Buffer[]]
      position = String(next)
      for (let i = 0; i < flat.length; i += 2) {
        const key = flat[i] as Buffer
        if (isInInterval(key, range)) found.set(key.toString('latin1'), new Uint8Array(key))
      }
      if (found.size > maxSortedKeys)
        throw invalidArgument(
          'range',
          `holds more than ${maxSortedKeys} keys (maxSortedKeys), which a store without 'ordered: true' does not sort`,
        )
    } while (position !== '0')
    return [...found.values()]
  }

  #assertStored(stored: Buffer | null, key: Uint8Array): void {
    if (stored === null || isStored(stored)) return
    const reason = 'the value on the server is not one of this layout'
    throw new StateError('CORRUPTION', { what: this.#server.place, reason, key: new Uint8Array(key) })
  }
}

const isPresent = (entry: [Uint8Array, Buffer | null]): entry is [Uint8Array, Buffer] => entry[1] !== null

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
