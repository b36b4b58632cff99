// Cuts of an engine that keeps its state itself: what the job keeps of itself is written in the same step as the state, after each
// slice of events. Whatever the engine has made durable when the process dies is so the state between two events.
//
//   ff ff 'job'             -> the cut, as JSON (recorded-cut.ts)
//   ff ff 'outs' number u64 -> outputs that the sink does not have yet, from this number on: a list, as JSON
//   ff ff 'out' number u64  -> the same of one output, without a list; read only, as earlier versions have left it
//   ff ff 'never'           nothing, ever
//
// (1) Outputs lie in the store until a record is durable that names what the sink has prepared of them: they are lost in no crash,
//     and given to the sink again where the record was not durable (the sink has then undone what it had).
// (2) What a record names as prepared is committed once the record is durable.
// (3) Windows that have fired are removed behind the outputs that they gave, in the step that takes those out of the outbox: many of them
//     would keep the sink waiting (decision 120).

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
import { nextTurn, runThrough, type SlicedWork } from '../base/slices.js'
import { jsonTextOf } from '../checkpoint/format/json-value.js'
import { cutToJson, type JobCut } from './cut.js'
import type { CutSubject, Cuts, RestoredCut } from './cuts.js'
import { cutInStore, parsedJson, RECORD_KEY } from './recorded-cut.js'

const OWN = [0xff, 0xff]
const OUTPUTS_PREFIX: Uint8Array = Uint8Array.of(...OWN, ...Buffer.from('outs'))
const OUTPUT_PREFIX: Uint8Array = Uint8Array.of(...OWN, ...Buffer.from('out'))
/** Nothing lies there, ever: whoever removes it changes nothing. */
const NEVER_KEY: Uint8Array = Uint8Array.of(...OWN, ...Buffer.from('never'))
/** So many outputs are given to the sink at once. */
const DELIVERED_AT_ONCE = 1_000
const STEP_OUTPUTS = 16
/** Where more than one lie in an entry, their texts have no more characters than this: an engine takes one large value where it takes hundreds of small ones. */
const ENTRY_CHARACTERS = 8 * 1024
const FORGOTTEN_AT_ONCE = 1_024
/**
 * A cut begins a little before the interval is over since the last one began: a store that commits by itself after as long a time would
 * do so right before every cut otherwise, and write most of its pages twice (decision 128).
 */
const AHEAD_SHARE = 1 / 20
const MAX_AHEAD_MS = 50

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

/** An entry of the outbox. */
interface OutboxEntry {
  readonly key: Uint8Array
  /** Behind the last one of its outputs. */
  readonly next: number
}

export class StoredCuts<Output> implements Cuts {
  readonly #options: StoredCutsOptions
  #subject: CutSubject | undefined
  #hasSink = false
  /** Outputs that the sink does not have, in order; the first one has the number `#first`. */
  readonly #waiting: Output[] = []
  #first = 0
  /** Where they lie. */
  readonly #entries: OutboxEntry[] = []
  #cancelTimer: CancelTimer = () => {}
  #cycle: Promise<void> = Promise.resolve()
  #hasEnded = false
  /** Something was written since the last cycle. */
  #isDirty = false
  /** What making the last cut durable took. */
  #durableTookMs = 0

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
    const cut = await cutInStore(backend, jobName)
    if (cut === undefined) return { cut, isNewest: true }
    this.#first = cut.outbox.first
    while (this.outbox.next < cut.outbox.next) await this.#restoreOutputs(this.outbox.next, cut.outbox.next)
    return { cut, isNewest: true }
  }

  /** Takes up the entry whose first output has this number, and none from `until` on. */
  async #restoreOutputs(number: number, until: number): Promise<void> {
    const { backend, jobName } = this.#options
    const what = `the outbox of job '${jobName}'`
    const key = keyOf(OUTPUTS_PREFIX, number)
    const stored = await backend.get(key)
    if (stored !== undefined) {
      const outputs = parsedJson(stored, `output ${number}`)
      if (!Array.isArray(outputs) || outputs.length === 0 || number + outputs.length > until) {
        const reason = `what lies at output ${number} are not those up to ${until}`
        throw new StateError('CORRUPTION', { what, reason, key })
      }
      this.#hold(key, outputs as readonly Output[])
      return
    }
    const singleKey = keyOf(OUTPUT_PREFIX, number)
    const single = await backend.get(singleKey)
    if (single === undefined) {
      throw new StateError('CORRUPTION', { what, reason: `it lacks output ${number}, which it names`, key })
    }
    this.#hold(singleKey, [parsedJson(single, `output ${number}`) as Output])
  }

  /** Outputs that lie in an entry wait for the sink. */
  #hold(key: Uint8Array, outputs: readonly Output[]): void {
    for (const output of outputs) this.#waiting.push(output)
    this.#entries.push({ key, next: this.outbox.next })
  }

  /** Outputs go from the outbox to a sink. */
  deliverToSink(): void {
    this.#hasSink = true
  }

  /** There is no sink: what waits for one would be given to nobody. */
  requireEmptyOutbox(): void {
    const count = this.#waiting.length
    if (count === 0) return
    throw new StateError('INCOMPATIBLE', {
      what: `job '${this.#options.jobName}' without a sink`,
      found: `${count} outputs that wait in the store for one`,
      supported: 'a sink, until it has these',
    })
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
    let texts: string[] = []
    let characters = 0
    const putUntil = (end: number) => {
      const key = keyOf(OUTPUTS_PREFIX, this.outbox.next)
      put(key, Buffer.from(`[${texts.join(',')}]`))
      this.#hold(key, outputs.slice(end - texts.length, end))
      texts = []
      characters = 0
    }
    for (const [i, output] of outputs.entries()) {
      const text = jsonTextOf(output, 'an output')
      if (texts.length > 0 && characters + text.length > ENTRY_CHARACTERS) putUntil(i)
      texts.push(text)
      characters += text.length
      if ((i + 1) % STEP_OUTPUTS === 0) yield
    }
    if (texts.length > 0) putUntil(outputs.length)
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
    const aheadMs = Math.min(intervalMs * AHEAD_SHARE, MAX_AHEAD_MS)
    const delayMs = Math.max(0, intervalMs - aheadMs - this.#durableTookMs)
    this.#cancelTimer = setLongTimer(clock, () => this.#fire(), delayMs)
  }

  #fire(): void {
    this.#cycle = this.#makeDurable().then(
      () => this.#wait(),
      (error) => this.#subject?.onFailure(error),
    )
  }

  async #makeDurable(): Promise<void> {
    const subject = this.#subject
    const startedMs = this.#options.clock.now()
    // Behind whole steps: what one that is under way puts out is not durable with them.
    const begun = await subject?.mutex.run(async () => {
      await subject.record({ outputsFirst: this.#hasSink })
      return { next: this.outbox.next, positions: subject.capture().positions }
    })
    if (!this.#isDirty) {
      // What took long was a cut long ago: the next one would begin at once, again and again.
      this.#durableTookMs = 0
      return
    }
    this.#isDirty = false
    await this.#flush()
    this.#durableTookMs = Math.max(0, this.#options.clock.now() - startedMs)
    subject?.noteCut()
    if (subject === undefined || begun === undefined) return
    const { next, positions } = begun
    if (!this.#hasSink || next === this.#first) {
      await subject.tellSource(positions)
      return
    }
    const count = next - this.#first
    for (let i = 0; i < count; i += DELIVERED_AT_ONCE) {
      await subject.deliver(this.#waiting.slice(i, Math.min(count, i + DELIVERED_AT_ONCE)))
    }
    const cut = await subject.mutex.run(async () => {
      await subject.record()
      await subject.prepare()
      this.#waiting.splice(0, count)
      this.#first = next
      const taken = subject.capture()
      await this.#forget(next, encoded(cutToJson(taken), 'the record of the job'))
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

  /** Removes the outputs before `next`, which the sink has, and puts the record that says so, as one step. */
  async #forget(next: number, record: Uint8Array): Promise<void> {
    const { backend } = this.#options
    const batch = new WriteBatch()
    const kept = this.#entries.findIndex((entry) => entry.next > next)
    const keys = this.#entries.splice(0, kept === -1 ? Infinity : kept).map(({ key }) => key)
    if (!canStage(backend)) {
      for (const key of keys) batch.delete(key)
      backend.writeSync(batch.put(RECORD_KEY, record, NEVER_EXPIRES))
      return
    }
    const stage = backend.stage()
    try {
      for (let from = 0; from < keys.length; from += FORGOTTEN_AT_ONCE) {
        if (from > 0) await nextTurn()
        for (const key of keys.slice(from, from + FORGOTTEN_AT_ONCE)) batch.delete(key)
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

function keyOf(prefix: Uint8Array, number: number): Uint8Array {
  const key = new Uint8Array(prefix.length + 8)
  key.set(prefix)
  const view = new DataView(key.buffer)
  view.setUint32(prefix.length, Math.floor(number / 2 ** 32))
  view.setUint32(prefix.length + 4, number >>> 0)
  return key
}

const encoded = (value: unknown, what: string): Uint8Array => Buffer.from(jsonTextOf(value, what))
