// The log before the tree, on the main thread: what somebody waits for becomes durable here, and reaches the tree later, with everything
// else.
//
// (1) A group holds the latest version of each key that has changed since the group before, in generations that the tree does not hold yet.
//     So the tree as of any commit, with all groups that it does not count as its own laid over it, is the content at the last group.
// (2) Groups are cut between steps: a batch is applied in one, so it is never divided. None is cut while a range is being removed, while
//     commits are paused, or after one has failed.
// (3) One group is written at a time. Who comes meanwhile waits for the next one, together.
// (4) What cannot be logged waits for the tree, as without a log: a group that is too large, and any where both files are full of what the tree
//     does not hold yet. So the log is bounded, and with it what is to be replayed.

import { availableParallelism } from 'node:os'
import { isStateError, type StateError } from '../../base/errors.js'
import type { Generation } from '../buffer/generation.js'
import type { WriteBuffer } from '../buffer/write-buffer.js'
import type { WriterPort } from '../commit/writer-port.js'
import type { LmdbLogState } from '../types.js'
import {
  encodeEnd,
  encodeGroup,
  FIRST_GROUP_AT,
  GROUP_HEADER_BYTES,
  type GroupPart,
  groupBytes,
} from './log-format.js'
import type { LogMark } from './log-identity.js'
import type { LogRequest } from './log-thread.js'

/** A group of a larger part of a file goes to the tree at once, which is what writes it best. */
const LARGEST_GROUP_SHARE = 1 / 4

/** The thread wakes while a group is made; where there is one processor it would keep that from being made. */
const ANNOUNCES = availableParallelism() > 1

export interface GroupLogHost {
  readonly id: string
  /** Of each file. */
  readonly fileBytes: number
  now(): number
  dataPath(): string
  /** Commits that the tree holds for certain. */
  commits(): number
  /** Whether what is there now may become durable by itself. */
  mayCut(): boolean
  /** Resolves when everything written before is in the tree. */
  commitAll(): Promise<void>
  /** Whether a log may be begun; there is another one until the tree holds it. */
  mayBegin(): boolean
  /** The files are there: from now on whoever opens the store must read them. */
  begun(): Promise<void>
  /** `memory`: where the groups are that are to be appended. */
  newPort(memory: SharedArrayBuffer): WriterPort<LogRequest>
  /** There can be no log: from now on the tree alone makes things durable. */
  unavailable(error: Error): void
  failed(error: StateError): void
}

/** Those that wait for a group. */
interface Waiting {
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class GroupLog {
  readonly #buffer: WriteBuffer
  readonly #host: GroupLogHost
  #port: WriterPort<LogRequest> | undefined
  /** Where the group is that is being written. */
  #memory: Buffer<ArrayBufferLike> = Buffer.alloc(0)
  #state: LmdbLogState | 'closed' = 'none'
  #beginning: Promise<void> | undefined
  #sequence = 0
  #sequenceInTree = 0
  #number = 1
  #position = FIRST_GROUP_AT
  /** Of the other file. */
  #lastInOther = 0
  #next: Waiting | undefined
  #isScheduled = false
  #writing: Promise<void> | undefined

  constructor(buffer: WriteBuffer, host: GroupLogHost) {
    this.#buffer = buffer
    this.#host = host
  }

  get state(): LmdbLogState {
    return this.#state === 'closed' ? 'none' : this.#state
  }

  /** Up to where a commit that begins now holds the log; undefined: there is none. */
  get mark(): LogMark | undefined {
    return this.#state === 'none' ? undefined : { id: this.#host.id, sequence: this.#sequence }
  }

  /** Resolves when everything written before is on stable storage; undefined: it cannot be logged now. */
  flush(): Promise<void> | undefined {
    if (this.#state === 'none' && this.#host.mayBegin()) this.#beginning = this.#begin()
    if (this.#state !== 'open') return undefined
    this.#next ??= newWaiting()
    const { promise } = this.#next
    this.#schedule()
    return promise
  }

  /** Somebody is about to hear that a group is durable. */
  get isWriting(): boolean {
    return this.#writing !== undefined
  }

  /** Resolves when no group is being written, and the log is not being begun. */
  async idle(): Promise<void> {
    await this.#beginning
    while (this.#writing !== undefined) await this.#writing
  }

  /** The tree holds what the log has up to here. */
  inTree({ id, sequence }: LogMark): void {
    if (id === this.#host.id) this.#sequenceInTree = Math.max(this.#sequenceInTree, sequence)
  }

  async close(): Promise<void> {
    await this.idle()
    this.#state = 'closed'
    await this.#port?.close()
  }

  async #begin(): Promise<void> {
    this.#state = 'beginning'
    try {
      const memory = new SharedArrayBuffer(Math.floor(this.#host.fileBytes * LARGEST_GROUP_SHARE))
      this.#memory = Buffer.from(memory)
      this.#port = this.#host.newPort(memory)
      await this.#port.ask({ kind: 'open' })
    } catch (error) {
      // Where its files cannot be made, for lack of space for instance, the tree alone makes things durable.
      this.#giveUp(error as Error)
      return
    }
    try {
      await this.#host.begun()
      this.#state = 'open'
    } catch (error) {
      this.#giveUp(error as Error)
      // Then nothing has changed, and the next commit will say so. Otherwise it is not known whether the store says that it has a log.
      if (!isStateError(error, 'FENCED')) this.#host.failed(error as StateError)
    }
  }

  #giveUp(error: Error): void {
    this.#state = 'unavailable'
    this.#host.unavailable(error)
  }

  /** Writes of one turn of the event loop share a group. */
  #schedule(): void {
    if (this.#isScheduled || this.#writing !== undefined) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#cut()
    })
  }

  #cut(): void {
    const waiting = this.#next
    if (waiting === undefined || this.#writing !== undefined) return
    this.#next = undefined
    try {
      this.#cutFor(waiting)
    } catch (error) {
      // What was cut in part cannot be told from what was not.
      this.#host.failed(error as StateError)
      waiting.reject(error as Error)
    }
  }

  #cutFor(waiting: Waiting): void {
    const host = this.#host
    if (!host.mayCut()) {
      this.#leaveToTree(waiting)
      return
    }
    if (ANNOUNCES) this.#port?.announce()
    const { parts, cleared, generations } = this.#unlogged()
    if (parts.length === 0 && !cleared) {
      this.#write({ kind: 'check', dataPath: host.dataPath() }, waiting)
      return
    }
    const bytes = groupBytes(parts)
    if (bytes > this.#memory.length || !this.#makeRoom(bytes)) {
      this.#leaveToTree(waiting)
      return
    }
    const content = { parts, cleared, clockMs: host.now(), commits: host.commits() }
    encodeGroup(this.#memory.subarray(0, bytes), ++this.#sequence, content)
    this.#position += bytes
    this.#write({ kind: 'append', bytes, dataPath: host.dataPath() }, waiting)
    for (const generation of generations) generation.noteLogged(generation === this.#buffer.active)
  }

  #write(request: LogRequest, waiting: Waiting): void {
    const written = newWaiting()
    this.#writing = written.promise
    this.#port?.request(request, (error) => {
      this.#writing = undefined
      if (error === undefined) waiting.resolve()
      else {
        this.#host.failed(error)
        waiting.reject(error)
      }
      written.resolve()
      this.#cut()
    })
  }

  #leaveToTree({ resolve, reject }: Waiting): void {
    this.#host.commitAll().then(resolve, reject)
  }

  /** What no group and no commit has made durable. */
  #unlogged(): {
    readonly parts: readonly GroupPart[]
    readonly cleared: boolean
    readonly generations: readonly Generation[]
  } {
    const parts: GroupPart[] = []
    const generations: Generation[] = []
    let cleared = false
    for (const generation of [this.#buffer.active, ...this.#buffer.frozen]) {
      const addresses = generation.unlogged()
      if (addresses.length > 0) parts.unshift({ entries: generation.log.entries, addresses })
      generations.push(generation)
      if (generation.cleared) {
        cleared = !generation.isClearLogged
        break
      }
    }
    return { parts, cleared, generations }
  }

  /** Whether a group of so many bytes fits; goes on in the other file where that is needed and may be. */
  #makeRoom(bytes: number): boolean {
    if (this.#position + bytes + GROUP_HEADER_BYTES <= this.#host.fileBytes) return true
    if (this.#lastInOther > this.#sequenceInTree) return false
    this.#lastInOther = this.#sequence
    const firstSequence = this.#sequence + 1
    const end = encodeEnd(firstSequence)
    this.#position = FIRST_GROUP_AT
    const change: LogRequest = {
      kind: 'change',
      end,
      number: ++this.#number,
      firstSequence,
      dataPath: this.#host.dataPath(),
    }
    this.#port?.request(change, (error) => {
      if (error !== undefined) this.#host.failed(error)
    })
    return true
  }
}

function newWaiting(): Waiting {
  let resolve: () => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<void>((resolved, rejected) => {
    resolve = resolved
    reject = rejected
  })
  return { promise, resolve, reject }
}
