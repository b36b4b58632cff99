import type { Deadline, StoreView } from '../store/store-view.js'
import { FoundEntry } from './found-entry.js'
import type { ReadCache } from './read-cache.js'
import type { WriteBuffer } from './write-buffer.js'

/** What the sweep asks of its engine. */
export interface SweepHost {
  now(): number
  onExpired(key: () => Uint8Array): void
  /** Removes a key whose entry has expired, and reports it. */
  remove(bytes: Uint8Array, start: number, length: number): void
  /** Removes a key that the write buffer does not know, and that was reported already. */
  removeBelow(bytes: Uint8Array, start: number, length: number): void
  /** Some removals were added to the write buffer. It may wait for a commit, and the store has another view then. */
  afterPage(): void
  /** The newest view of the store. */
  view(): StoreView
  /** When a key was deleted, with its range, that the write buffer does not know; undefined: it was not. */
  deletedAtMs(key: Uint8Array): number | undefined
}

/** Entries that are looked at in one step. */
const PAGE_ENTRIES = 64
/**
 * Looks that each key pays for which comes into the write buffer. An entry in the store takes one, and another one where a commit
 * has replaced the view before it told of the removal; one that expires while it is being committed takes one or two there. So what
 * expires goes faster than anything can come.
 */
const LOOKS_PER_KEY = 4

/**
 * Removes expired entries wherever they are: in the write buffer, in what is being committed, in the store. A timer does so when
 * nobody writes; whoever writes pays for it, so that what is held stays in proportion to what is alive, at any rate of arrival.
 */
export class ExpirySweep {
  readonly #buffer: WriteBuffer
  readonly #cache: ReadCache
  readonly #host: SweepHost
  readonly #found: FoundEntry
  #view: StoreView | undefined
  /** What is due in the view and not looked at yet. */
  #due: Generator<readonly Deadline[], void, undefined> | undefined
  /** Everything in the view up to this time was looked at; -1: nothing. */
  #sweptUntilMs = -1
  #dueUntilMs = -1
  #looksOwed = 0

  constructor(buffer: WriteBuffer, cache: ReadCache, host: SweepHost) {
    this.#buffer = buffer
    this.#found = new FoundEntry(buffer.active.log)
    this.#cache = cache
    this.#host = host
  }

  /** A key has come into the active generation: it owes looks, which `pay` takes. */
  keyAdded(): void {
    this.#looksOwed += LOOKS_PER_KEY
  }

  /** Looks at as much as the keys that came have to pay for, in whole steps. */
  pay(): void {
    while (this.#looksOwed >= PAGE_ENTRIES) {
      this.#looksOwed -= PAGE_ENTRIES
      if (this.run(0)) this.#looksOwed %= PAGE_ENTRIES
    }
  }

  /** Until none is left or `performance.now()` passes `untilMs`; returns whether none is left. */
  run(untilMs: number): boolean {
    // One time for all: a key of the view that the buffer has, too, is left to the looks that come first. So what is due in the
    // view must have been due in them.
    const nowMs = this.#host.now()
    if (!this.#buffer.active.log.sweep(untilMs)) return false
    if (!this.#sweepFrozen(untilMs)) return false
    return this.#buffer.opaque || this.#sweepView(nowMs, untilMs)
  }

  /** What waits to be committed must not be changed: a tombstone above it removes it. */
  #sweepFrozen(untilMs: number): boolean {
    const buffer = this.#buffer
    const found = this.#found
    for (const { log } of buffer.frozen) {
      const { entries } = log
      const done = log.noteExpired(untilMs, (address) => {
        const bytes = entries.segmentBytes(address)
        const keyStart = entries.keyStart(address)
        const keyLength = entries.keyLength(address)
        const isNewest = buffer.find(bytes, keyStart, keyLength, found) && found.is(log, address)
        if (isNewest) this.#host.remove(bytes, keyStart, keyLength)
      })
      if (!done) return false
    }
    return true
  }

  #sweepView(nowMs: number, untilMs: number): boolean {
    for (;;) {
      const view = this.#newestView()
      if (view.firstDeadlineMs > nowMs) return true
      const page = this.#nextDue(view, nowMs)
      if (page === undefined) return true
      for (const { key } of page) {
        if (this.#buffer.find(key, 0, key.length, this.#found)) continue
        // The record counts: the index has no checksum.
        const expiresAtMs = view.expiryOf(key, 0, key.length)
        if (expiresAtMs === -Infinity || expiresAtMs > (this.#host.deletedAtMs(key) ?? nowMs)) continue
        this.#host.onExpired(() => key)
        this.#cache.remove(key, 0, key.length)
        this.#host.removeBelow(key, 0, key.length)
      }
      this.#host.afterPage()
      if (performance.now() >= untilMs) return false
    }
  }

  /** A view that a commit has replaced is closed, also in the midst of a sweep, which then begins anew with the next one. */
  #newestView(): StoreView {
    const view = this.#host.view()
    if (view !== this.#view) {
      this.#view = view
      this.#due = undefined
      this.#sweptUntilMs = -1
    }
    return view
  }

  /** The next entries that are due at `nowMs`; undefined: none is left. */
  #nextDue(view: StoreView, nowMs: number): readonly Deadline[] | undefined {
    for (;;) {
      if (this.#due === undefined) {
        if (nowMs <= this.#sweptUntilMs) return undefined
        this.#dueUntilMs = nowMs
        this.#due = view.duePages(this.#sweptUntilMs, nowMs, PAGE_ENTRIES)
      }
      const page = this.#due.next()
      if (page.done !== true) return page.value
      // An earlier slice may have begun it: more may be due by now.
      this.#sweptUntilMs = this.#dueUntilMs
      this.#due = undefined
    }
  }
}
