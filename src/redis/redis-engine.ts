// The contract, spoken to a server: batches go through the writers of their parts, reads go past them.

import type { EngineBatch, RemoteEngine } from '../backend/facade/engines.js'
import type { KeyInterval } from '../backend/scan-range.js'
import type { BackendSupport, Entry } from '../backend/types.js'
import { WriteBatch } from '../backend/write-batch.js'
import { copyBytes } from '../base/bytes.js'
import { type CancelTimer, ForwardClock, setLongTimer, settlesWithin } from '../base/clock.js'
import { isStateError, reasonOf, StateError } from '../base/errors.js'
import { invalidArgument } from '../base/options.js'
import { isErrorLike } from '../base/shapes.js'
import { Outage } from '../remote/outage.js'
import { mayPass } from '../remote/redis-client.js'
import { withoutSecrets } from '../remote/secrets.js'
import {
  deletedRanges,
  MAX_STORED_VALUE_BYTES,
  type PartArguments,
  partArguments,
  partsOf,
} from './batch-arguments.js'
import type { Command } from './clients.js'
import { deadlineOf, type PartKeys, partCount, partKeys, valueIn, valueOf } from './layout.js'
import { NearCache } from './near-cache.js'
import { assertFits, assertStillFits, claimPart, nearestOf } from './opening.js'
import { PartWriter } from './part-writer.js'
import { APPLY } from './scripts.js'
import type { RedisSettings } from './settings.js'
import { StoreServer } from './store-server.js'
import { StoredReads } from './stored-reads.js'

/** A server that is back is found after this many milliseconds at the latest. */
const LONGEST_PAUSE_MS = 250
/** Expired entries are removed at most so often, where no write does it in passing. */
const SWEEP_EVERY_MS = 1_000
/** How long the numbers of one of several writers are kept, and after what silence it takes new ones. */
const WRITES_KEPT_MS = 86_400_000
const SILENT_MS = WRITES_KEPT_MS / 2

/** A batch that changes nothing: it shows whether all before it is there still, and removes what has expired. */
const NOTHING: Omit<PartArguments, 'part'> = { expected: [], runs: [], bytes: 0, entries: 0, grows: false }

interface Part {
  readonly number: number
  keys: PartKeys
  readonly writer: PartWriter
  entries: number
  /** Of the entry that expires next; Infinity: none does. */
  nearestMs: number
  lastWriteMs: number
  /** Writes that were begun, and how many of them a flush has made sure of. */
  writes: number
  flushed: number
}

export class RedisEngine implements RemoteEngine {
  readonly name = 'redis'
  readonly readsKeysAtOnce = true
  readonly supports: BackendSupport
  readonly clock: ForwardClock
  readonly ttlMs: number
  readonly #settings: RedisSettings
  readonly #server: StoreServer
  readonly #reads: StoredReads
  readonly #outages: Outage[] = []
  readonly #parts: Part[] = []
  readonly #cache: NearCache | undefined
  #token = ''
  readonly #opener: string
  #expired = 0
  /** Writes whose keys are still looked for: those behind them wait. */
  #held: Promise<unknown> | undefined
  #cancelSweep: CancelTimer = () => {}
  #isClosed = false

  private constructor(settings: RedisSettings) {
    const { client, clock, ttlMs, name, replicas, fsync, nearCacheBytes } = settings
    this.#settings = settings
    this.clock = new ForwardClock(clock)
    this.ttlMs = ttlMs
    this.#opener = settings.writerId()
    this.#cache = nearCacheBytes === 0 ? undefined : new NearCache(nearCacheBytes)
    const place = `Redis store ${name}`
    this.#server = new StoreServer(place, client, this.#newOutage(place))
    this.#reads = new StoredReads(this.#server, settings, this.clock, (number) => this.#part(number).keys)
    this.supports = Object.freeze({
      sync: false,
      ttl: true,
      orderedScan: 'paged' as const,
      snapshots: false,
      changes: false,
      sharing: false,
      replace: false,
      inPlace: false,
      durable: replicas > 0 || fsync !== undefined,
      maxValueBytes: MAX_STORED_VALUE_BYTES,
    })
  }

  static async open(settings: RedisSettings): Promise<RedisEngine> {
    const engine = new RedisEngine(settings)
    try {
      await engine.#open()
      return engine
    } catch (error) {
      await engine.close()
      throw error
    }
  }

  get entries(): number {
    return this.#parts.reduce((sum, { entries }) => sum + entries, 0)
  }

  get expired(): number {
    return this.#expired
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const cache = this.#cache
    if (cache !== undefined) {
      // What the cache has stays its own.
      const stored = await this.#reads.many(keys.map(copyBytes), cache)
      return this.#aliveOf(stored, valueOf)
    }
    if (keys.length === 0) return []
    const { keyGroups } = this.#settings
    const stored = keyGroups === 0 ? this.#reads.ofPart(0, keys) : this.#reads.many(keys, undefined)
    // Nobody else has what the client has received: the values stay where they lie there.
    return this.#aliveOf(await stored, valueIn)
  }

  #aliveOf(
    stored: readonly (Uint8Array | null | undefined)[],
    take: (stored: Uint8Array) => Uint8Array,
  ): (Uint8Array | undefined)[] {
    const nowMs = this.clock.now()
    return stored.map((bytes) =>
      bytes === undefined || bytes === null || deadlineOf(bytes) <= nowMs ? undefined : take(bytes),
    )
  }

  async has(key: Uint8Array): Promise<boolean> {
    const deadline = await this.#deadline(key)
    return deadline !== undefined && deadline > this.clock.now()
  }

  async expiredAtMs(key: Uint8Array): Promise<number | undefined> {
    const deadline = await this.#deadline(key)
    return deadline !== undefined && deadline <= this.clock.now() ? deadline : undefined
  }

  async #deadline(key: Uint8Array): Promise<number | undefined> {
    const known = this.#cache?.get(key)
    if (known === undefined) return await this.#reads.deadline(key)
    return known.stored === undefined ? undefined : deadlineOf(known.stored)
  }

  async write(batch: EngineBatch): Promise<void> {
    const ranges = this.#settings.ordered ? [] : deletedRanges(batch.cursor)
    const mustFind = ranges.some(({ from, until }) => from.length > 0 || until !== undefined)
    if (this.#held === undefined && !mustFind) {
      await this.#apply(this.#argumentsOf(batch))
      return
    }
    await this.#behindHeld(async () => {
      if (!mustFind) return { done: this.#apply(this.#argumentsOf(batch)) }
      // Behind everything that was written before, as the server would do it.
      await Promise.all(this.#parts.map(({ writer }) => writer.idle()))
      const found = await Promise.all(ranges.map((range) => this.#reads.keysIn(range)))
      return { done: this.#apply(this.#argumentsOf(batch, found)) }
    })
  }

  async deleteRange(interval: KeyInterval): Promise<void> {
    const { from, until } = interval
    const batch = new WriteBatch().deleteRange(until === undefined ? { gte: from } : { gte: from, lt: until })
    await this.write({ cursor: batch.cursor(), expiry: () => Infinity })
  }

  async clear(): Promise<void> {
    this.#cache?.clear()
    const emptied = (part: Part) => this.#send(part, { ...NOTHING, runs: ['c'] })
    const empty = () => Promise.all(this.#parts.map(emptied))
    await (this.#held === undefined ? empty() : this.#behindHeld(async () => ({ done: empty() })))
  }

  async *scan(interval: KeyInterval): AsyncIterable<Entry> {
    const numbers = partsOf(interval, this.#settings.keyGroups)
    if (interval.reverse) numbers.reverse()
    await this.#reads.catchUp(numbers[0] ?? 0)
    const nowMs = this.clock.now()
    for (const number of numbers) {
      for await (const page of this.#reads.pages(number, interval)) {
        for (const [key, stored] of page) if (deadlineOf(stored) > nowMs) yield [key, valueOf(stored)]
      }
    }
  }

  async count(): Promise<number> {
    const counts = await Promise.all(this.#parts.map(({ number }) => this.#reads.count(number)))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  async flush(): Promise<void> {
    await this.#held
    const written = this.#parts.filter(({ writer }) => writer.hasWritten)
    await Promise.all(written.map((part) => this.#flushPart(part)))
  }

  /** What is under way has its time to end, and to be where `flush` would have it: if it is not, this rejects, with everything released. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#server.close()
    this.#cancelSweep()
    const { closeWithinMs } = this.#settings
    const ended = this.#flushedAtEnd()
    const hasEnded = await settlesWithin(ended, closeWithinMs)
    const isUnsure = this.#unflushed().length > 0
    this.#release()
    if (hasEnded) await ended
    else ended.catch(() => {})
    if (!isUnsure) return
    const reason = `what was written is not where 'flush' would have it within ${closeWithinMs} ms`
    throw new StateError('STORAGE_ERROR', { storage: this.#server.place, operation: 'close', reason })
  }

  async #flushedAtEnd(): Promise<void> {
    const held = this.#held
    await this.#flushedSoFar()
    // Looking for keys may take longer than there is time: what was acknowledged does not wait for it.
    if (held === undefined) return
    await held
    await this.#flushedSoFar()
  }

  async #flushedSoFar(): Promise<void> {
    await Promise.all(this.#parts.map(({ writer }) => writer.idle()))
    await Promise.all(this.#unflushed().map((part) => this.#flushPart(part)))
  }

  /** What was acknowledged of these parts may not be where `flush` would have it. Where writes have failed for good, whoever wrote was told. */
  #unflushed(): Part[] {
    if (this.#settings.eachWrite || this.#replicated().length === 0) return []
    return this.#parts.filter(({ writer, writes, flushed }) => !writer.isBroken && writes > flushed)
  }

  async #flushPart(part: Part): Promise<void> {
    const { writes } = part
    await this.#send(part, NOTHING, this.#replicated())
    part.flushed = Math.max(part.flushed, writes)
  }

  #release(): void {
    const closed = new StateError('CLOSED', { component: 'redis backend' })
    for (const { writer } of this.#parts) writer.break(closed)
    for (const outage of this.#outages) outage.close()
    this.#cache?.clear()
  }

  /** Begins a write behind those whose keys are still looked for; what comes next is held until it is on its way. */
  async #behindHeld(begin: () => Promise<{ readonly done: Promise<unknown> }>): Promise<void> {
    const begun = (this.#held ?? Promise.resolve()).then(begin)
    const letGo = () => {
      if (this.#held === held) this.#held = undefined
    }
    const held: Promise<void> = begun.then(letGo, letGo)
    this.#held = held
    await (await begun).done
  }

  #newOutage(storage: string): Outage {
    const { outage: options } = this.#settings
    const outage = new Outage({ storage, passes, longestPauseMs: LONGEST_PAUSE_MS, ...options })
    this.#outages.push(outage)
    return outage
  }

  async #open(): Promise<void> {
    const { name, keyGroups, shared, writerId } = this.#settings
    for (let number = 0; number < partCount(keyGroups); number++) {
      this.#parts.push({
        number,
        keys: partKeys(name, number, keyGroups, shared ? writerId() : ''),
        writer: new PartWriter({
          place: this.#server.place,
          outage: this.#newOutage(this.#server.place),
          passes,
          refusal: (error) => this.#refusal(number, error),
        }),
        entries: 0,
        nearestMs: Infinity,
        lastWriteMs: 0,
        writes: 0,
        flushed: 0,
      })
    }
    await assertFits(this.#server, this.#settings, this.#part(0).keys)
    // The first part gives the token: of two that open at once, the same one has all of them in the end.
    const token = shared ? 'shared' : ''
    this.#token = await this.#claim(this.#part(0), token)
    await assertStillFits(this.#server, this.#settings, this.#part(0).keys, this.#opener)
    await Promise.all(this.#parts.slice(1).map((part) => this.#claim(part, this.#token)))
    if (shared) this.#token = ''
    this.#armSweep()
  }

  async #claim(part: Part, token: string): Promise<string> {
    const claim = { token, opener: this.#opener, nowMs: () => this.clock.now() }
    const claimed = await claimPart(this.#server, this.#settings, part.keys, claim)
    this.clock.advanceTo(claimed.clockMs)
    part.entries = claimed.entries
    part.nearestMs = claimed.nearestMs
    return claimed.token
  }

  #part(number: number): Part {
    const part = this.#parts[number]
    if (part === undefined) throw new Error(`there is no part ${number}`)
    return part
  }

  #argumentsOf(batch: EngineBatch, found?: readonly (readonly Uint8Array[])[]): PartArguments[] {
    const { keyGroups, atomic, maxBatchEntries, maxBatchBytes } = this.#settings
    const all = partArguments(batch, keyGroups, found)
    const where = keyGroups === 0 ? '' : ' in one key group'
    for (const { entries, bytes } of all) {
      if (entries > maxBatchEntries)
        throw invalidArgument(
          'batch',
          `has ${entries} entries${where}; maxBatchEntries is ${maxBatchEntries}`,
        )
      if (bytes > maxBatchBytes)
        throw invalidArgument('batch', `has ${bytes} bytes${where}; maxBatchBytes is ${maxBatchBytes}`)
    }
    if (all.length > 1 && atomic)
      throw invalidArgument(
        'batch',
        `touches ${all.length} key groups, which a server cannot change in one step: write them one by one, or open with 'atomic: false'`,
      )
    return all
  }

  async #apply(all: readonly PartArguments[]): Promise<void> {
    const written = await Promise.allSettled(all.map((args) => this.#send(this.#part(args.part), args)))
    for (const result of written) if (result.status === 'rejected') throw result.reason
  }

  async #send(
    part: Part,
    args: Omit<PartArguments, 'part'>,
    behind: readonly Command[] = this.#settings.eachWrite ? this.#replicated() : [],
  ): Promise<void> {
    const { ordered, shared, writerId, name, keyGroups } = this.#settings
    const nowMs = this.clock.now()
    if (shared && part.writer.isIdle && part.writer.hasWritten && nowMs - part.lastWriteMs > SILENT_MS) {
      part.keys = partKeys(name, part.number, keyGroups, writerId())
      part.writer.restart()
    }
    part.lastWriteMs = nowMs
    if (args.runs.length > 0) part.writes++
    const { data, meta, due, order, writes } = part.keys
    const keys = [data, meta, due, order, writes]
    const { expected, runs, grows } = args
    const lifetime = shared ? String(WRITES_KEPT_MS) : '0'
    const tail = [ordered ? 'ordered' : '', lifetime, String(expected.length / 2), ...expected, ...runs]
    const cache = this.#cache
    let attempts = 0
    cache?.writeBegins()
    try {
      const answer = await part.writer.write({
        bytes: args.bytes,
        send: async (number, skips) => {
          attempts++
          const effect = skips ? 'skip' : grows ? 'grows' : 'shrinks'
          const head = [this.#token, String(number), String(nowMs), effect]
          const answers = await this.#server.connection.run(APPLY, keys, [...head, ...tail], behind)
          const text = String(answers[0])
          if (/^(OK|EXPECT|SKIPPED)/.test(text)) this.#assertReplicated(behind, answers.slice(1))
          return text
        },
      })
      this.#applied(part, answer, args, nowMs)
      // What is answered at a later attempt may have been applied before what was answered already.
      if (attempts > 1) cache?.clear()
    } catch (error) {
      // What has become of it is open, or somebody else writes.
      if (isStateError(error, 'FENCED') || isStateError(error, 'STORAGE_ERROR')) cache?.clear()
      throw error
    } finally {
      cache?.writeEnds()
    }
  }

  #applied(
    part: Part,
    answer: string,
    { expected, runs }: Omit<PartArguments, 'part'>,
    sentMs: number,
  ): void {
    const [word, first, entries, clock, nearest] = answer.split(' ')
    if (word === 'EXPECT') {
      const key = expected[2 * Number(first) - 2] as Buffer
      throw new StateError('CONCURRENT_MODIFICATION', { key: new Uint8Array(key) })
    }
    this.#expired += Number(first)
    part.entries = Number(entries)
    part.nearestMs = nearestOf(nearest)
    this.clock.advanceTo(Number(clock))
    if (part.nearestMs !== Infinity) this.#armSweep()
    // The server's time was ahead: deadlines are others than were sent.
    if (Number(clock) > sentMs) this.#cache?.clear()
    else if (this.#cache !== undefined) writeThrough(this.#cache, runs)
  }

  /** What is sent behind a write, so that it is answered when the write is where it is to be. */
  #replicated(): Command[] {
    const { replicas, fsync, replicateWithinMs } = this.#settings
    if (fsync === 'waited') return [['WAITAOF', '1', String(replicas), String(replicateWithinMs)]]
    return replicas > 0 ? [['WAIT', String(replicas), String(replicateWithinMs)]] : []
  }

  #assertReplicated(behind: readonly Command[], answers: readonly unknown[]): void {
    if (behind.length === 0) return
    const { replicas, fsync } = this.#settings
    const [answer] = answers
    const [local, reached] = fsync === 'waited' ? (answer as [number, number]) : [1, Number(answer)]
    // Passes by itself when a replica is back: the batch is sent again, and answered again.
    if (local < 1) throw new Error('the write is not on the disk of its server in time')
    if (reached < replicas)
      throw new Error(`the write is on ${reached} replicas, not on ${replicas}, in time`)
  }

  /** What the caller of a batch that the server has refused is told. */
  async #refusal(number: number, error: unknown): Promise<unknown> {
    const cause = withoutSecrets(error)
    if (!/^OOM\b/.test(cause.message)) {
      const details = { storage: this.#server.place, operation: 'write', reason: reasonOf(cause) }
      return new StateError('STORAGE_ERROR', details, { cause })
    }
    try {
      const memory = await this.#server.memory(this.#part(number).keys)
      const used = Number(/^used_memory:(\d+)/m.exec(memory)?.[1] ?? 0)
      const capacity = Number(/^maxmemory:(\d+)/m.exec(memory)?.[1] ?? 0)
      return new StateError('BACKEND_FULL', { used, capacity }, { cause })
    } catch (failure) {
      return failure
    }
  }

  /** Removes what has expired although nobody writes. */
  #armSweep(): void {
    this.#cancelSweep()
    if (this.#isClosed) return
    const nearestMs = Math.min(...this.#parts.map((part) => part.nearestMs))
    const delayMs = Math.max(nearestMs - this.clock.now(), SWEEP_EVERY_MS)
    this.#cancelSweep = setLongTimer(this.#settings.clock, () => void this.#sweep(), delayMs)
  }

  async #sweep(): Promise<void> {
    const nowMs = this.clock.now()
    const isDue = (part: Part) => part.nearestMs <= nowMs && part.writer.isIdle
    // What fails is told to whoever writes next; the time comes again.
    await Promise.allSettled(this.#parts.filter(isDue).map((part) => this.#send(part, NOTHING, [])))
    this.#armSweep()
  }
}

/** Whether an error of the client or the server may pass by itself. */
function passes(error: Error): boolean {
  return mayPass(error) || !isErrorLike(error)
}

/** What a batch has changed, as its arguments tell. */
function writeThrough(cache: NearCache, runs: Command): void {
  for (let at = 0; at < runs.length; ) {
    const kind = runs[at]
    if (kind === 'c' || kind === 'r') {
      cache.clear()
      at += kind === 'c' ? 1 : 3
      continue
    }
    const count = Number(runs[at + 1])
    const step = kind === 'd' ? 1 : 2
    for (let i = 0; i < count; i++) {
      const key = runs[at + 2 + i * step] as Buffer
      cache.set(key, kind === 'd' ? undefined : (runs[at + 3 + i * step] as Buffer))
    }
    at += 2 + count * step
  }
}
