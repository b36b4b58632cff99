// Events in, changes of state and outputs out.
//
// (1) A slice of events is processed in one synchronous step; behind it the job stands between two events (J1).
// (2) Where an event may be bad and the job goes on, or the engine keeps its state itself, a slice is one batch of the store: what it
//     wrote, the job's own record included, is there wholly or not at all. Otherwise writes go straight to the engine: where one
//     fails, the job ends, and goes on from its last cut.

import { NEVER_EXPIRES } from '../backend/validate.js'
import type { ForwardClock } from '../base/clock.js'
import { isStateError, reasonOf, StateError } from '../base/errors.js'
import { isErrorLike } from '../base/shapes.js'
import type { SlicedWork } from '../base/slices.js'
import { ByteWriter } from '../state/codec/bytes.js'
import { describeValue } from '../state/codec/codec-error.js'
import type { CurrentKey } from '../state/key/current-key.js'
import { GivenKey } from '../state/key/stored-key.js'
import type { StateSchema } from '../state/schema/define-state.js'
import { type BoundStates, hostOf, type StateStore } from '../state/store.js'
import type { BadTimestamp, PartitionTime, SourceTime } from '../window/time/source-time.js'
import { requireDone } from './at-once.js'
import type { FetchedBackend } from './fetched-backend.js'
import type { BadEvent, JobOptions, KeyOf, ProcessContext } from './job-options.js'
import { type FiringTimers, type JobTimers, noTimers } from './job-timers.js'
import type { JobWindows } from './job-windows.js'
import { KeysAhead } from './keys-ahead.js'
import type { LaterStage, StageFigures } from './later-stage.js'
import { PrefetchedKeys } from './prefetched-keys.js'
import type { PolledEvents, Position } from './source/source.js'
import { StatesAhead } from './states-ahead.js'
import type { StoredCuts } from './stored-cuts.js'
import { TimerCalls } from './timer-calls.js'

/** How long a slice may hold the event loop. */
const SLICE_MS = 4
/** The clock is asked once for so many events, and their keys are told before their turn comes, where that is of use. */
const EVENTS_PER_LOOK = 32

export interface ProcessorParts<Event, Schema extends StateSchema, Output> {
  readonly options: JobOptions<Event, Schema, Output>
  readonly store: StateStore<Schema>
  /** Where the engine keeps its state itself. */
  readonly stored: StoredCuts<Output> | undefined
  readonly time: SourceTime | undefined
  readonly timers: JobTimers | undefined
  readonly windows: JobWindows | undefined
  /** That of the store's bound states. */
  readonly key: CurrentKey<unknown>
  readonly states: BoundStates<Schema>
  readonly clock: ForwardClock
  readonly positions: { readonly [partition: string]: Position }
  /** The face of an asynchronous engine. */
  readonly fetched: FetchedBackend | undefined
  /** All stages behind this one. */
  readonly later: readonly LaterStage[]
  /** The stage behind this one, where there is one: what is emitted here goes there instead of to the sink. */
  readonly next: LaterStage | undefined
}

export class EventProcessor<Event, Schema extends StateSchema, Output> {
  /** Behind the last event that was processed, by partition. */
  readonly positions: Map<string, Position>
  events = 0
  badEvents = 0
  readonly #parts: ProcessorParts<Event, Schema, Output>
  readonly #context: Context<Schema, Output>
  readonly #failsOnBadEvents: boolean
  readonly #calls: TimerCalls<Context<Schema, Output>>
  /** What this stage has emitted; with the times of that where it goes to another one. */
  #emitted: Output[] = []
  #timestamps: number[] = []
  /** What goes to the sink, where that is what another stage has emitted. */
  #results: Output[] = []
  /** Something is in memory that the store does not have. */
  #hasNews = false
  readonly #prefetched: PrefetchedKeys<Event> | undefined
  /** What is looked up under the keys of events. */
  readonly #far: JobWindows | StatesAhead | undefined
  /** The same, where that is states. */
  readonly #statesAhead: StatesAhead | undefined
  readonly #ahead: KeysAhead<Event, KeyOf<Schema> | undefined>
  /** Where the last slice has failed that did. */
  #failedAt = 0

  constructor(parts: ProcessorParts<Event, Schema, Output>) {
    const { options, store, positions, states, timers, clock, key } = parts
    this.#parts = parts
    this.positions = new Map(Object.entries(positions))
    this.#failsOnBadEvents = (options.onBadEvent ?? 'fail') === 'fail'
    const context: Context<Schema, Output> = {
      state: states,
      store,
      key: undefined as KeyOf<Schema>,
      timestampMs: 0,
      watermarkMs: -Infinity,
      partition: '',
      timers: timers ?? noTimers,
      now: () => clock.now(),
      emit: this.#emitOf(),
    }
    this.#context = context
    const schema = options.schema as StateSchema
    if (parts.windows === undefined)
      this.#statesAhead = StatesAhead.of(options.backend, store as object, schema, key)
    this.#far = parts.windows ?? this.#statesAhead
    this.#ahead = new KeysAhead(options.key, EVENTS_PER_LOOK, (keys, some) => this.#far?.ahead(keys, some))
    const { name: job, onTimer } = options
    if (parts.fetched !== undefined && parts.windows === undefined)
      this.#prefetched = new PrefetchedKeys(store as object, options.schema, key, options.key)
    const timed = store as { at(timestampMs: number): void }
    this.#calls = new TimerCalls({ job, stage: undefined, onTimer, context, key, store: timed, clock })
  }

  get firedTimers(): number {
    return this.#calls.fired
  }

  /** What slices have emitted, and nobody has taken: none where the engine keeps it. */
  takeEmitted(): readonly Output[] {
    if (this.#parts.next !== undefined) {
      const results = this.#results
      if (results.length > 0) this.#results = []
      return results
    }
    if (this.#emitted.length === 0) return this.#emitted
    const emitted = this.#emitted
    this.#emitted = []
    return emitted
  }

  /** Something is in memory that the store does not have. */
  noteNews(): void {
    this.#hasNews = true
  }

  /** Outputs that do not come from an event at hand. */
  emit(output: Output, timestampMs: number): void {
    this.#hasNews = true
    if (this.#parts.next !== undefined) this.#timestamps.push(timestampMs)
    else if (this.#parts.options.sink === undefined) noSink()
    this.#emitted.push(output)
  }

  /** Outputs of the last stage, where there are several. */
  emitResult(output: Output): void {
    if (this.#parts.options.sink === undefined) noSink()
    this.#hasNews = true
    this.#results.push(output)
  }

  /** Gives what this stage has emitted to the next one. */
  passOn(): void {
    const { next } = this.#parts
    if (next === undefined || this.#emitted.length === 0) return
    const emitted = this.#emitted
    const timestamps = this.#timestamps
    this.#emitted = []
    this.#timestamps = []
    for (let i = 0; i < emitted.length; i++) {
      next.accept(emitted[i], timestamps[i] as number)
      next.passOn()
    }
  }

  #emitOf(): (output: Output) => void {
    const { options, next } = this.#parts
    if (next !== undefined) {
      return (output) => {
        this.#timestamps.push(this.#calls.outputMs ?? this.#context.timestampMs)
        this.#emitted.push(output)
      }
    }
    return options.sink === undefined ? () => noSink() : (output) => void this.#emitted.push(output)
  }

  /**
   * Puts windows, outputs and the record of the job into the store: in slices, and all of it or nothing. Where there are outputs, windows that end
   * up to `staysUntilMs` and have fired are left to the next call.
   */
  async recordWindows(all: readonly JobWindows[], staysUntilMs: number): Promise<void> {
    if (!this.#hasNews) return
    const outputs = this.#parts.next === undefined ? this.#emitted : this.#results
    const leaves = outputs.length > 0 && staysUntilMs > -Infinity
    this.#hasNews = leaves
    const work = this.#recordAll(all, leaves ? staysUntilMs : -Infinity)
    await hostOf(this.#parts.store as object).inSlices(work)
  }

  *#recordAll(all: readonly JobWindows[], staysUntilMs: number): SlicedWork<void> {
    for (const windows of all) yield* windows.flush(staysUntilMs)
    const { stored } = this.#parts
    if (stored === undefined) return
    this.passOn()
    yield* stored.recordInSlices(this.#putter(), this.takeEmitted())
  }

  /** Processes events as long as a slice may take; returns behind which one it stopped. */
  slice(polled: PolledEvents<Event>, from: number, partition: PartitionTime | undefined): number {
    const until = this.#slice(polled, from, partition)
    this.passOn()
    return until
  }

  /**
   * The same over an asynchronous engine: a slice that has missed something is made again once that was fetched, first up to the event that
   * has missed it.
   */
  async sliceLater(
    polled: PolledEvents<Event>,
    from: number,
    partition: PartitionTime | undefined,
    fetched: FetchedBackend,
  ): Promise<number> {
    let until = polled.events.length
    if (this.#prefetched !== undefined) await fetched.prefetch(this.#prefetched.of(polled, from))
    for (;;) {
      try {
        const reached = this.#slice(polled, from, partition, until)
        this.passOn()
        return reached
      } catch (error) {
        if (!fetched.hasMissed) throw error
        until = this.#failedAt > from ? this.#failedAt : polled.events.length
        await fetched.fetch()
      }
    }
  }

  #slice(
    polled: PolledEvents<Event>,
    from: number,
    partition: PartitionTime | undefined,
    end = polled.events.length,
  ): number {
    if (this.#parts.windows !== undefined) return this.#windowSlice(polled, from, partition)
    if (!this.#isOneStep && this.#failsOnBadEvents) {
      // Nothing of the state is kept where this throws: the job then goes on from its last cut.
      const until = this.#eachEvent(polled, from, polled.events.length, partition)
      this.positions.set(polled.partition, polled.positionAfter(until - 1))
      return until
    }
    try {
      return this.#inOneStep(() => this.#eachEvent(polled, from, end, partition), polled)
    } catch (error) {
      if (!(error instanceof Rejection)) throw error
      // What the step has written is undone: it is made once more, up to the bad event, which is a step of its own.
      const { place } = error
      const remake = () =>
        place > from ? this.#eachEvent(polled, from, place, partition) : this.#onBadEvent(polled, error)
      return this.#inOneStep(remake, polled)
    }
  }

  /** Events enter windows, each wholly or not at all: there is nothing to be undone where one is bad. */
  #windowSlice(polled: PolledEvents<Event>, from: number, partition: PartitionTime | undefined): number {
    this.#hasNews = true
    let until: number
    try {
      until = this.#eachEvent(polled, from, polled.events.length, partition)
    } catch (error) {
      if (!(error instanceof Rejection)) throw error
      until = this.#onBadEvent(polled, error)
    }
    this.positions.set(polled.partition, polled.positionAfter(until - 1))
    return until
  }

  /**
   * Processes events up to a place, or until the slice is over. What is the same for all of them is looked up once. Where there are windows nothing
   * is written in the store on the way, which hears the time of the last event when the slice ends.
   */
  #eachEvent(
    polled: PolledEvents<Event>,
    from: number,
    until: number,
    partition: PartitionTime | undefined,
  ): number {
    const { options, clock, time, windows, key: currentKey } = this.#parts
    const store = this.#parts.store as { at(timestampMs: number): void }
    const { key, timestamp, process } = options
    const { events, failures } = polled
    const context = this.#context
    const watermarkMs = time?.watermarkMs ?? -Infinity
    context.partition = polled.partition
    context.watermarkMs = watermarkMs
    const endMs = performance.now() + SLICE_MS
    let place = from
    let isTimed = false
    let timestampMs = 0
    let emittedBefore = 0
    const ahead = this.#ahead
    let aheadUntil = from
    const far = this.#far
    const statesAhead = this.#statesAhead
    let toldUntil = from
    if (far?.isFar === true) {
      aheadUntil = ahead.look(polled, from, until)
      if (statesAhead !== undefined) toldUntil = ahead.toldUntil
    }
    /** What is being done, by what an event is that fails there; what is no fault of the event is none of them. */
    let step: BadEvent<Event>['reason'] | undefined
    try {
      for (;;) {
        const failure = failures?.get(place)
        if (failure !== undefined) {
          step = 'undecodable'
          throw failure
        }
        step = 'noKey'
        const event = events[place] as Event
        const eventKey = place < aheadUntil ? ahead.keyAt(place) : key(event)
        if (eventKey === undefined || eventKey === null) throw new Error('it has no key')
        step = 'badTimestamp'
        if (partition === undefined || timestamp === undefined) {
          timestampMs = Math.floor(clock.now())
        } else {
          const given = timestamp(event)
          step = undefined
          const wrong = partition.onEvent(given)
          if (wrong !== undefined) {
            step = 'badTimestamp'
            throw badTimestamp(given, wrong)
          }
          // A negative zero is zero.
          timestampMs = given + 0
          isTimed = true
        }
        step = 'badValue'
        emittedBefore = this.#emitted.length
        if (windows === undefined) {
          context.key = eventKey
          context.timestampMs = timestampMs
          if (place < toldUntil) statesAhead?.goTo(place - ahead.toldFrom, eventKey)
          else currentKey.set(eventKey)
          if (isTimed) store.at(timestampMs)
          const returned: unknown = process?.(event, context as never)
          if (returned !== undefined) requireDone(returned, '`process`')
        } else {
          windows.add(eventKey, event, timestampMs, watermarkMs)
        }
        this.events++
        place++
        if (place === until) break
        if ((place - from) % EVENTS_PER_LOOK === 0) {
          if (performance.now() >= endMs) break
          if (far?.isFar === true) {
            aheadUntil = ahead.look(polled, place, until)
            if (statesAhead !== undefined) toldUntil = ahead.toldUntil
          }
        }
      }
    } catch (error) {
      this.#failedAt = place
      if (step === undefined) throw error
      if (step === 'badValue') {
        this.#emitted.length = emittedBefore
        if (this.#timestamps.length > emittedBefore) this.#timestamps.length = emittedBefore
        if (!isStateError(error, 'SERIALIZATION_FAILED')) throw this.#failureAt(polled, place, error)
      }
      throw this.#rejection(polled, place, step, error)
    } finally {
      if (windows !== undefined && isTimed && partition !== undefined) {
        store.at(partition.highestMs)
        store.at(timestampMs)
      }
    }
    return place
  }

  /** Whether a slice is one batch, whatever becomes of bad events. */
  get #isOneStep(): boolean {
    return this.#parts.stored !== undefined || this.#parts.fetched !== undefined
  }

  /** The same as `timerSlice` over an asynchronous engine. */
  async timerSliceLater(
    firing: FiringTimers,
    stage: LaterStage | undefined,
    fetched: FetchedBackend,
  ): Promise<boolean> {
    let atMost = Infinity
    const { timers } = this.#parts
    for (;;) {
      firing.begin()
      const before = this.#calls.fired
      const timersBefore = timers?.sizes()
      const stages = this.#parts.later.map((each) => each.figures())
      try {
        return this.timerSlice(firing, stage, atMost)
      } catch (error) {
        if (!fetched.hasMissed) throw error
        const calls =
          (stage?.firedTimers ?? this.#calls.fired) -
          (stage === undefined ? before : firedBefore(stage, this.#parts.later, stages))
        atMost = calls > 0 ? calls : Infinity
        firing.undo()
        this.#calls.fired = before
        if (timersBefore !== undefined) timers?.undo(timersBefore)
        this.#undoStages(stages)
        this.#emitted = []
        this.#timestamps = []
        this.#results = []
        await fetched.fetch()
      }
    }
  }

  #undoStages(figures: readonly StageFigures[]): void {
    for (const [i, each] of this.#parts.later.entries()) each.undo(figures[i] as StageFigures)
  }

  /** Calls `onTimer` for what is due as long as a slice may take, and `atMost` times; whether more may be left. */
  timerSlice(firing: FiringTimers, stage?: LaterStage, atMost?: number): boolean {
    const { time } = this.#parts
    const fire = () => {
      if (stage === undefined) {
        const isMore = this.#calls.fireEach(firing, time?.watermarkMs ?? -Infinity, atMost)
        this.passOn()
        return isMore
      }
      const isMore = stage.fireEach(firing, atMost)
      stage.passOn()
      return isMore
    }
    // As of events: nothing of the state is kept where this throws.
    if (!this.#isOneStep) return fire()
    return this.#parts.store.batch(() => {
      const isMore = fire()
      this.#record()
      return isMore
    }) as boolean
  }

  /** What the events write, and where that leaves the job: all of it or nothing. */
  #inOneStep(process: () => number, polled: PolledEvents<Event>): number {
    const eventsBefore = this.events
    const badBefore = this.badEvents
    const positionBefore = this.positions.get(polled.partition)
    const { timers } = this.#parts
    const timersBefore = timers?.sizes()
    const stages = this.#parts.later.map((each) => each.figures())
    try {
      return this.#parts.store.batch(() => {
        const until = process()
        this.positions.set(polled.partition, polled.positionAfter(until - 1))
        this.#record()
        return until
      }) as number
    } catch (error) {
      this.events = eventsBefore
      this.badEvents = badBefore
      if (timersBefore !== undefined) timers?.undo(timersBefore)
      this.#undoStages(stages)
      this.#emitted = []
      this.#timestamps = []
      this.#results = []
      if (positionBefore === undefined) this.positions.delete(polled.partition)
      else this.positions.set(polled.partition, positionBefore)
      throw error
    }
  }

  /** The job's record and the outputs of the step, where they are entries of the store. */
  #record(): void {
    const { stored } = this.#parts
    // What later stages write is a part of the step.
    if (this.#isOneStep) this.passOn()
    this.#assertNothingMissed()
    stored?.record(this.#putter(), this.takeEmitted())
  }

  /** A function of the user's may have caught it. */
  #assertNothingMissed(): void {
    if (this.#parts.fetched?.hasMissed === true) throw new Error('something was missed')
  }

  /** Puts what is no typed state into the step at hand. */
  #putter(): (key: Uint8Array, value: Uint8Array) => void {
    const host = hostOf(this.#parts.store as object)
    const writer = new ByteWriter()
    return (key, value) => {
      writer.length = 0
      writer.append(value)
      host.entries.put(new GivenKey(key), writer, NEVER_EXPIRES)
    }
  }

  /** What a bad event comes to: the failure of the job, or a rejection, after which its slice is made without it. */
  #rejection(
    polled: PolledEvents<Event>,
    place: number,
    reason: BadEvent<Event>['reason'],
    error: unknown,
  ): Error {
    if (this.#failsOnBadEvents) return this.#failureAt(polled, place, error)
    return new Rejection(place, reason, error)
  }

  /** Counts a bad event and tells of it; returns what is behind it. */
  #onBadEvent(polled: PolledEvents<Event>, { place, reason, error }: Rejection): number {
    const { onBadEvent } = this.#parts.options
    this.badEvents++
    if (typeof onBadEvent !== 'function') return place + 1
    const bad: BadEvent<Event> = {
      reason,
      error: isErrorLike(error) ? error : new Error(reasonOf(error)),
      event: polled.events[place] as Event,
      partition: polled.partition,
      position: polled.positionAfter(place),
    }
    const { time, clock } = this.#parts
    const watermarkMs = time?.watermarkMs ?? -Infinity
    // Its own time may be what is wrong with it.
    this.#calls.outputMs = Number.isFinite(watermarkMs) ? watermarkMs + 1 : clock.now()
    try {
      requireDone(onBadEvent(bad, this.#context.emit), '`onBadEvent`')
    } finally {
      this.#calls.outputMs = undefined
    }
    return place + 1
  }

  #failureAt(polled: PolledEvents<Event>, place: number, error: unknown): StateError<'JOB_FAILED'> {
    const { name: job } = this.#parts.options
    const position = polled.positionAfter(place)
    const details = { job, partition: polled.partition, position, reason: reasonOf(error) }
    return new StateError('JOB_FAILED', details, { cause: error })
  }
}

function badTimestamp(timestampMs: unknown, wrong: BadTimestamp): Error {
  const reason =
    wrong === 'tooFarAhead' ? 'is too far ahead of the clock' : 'is not a whole number of milliseconds'
  return new Error(`its timestamp, ${describeValue(timestampMs)}, ${reason}`)
}

/** What `process` is given; the same object for every event. */
interface Context<Schema, Output> {
  readonly state: BoundStates<Schema>
  readonly store: StateStore<Schema>
  key: KeyOf<Schema>
  timestampMs: number
  watermarkMs: number
  partition: string
  readonly timers: ProcessContext<never, never, never>['timers']
  readonly now: () => number
  readonly emit: (output: Output) => void
}

/** Thrown through a slice that has met a bad event. */
class Rejection extends Error {
  readonly place: number
  readonly reason: BadEvent<unknown>['reason']
  readonly error: unknown

  constructor(place: number, reason: BadEvent<unknown>['reason'], error: unknown) {
    super(reason)
    this.place = place
    this.reason = reason
    this.error = error
  }
}

function noSink(): never {
  throw new Error('emit() was called, and the job has no sink')
}

function firedBefore(
  stage: LaterStage,
  later: readonly LaterStage[],
  figures: readonly StageFigures[],
): number {
  return figures[later.indexOf(stage)]?.fired ?? 0
}
