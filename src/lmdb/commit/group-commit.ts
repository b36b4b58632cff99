// Commits: one at a time, each of everything written before it began.
//
// (1) A commit begins when `dueKeys` or `flushBytes` are waiting, when somebody waits for durability, or when
//     the time has come; what is written meanwhile is the next one. What was sealed waits in the same way: it is sealed for
//     a snapshot, whose reader should not have to compete with a commit at once.
// (2) Writers that outrun the disk are held back at `holdBytes` and `holdKeys`.
// (3) No commit begins while a reader in another thread is about to begin its transaction, or while paused.
//     Nor does one while a range is being removed: the store would hold a part of it.
// (4) After the first failure nothing is committed any more, and whoever waits is told.

import { setPatientTimer, systemClock } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import type { Generation } from '../buffer/generation.js'
import type { RangeRemovals } from '../buffer/range-removals.js'
import type { WriteBuffer } from '../buffer/write-buffer.js'
import type { GroupLog } from '../log/group-log.js'
import type { LogMark } from '../log/log-identity.js'
import type { ReaderGate } from '../share/reader-gate.js'
import type { CommitResult } from './store-writer.js'
import type { WriterPort } from './writer-port.js'

/** So many sealed generations are due whatever they hold: each is one more place for a read to look in. */
const SEALED_AT_MOST = 2

/** While a reader is about to begin, this many times as much may wait as otherwise; then it is given up. */
const GATED_HOLD = 2

export interface GroupCommitOptions {
  readonly dueKeys: () => number
  readonly flushBytes: number
  readonly holdKeys: () => number
  readonly holdBytes: number
  readonly now: () => number
  readonly removals: Pick<RangeRemovals, 'isPending' | 'done' | 'pay' | 'finish'>
  /** How long a reader may take to begin, while this thread can hear that it has. */
  readonly gateTimeoutMs: number
  /** What is waited for becomes durable here, where it can; undefined: by commits alone. */
  readonly log: Pick<GroupLog, 'idle'> | undefined
  /** Up to where the store holds the log with a commit of all that was written so far. */
  readonly mark: () => LogMark | undefined
  /** A commit has begun, and nothing waits for the next one. */
  readonly onAllBegun: () => void
  /** A generation is on stable storage: the view of the store must be switched before this returns. */
  readonly onCommitted: (generation: Generation, result: CommitResult, tookMs: number) => void
  readonly onFailed: (error: StateError) => void
  /** A write has stopped this thread for so long. */
  readonly onHeld: (forMs: number) => void
}

export class GroupCommit {
  readonly #buffer: WriteBuffer
  readonly #writer: WriterPort
  readonly #options: GroupCommitOptions
  #inFlight: Generation | undefined
  /** Frozen and not begun to be committed, oldest first. */
  readonly #sealed: Generation[] = []
  #failure: StateError | undefined
  #scheduled = false
  #gates: readonly ReaderGate[] = []
  #paused: 'no' | 'yielding' | 'firmly' = 'no'

  constructor(buffer: WriteBuffer, writer: WriterPort, options: GroupCommitOptions) {
    this.#buffer = buffer
    this.#writer = writer
    this.#options = options
  }

  /** The first failure: after it, nothing that is written can become durable. */
  get failure(): StateError | undefined {
    return this.#failure
  }

  /** The content is as it was written, and nothing keeps it from becoming durable by itself. */
  get mayLog(): boolean {
    return this.#failure === undefined && this.#paused === 'no' && !this.#isRemoving
  }

  /** Resolves when the store holds everything written before, on stable storage. */
  flushToStore(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#isRemoving) return this.#options.removals.done.then(() => this.flushToStore())
    const { active } = this.#buffer
    const newest = active.isEmpty ? (this.#sealed.at(-1) ?? this.#inFlight) : active
    const committed = newest?.committed() ?? Promise.resolve()
    this.#schedule()
    return committed
  }

  /** Begins a commit if one is due, and holds the caller's thread back where the disk cannot keep up. */
  afterWrite(): void {
    if (!this.#isDue()) return
    if (this.#isRemoving && this.#mustHold(1)) this.#options.removals.pay()
    if (this.#paused === 'yielding' && this.#mustHold(1)) this.resume()
    this.begin()
    if (this.#inFlight !== undefined && this.#mustHold(1)) this.#hold()
    if (this.#gated() && this.#mustHold(GATED_HOLD)) this.#revokeGates()
  }

  #hold(): void {
    const startedAtMs = performance.now()
    while (this.#inFlight !== undefined && this.#mustHold(1)) this.#writer.waitSync()
    this.#options.onHeld(performance.now() - startedAtMs)
  }

  /** For writers that can wait: resolves when there is room again; undefined: there is. */
  room(): Promise<void> | undefined {
    if (!this.#mustHold(0.5)) return undefined
    // A failure is reported to writes; here only the waiting ends.
    if (this.#isRemoving) return this.#options.removals.done.catch(() => {})
    if (this.#inFlight !== undefined) return this.#inFlight.committed().catch(() => {})
    return this.#gated() ? this.#gates[0]?.opened : undefined
  }

  /**
   * Stops this thread until everything written is committed, for a write that must know how much room is left: readers that
   * have not begun are given up, and a yielding pause ends. `afterEach` is called after each commit. False where something
   * waits all the same, because a pause does not yield any more.
   */
  drainSync(afterEach: () => void): boolean {
    this.#options.removals.finish()
    if (this.#hasUncommitted()) {
      if (this.#paused === 'yielding') this.resume()
      if (this.#gated()) this.#revokeGates()
      this.begin()
    }
    while (this.#failure === undefined && this.#inFlight !== undefined) {
      this.#writer.waitSync()
      afterEach()
      this.begin()
    }
    if (this.#failure !== undefined) throw this.#failure
    return !this.#hasUncommitted()
  }

  /**
   * The time has come for what has been written: its commit begins now or, where one is under way, gated or paused, as
   * soon as it can.
   */
  beginInTime(): void {
    const { active } = this.#buffer
    const newest = active.isEmpty && !this.#isRemoving ? this.#sealed.at(-1) : active
    if (newest !== undefined) newest.due = true
    this.begin()
  }

  /** Begins a commit of what has been written, unless one is under way. */
  begin(): void {
    if (this.#inFlight !== undefined || this.#failure !== undefined || this.#paused !== 'no') return
    if (this.#isRemoving) return
    if (!this.#hasUncommitted() || this.#gated()) return
    const generation = this.#sealed.shift() ?? this.#freeze()
    this.#inFlight = generation
    if (!this.#hasUncommitted()) this.#options.onAllBegun()
    const startedAt = performance.now()
    this.#writer.request(
      {
        kind: 'commit',
        segments: generation.log.share(),
        cleared: generation.cleared,
        clockMs: this.#options.now(),
        log: generation.mark,
      },
      (error, result) => {
        this.#inFlight = undefined
        if (error !== undefined || result === undefined) {
          this.fail(error ?? new StateError('STORAGE_ERROR', NO_ANSWER), generation)
          return
        }
        try {
          this.#options.onCommitted(generation, result, performance.now() - startedAt)
        } catch (failure) {
          this.fail(failure as StateError, generation)
          return
        }
        generation.noteStored()
        generation.settle()
        this.beginDue()
      },
    )
  }

  /** What was written so far is committed by itself: nothing that is written later is in the same generation. */
  seal(): void {
    this.#options.removals.finish()
    if (this.#buffer.active.isEmpty) return
    this.#sealed.push(this.#freeze())
    if (this.#sealed.length >= SEALED_AT_MOST) this.#schedule()
  }

  /** What was written so far, and then a generation that was filled aside, are committed each by itself, as soon as that can be. */
  adopt(generation: Generation): void {
    this.#options.removals.finish()
    const frozen = this.#buffer.adopt(generation)
    for (const each of frozen) each.mark = this.#options.mark()
    this.#sealed.push(...frozen)
    generation.due = true
    this.begin()
  }

  #freeze(): Generation {
    const frozen = this.#buffer.freeze()
    frozen.mark = this.#options.mark()
    return frozen
  }

  /** Forgets what was sealed: it is no longer part of the buffer. */
  forgetSealed(): void {
    this.#sealed.length = 0
  }

  /** Commits wait until the gate is open. */
  waitFor(gate: ReaderGate): void {
    this.#gates = [...this.#gates, gate]
    void this.#beginAfter(gate)
  }

  /**
   * While paused, no commit begins; resolves when none is under way. A yielding pause ends by itself when writers would have
   * to wait for it.
   */
  async pause({ yielding }: { readonly yielding: boolean }): Promise<void> {
    this.#paused = yielding ? 'yielding' : 'firmly'
    await Promise.all(this.#gates.map(({ opened }) => opened))
    await this.#inFlight?.committed().catch(() => {})
    await this.#options.log?.idle()
    if (this.#failure !== undefined) throw this.#failure
  }

  /** From now on the pause does not yield any more; false where it has ended. */
  holdPause(): boolean {
    if (this.#paused === 'no') return false
    this.#paused = 'firmly'
    return true
  }

  resume(): void {
    this.#paused = 'no'
    this.beginDue()
  }

  /** Begins a commit if one is due, or waited for: something that held it up is over. */
  beginDue(): void {
    const { active } = this.#buffer
    if ([active, ...this.#sealed].some(({ awaited, due }) => awaited || due) || this.#isDue()) this.begin()
  }

  fail(error: StateError, generation?: Generation): void {
    if (this.#failure === undefined) {
      this.#failure = error
      this.#options.onFailed(error)
    }
    for (const each of [generation, ...this.#sealed, this.#buffer.active]) each?.settle(this.#failure)
  }

  /** Writes of one turn of the event loop share a commit. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.begin()
    })
  }

  #gated(): boolean {
    if (this.#gates.length > 0) this.#gates = this.#gates.filter(({ isOpen }) => !isOpen)
    return this.#gates.length > 0
  }

  /** A writer does not let the event loop run, without which no reader begins: waiting for one would be in vain. */
  #revokeGates(): void {
    for (const gate of this.#gates) gate.revoke()
    this.begin()
  }

  async #beginAfter(gate: ReaderGate): Promise<void> {
    const cancelTimer = setPatientTimer(systemClock, () => gate.revoke(), this.#options.gateTimeoutMs)
    await gate.opened
    cancelTimer()
    this.beginDue()
  }

  get #isRemoving(): boolean {
    return this.#options.removals.isPending
  }

  #isDue(): boolean {
    const { dueKeys, flushBytes } = this.#options
    return this.#hasWaiting(dueKeys(), flushBytes) || this.#sealed.length >= SEALED_AT_MOST
  }

  /** Something waits for its commit to begin. */
  #hasUncommitted(): boolean {
    return this.#sealed.length > 0 || !this.#buffer.active.isEmpty
  }

  #mustHold(share: number): boolean {
    const { holdKeys, holdBytes } = this.#options
    return this.#hasWaiting(holdKeys() * share, holdBytes * share)
  }

  /** So many keys or bytes wait for their commit to begin. */
  #hasWaiting(keys: number, bytes: number): boolean {
    let { keys: waitingKeys } = this.#buffer.active
    let waitingBytes = this.#buffer.active.log.usedBytes
    for (const { keys: sealedKeys, log } of this.#sealed) {
      waitingKeys += sealedKeys
      waitingBytes += log.usedBytes
    }
    return waitingKeys >= keys || waitingBytes >= bytes
  }
}

const NO_ANSWER = { storage: 'lmdb', operation: 'commit', reason: 'the writer thread gave no result' }
