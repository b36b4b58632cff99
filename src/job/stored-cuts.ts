// Cuts of an engine that keeps its state itself: what the job keeps of itself is written in the same step as the state, after each
// slice of events. Whatever the engine has made durable when the process dies is so the state between two events.
//
//   ff ff 'job'             -> the cut, as JSON
//   ff ff 'out' number u64  -> an output that the sink does not have yet, as JSON
//   ff ff 'never'           nothing, ever
//
// (1) Outputs lie in the store until a record is durable that names what the sink has prepared of them: they are lost in no crash,
//     and given to the sink again where the record was not durable (the sink has then undone what it had).
// (2) What a record names as prepared is committed once the record is durable.

import {
  canStage,
  isSyncBackend,
  type StateBackend,
  type SyncStateBackend,
} from '../backend/state-backend.js'
import { NEVER_EXPIRES } from '../backend/validate.js'
import { WriteBatch } from '../backend/write-batch.js'
import { type CancelTimer, type Clock, setLongTimer } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import type { JsonValue } from '../base/json.js'
import { nextTurn, runThrough, type SlicedWork } from '../base/slices.js'
import { jsonTextOf } from '../checkpoint/format/json-value.js'
import { cutFromJson, cutToJson, type JobCut } from './cut.js'
import type { CutSubject, Cuts, RestoredCut } from './cuts.js'

const OWN = [0xff, 0xff]
export const RECORD_KEY: Uint8Array = Uint8Array.of(...OWN, ...Buffer.from('job'))
const OUTPUT_PREFIX: Uint8Array = Uint8Array.of(...OWN, ...Buffer.from('out'))
/** Nothing lies there, ever: whoever removes it changes nothing. */
const NEVER_KEY: Uint8Array = Uint8Array.of(...OWN, ...Buffer.from('never'))
/** So many outputs are given to the sink at once. */
const DELIVERED_AT_ONCE = 1_000
const STEP_OUTPUTS = 16
const FORGOTTEN_AT_ONCE = 1_024

export interface StoredCutsOptions {
  readonly backend: SyncStateBackend
  /** What `backend` is the face of, or the same. */
  readonly engine: StateBackend
  readonly jobName: string
  readonly intervalMs: number
  readonly clock: Clock
  /** Hands what was written to an asynchronous engine. Only while the mutex is held. */
  readonly commit?: () => Promise<void>
}

export class StoredCuts<Output> implements Cuts {
  readonly #options: StoredCutsOptions
  #subject: CutSubject | undefined
  #hasSink = false
  /** Outputs that the sink does not have, in order; the first one has the number `#first`. */
  readonly #waiting: Output[] = []
  #first = 0
  #cancelTimer: CancelTimer = () => {}
  #cycle: Promise<void> = Promise.resolve()
  #hasEnded = false
  /** Something was written since the last cycle. */
  #isDirty = false

  constructor(options: StoredCutsOptions) {
    this.#options = options
  }

  get outbox(): JobCut['outbox'] {
    return { first: this.#first, next: this.#first + this.#waiting.length }
  }

  /**
   * An engine looks whether it still has its store where it writes, and only there. What is written must not undo what the job has written since,
   * also where whoever has asked has given up waiting.
   */
  async checkOwner(): Promise<void> {
    const { engine } = this.#options
    if (!isSyncBackend(engine)) {
      await engine.write(new WriteBatch().delete(NEVER_KEY))
      return
    }
    // What has nothing new is not written: the record is, as it is, in the step that reads it.
    const record = engine.getSync(RECORD_KEY)
    if (record === undefined) engine.deleteSync(RECORD_KEY)
    else engine.putSync(RECORD_KEY, record, NEVER_EXPIRES)
    // What is beside this process writes later.
    await engine.flush()
  }

  async restore(): Promise<RestoredCut> {
    const { backend, jobName } = this.#options
    const record = await backend.get(RECORD_KEY)
    if (record === undefined) return { cut: undefined, isNewest: true }
    const cut = cutFromJson(parsed(record, `the record of job '${jobName}'`), jobName)
    this.#first = cut.outbox.first
    for (let number = cut.outbox.first; number < cut.outbox.next; number++) {
      const output = await backend.get(outputKey(number))
      if (output === undefined) {
        const reason = `it lacks output ${number}, which it names`
        throw new StateError('CORRUPTION', {
          what: `the outbox of job '${jobName}'`,
          reason,
          key: outputKey(number),
        })
      }
      this.#waiting.push(parsed(output, `output ${number}`) as Output)
    }
    return { cut, isNewest: true }
  }

  /** Outputs go from the outbox to a sink. */
  deliverToSink(): void {
    this.#hasSink = true
  }

  async begin(subject: CutSubject): Promise<void> {
    this.#subject = subject
    this.#isDirty = this.#waiting.length > 0
    this.#wait()
  }

  /** Puts the job's record, and outputs of this step, into the batch of the step. */
  record(put: (key: Uint8Array, value: Uint8Array) => void, outputs: readonly Output[]): void {
    runThrough(this.recordInSlices(put, outputs))
  }

  /** The same in steps, of which none grows with the number of outputs. */
  *recordInSlices(
    put: (key: Uint8Array, value: Uint8Array) => void,
    outputs: readonly Output[],
  ): SlicedWork<void> {
    let count = 0
    for (const output of outputs) {
      put(outputKey(this.outbox.next), encoded(output, 'an output'))
      this.#waiting.push(output)
      if (++count % STEP_OUTPUTS === 0) yield
    }
    put(RECORD_KEY, this.#encodedCut())
    this.#isDirty = true
  }

  async finish(): Promise<void> {
    this.#stop()
    await this.#cycle
    await this.#makeDurable()
    if (this.#waiting.length > 0) throw new Error('outputs are left in the outbox')
  }

  async abandon(): Promise<void> {
    this.#stop()
    await this.#cycle
  }

  #stop(): void {
    this.#hasEnded = true
    this.#cancelTimer()
  }

  #wait(): void {
    if (this.#hasEnded) return
    const { clock, intervalMs } = this.#options
    this.#cancelTimer = setLongTimer(clock, () => this.#fire(), intervalMs)
  }

  #fire(): void {
    this.#cycle = this.#makeDurable().then(
      () => this.#wait(),
      (error) => this.#subject?.onFailure(error),
    )
  }

  async #makeDurable(): Promise<void> {
    await this.#subject?.mutex.run(async () => this.#subject?.record())
    if (!this.#isDirty) return
    this.#isDirty = false
    const { next } = this.outbox
    await this.#flush()
    const subject = this.#subject
    subject?.noteCut()
    if (!this.#hasSink || subject === undefined || next === this.#first) return
    const count = next - this.#first
    for (let i = 0; i < count; i += DELIVERED_AT_ONCE) {
      await subject.deliver(this.#waiting.slice(i, Math.min(count, i + DELIVERED_AT_ONCE)))
    }
    const cut = await subject.mutex.run(async () => {
      await subject.record()
      await subject.prepare()
      const first = this.#first
      this.#waiting.splice(0, count)
      this.#first = next
      const taken = subject.capture()
      await this.#forget(first, next, encoded(cutToJson(taken), 'the record of the job'))
      await this.#options.commit?.()
      return taken
    })
    await this.#flush()
    await subject.onSafe(cut)
    this.#isDirty = true
  }

  async #flush(): Promise<void> {
    const { backend } = this.#options
    const flush = () => backend.flush()
    await (this.#subject?.waitFor('the engine to make its state durable', flush) ?? flush())
  }

  /** Removes outputs that the sink has, and puts the record that says so, as one step. */
  async #forget(first: number, next: number, record: Uint8Array): Promise<void> {
    const { backend } = this.#options
    const batch = new WriteBatch()
    if (!canStage(backend)) {
      batch.deleteRange({ gte: outputKey(first), lt: outputKey(next) })
      batch.put(RECORD_KEY, record, NEVER_EXPIRES)
      backend.writeSync(batch)
      return
    }
    const stage = backend.stage()
    try {
      for (let from = first; from < next; from += FORGOTTEN_AT_ONCE) {
        if (from > first) await nextTurn()
        const until = Math.min(next, from + FORGOTTEN_AT_ONCE)
        for (let number = from; number < until; number++) batch.delete(outputKey(number))
        stage.add(batch)
        batch.clear()
      }
      stage.add(batch.put(RECORD_KEY, record, NEVER_EXPIRES))
      stage.apply()
    } finally {
      stage.drop()
    }
  }

  #encodedCut(): Uint8Array {
    if (this.#subject === undefined) throw new Error('the job has not begun')
    return encoded(cutToJson(this.#subject.capture()), 'the record of the job')
  }
}

function outputKey(number: number): Uint8Array {
  const key = new Uint8Array(OUTPUT_PREFIX.length + 8)
  key.set(OUTPUT_PREFIX)
  const view = new DataView(key.buffer)
  view.setUint32(OUTPUT_PREFIX.length, Math.floor(number / 2 ** 32))
  view.setUint32(OUTPUT_PREFIX.length + 4, number >>> 0)
  return key
}

const encoded = (value: unknown, what: string): Uint8Array => Buffer.from(jsonTextOf(value, what))

function parsed(bytes: Uint8Array, what: string): JsonValue {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as JsonValue
  } catch (error) {
    throw new StateError('CORRUPTION', { what, reason: String(error) }, { cause: error })
  }
}
