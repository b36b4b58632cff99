// Batches of one part, in their order, each exactly once.
//
// (1) Batches have numbers without gaps, which they keep however often they are sent; the server answers one that it has applied again.
// (2) From the oldest batch that has no answer to the latest there are at most so many as the server remembers answers of.
// (3) After an outage what has no answer is sent again, in order, once everything that was under way has come to an end.
// (4) A batch that the server refuses leaves its number to one that does nothing: who comes late, of an attempt that was given up, is not applied.
// (5) After a failure that does not pass nothing is written any more: nobody knows what was applied.

import { StateError } from '../base/errors.js'
import { isErrorLike } from '../base/shapes.js'
import type { Outage } from '../remote/outage.js'
import { REMEMBERED_ANSWERS } from './layout.js'

/** Bytes under way at once, unless one batch is larger. */
const BYTES_UNDER_WAY = 8 * 1_048_576

/** What a batch asks for. */
export interface PartBatch {
  readonly bytes: number
  /** Sends it; `skips`: something without effect in its place. */
  send(number: number, skips: boolean): Promise<string>
}

interface Pending extends PartBatch {
  number: number
  /** What the server has refused it with: its number is to be skipped. */
  refused: unknown
  /** Whether an attempt is on its way. */
  isOnItsWay: boolean
  failed: unknown
  resolve(answer: string): void
  reject(error: unknown): void
}

export interface PartWriterSettings {
  /** Names the place in errors. */
  readonly place: string
  readonly outage: Outage
  /** Whether an error may pass by itself. */
  readonly passes: (error: Error) => boolean
  /** Makes an error of what the server has refused a batch with. */
  readonly refusal: (error: unknown) => Promise<unknown>
}

/** What a server answers of a store from which somebody else has removed, or to which somebody has added something. */
export function damaged(place: string, answer: string): StateError<'CORRUPTION'> {
  const [noted = '', found = ''] = answer.slice('DAMAGED '.length).split(', ')
  const reason = `its hash and sorted sets were written by somebody else: their sizes are ${found}, and were ${noted}. Bring them back, or delete all keys of the store to begin anew`
  return new StateError('CORRUPTION', { what: place, reason })
}

export class PartWriter {
  readonly #settings: PartWriterSettings
  readonly #waiting: Pending[] = []
  #underWay: Pending[] = []
  #bytesUnderWay = 0
  #next = 1
  #acknowledged = 0
  #isRecovering = false
  #broken: StateError | undefined
  #attemptEnded: () => void = () => {}
  #whenIdle: (() => void)[] = []

  constructor(settings: PartWriterSettings) {
    this.#settings = settings
  }

  /** Whether nothing is waiting or under way. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#underWay.length === 0
  }

  /** Whether nothing is written any more. */
  get isBroken(): boolean {
    return this.#broken !== undefined
  }

  /** Whether something was written since the numbers began. */
  get hasWritten(): boolean {
    return this.#next > 1
  }

  /** Numbers begin anew: another writer goes on. Only while nothing is under way. */
  restart(): void {
    this.#next = 1
    this.#acknowledged = 0
  }

  /** The server's answer. */
  write(batch: PartBatch): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#broken !== undefined) {
        reject(this.#broken)
        return
      }
      const { bytes, send } = batch
      const pending = { number: 0, refused: undefined, isOnItsWay: false, failed: undefined }
      this.#waiting.push({ ...pending, bytes, send: send.bind(batch), resolve, reject })
      this.#pump()
    })
  }

  /** Resolves when nothing is under way any more. */
  idle(): Promise<void> {
    if (this.isIdle) return Promise.resolve()
    return new Promise((resolve) => {
      this.#whenIdle.push(resolve)
    })
  }

  /** Refuses everything from now on, what is under way included. */
  break(error: StateError): void {
    if (this.#broken !== undefined) return
    this.#broken = error
    const pending = [...this.#underWay, ...this.#waiting]
    this.#underWay = []
    this.#waiting.length = 0
    for (const { reject } of pending) reject(error)
    this.#tellIdle()
  }

  #pump(): void {
    for (;;) {
      const oldest = this.#underWay[0]?.number ?? this.#next
      if (this.#isRecovering || this.#next - oldest >= REMEMBERED_ANSWERS) return
      const [next] = this.#waiting
      const isFull = this.#underWay.length > 0 && this.#bytesUnderWay + (next?.bytes ?? 0) > BYTES_UNDER_WAY
      if (next === undefined || isFull) return
      this.#waiting.shift()
      next.number = this.#next++
      this.#underWay.push(next)
      this.#bytesUnderWay += next.bytes
      this.#send(next)
    }
  }

  #send(pending: Pending): void {
    pending.isOnItsWay = true
    pending.failed = undefined
    this.#settings.outage
      .once('write', () => pending.send(pending.number, pending.refused !== undefined))
      .then(
        (answer) => this.#answered(pending, answer),
        (error: unknown) => this.#failed(pending, error),
      )
      .finally(() => this.#attemptEnded())
  }

  #answered(pending: Pending, answer: string): void {
    pending.isOnItsWay = false
    if (this.#broken !== undefined) return
    const [word, detail] = answer.split(' ')
    if (word === 'FENCED') {
      const owner = detail === '' ? 'nobody: its content is gone' : `the owner with token ${detail}`
      this.break(new StateError('FENCED', { resource: this.#settings.place, owner }))
    } else if (word === 'DAMAGED') {
      this.break(damaged(this.#settings.place, answer))
    } else if (word === 'LATE' || (word === 'AHEAD' && Number(detail) < this.#acknowledged)) {
      this.break(this.#storageError('the server has lost writes that it had acknowledged'))
    } else if (word === 'AHEAD') {
      this.#goAgain()
    } else {
      this.#settings.outage.passed()
      this.#settle(pending, answer)
    }
  }

  #settle(pending: Pending, answer: string): void {
    this.#underWay = this.#underWay.filter((each) => each !== pending)
    this.#bytesUnderWay -= pending.bytes
    this.#acknowledged = Math.max(this.#acknowledged, pending.number)
    if (answer === 'SKIPPED') pending.reject(pending.refused)
    else pending.resolve(answer)
    this.#pump()
    if (this.isIdle) this.#tellIdle()
  }

  async #failed(pending: Pending, error: unknown): Promise<void> {
    if (this.#broken !== undefined) return
    const { passes, refusal } = this.#settings
    const isRefused = isErrorLike(error) && !passes(error) && pending.refused === undefined
    if (isRefused) pending.refused = await refusal(error)
    else pending.failed = error
    pending.isOnItsWay = false
    this.#goAgain()
  }

  #goAgain(): void {
    if (this.#isRecovering) return
    this.#isRecovering = true
    void this.#recover()
  }

  /** Waits until nothing is on its way, pauses where there is an outage, and sends again what has no answer. */
  async #recover(): Promise<void> {
    while (this.#underWay.some(({ isOnItsWay }) => isOnItsWay)) {
      await new Promise<void>((resolve) => {
        this.#attemptEnded = resolve
      })
    }
    const [first] = this.#underWay
    try {
      if (first?.failed !== undefined) await this.#settings.outage.failed('write', first.failed)
    } catch (error) {
      this.break(error as StateError)
    }
    this.#isRecovering = false
    for (const pending of this.#underWay) this.#send(pending)
    this.#pump()
  }

  #storageError(reason: string): StateError {
    return new StateError('STORAGE_ERROR', { storage: this.#settings.place, operation: 'write', reason })
  }

  #tellIdle(): void {
    for (const tell of this.#whenIdle.splice(0)) tell()
  }
}
