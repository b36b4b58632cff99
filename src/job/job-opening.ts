// What a job opens before it begins: its state, its source and its sink, side by side where that is safe.
//
// (1) A source that allows it is opened at the positions of the cut that is being restored, before it is known whether all of that cut can be
//     read. Where the job goes on from another cut, that reader is closed unread, and the source opened anew. So it is where opening it has failed
//     before the state was there: it may be that what it speaks to was away for a while.
// (2) A sink that has a claim is claimed beside the restore, so that whoever wrote before is fenced off. What counts it is told when the state is
//     there: it may be the state that has the outputs.
// (3) Both are asked for by the owner of the cuts alone: a process that was overtaken is told so when the sink is opened, at the latest.
// (4) Whatever fails, the rest is given up and closed before the failure is told; it is the first one that is told.

import { isStateError, reasonOf, StateError } from '../base/errors.js'
import type { JobCut } from './cut.js'
import type { Cuts, RestoredCut } from './cuts.js'
import { Outputs } from './outputs.js'
import { handOver, requireNoneLeft, WatchedState } from './sink/left-outputs.js'
import type { ClaimedSink, EpochId, Sink, SinkState } from './sink/sink.js'
import type { Positions, Source, SourceReader } from './source/source.js'

/** Waits for a call, which it can name; it may give it up. */
export type WaitFor = <Result>(call: string, begin: () => Promise<Result>) => Promise<Result>

/** Waits however long it takes. */
export const WAITS: WaitFor = (_call, begin) => begin()

interface Closable {
  close(): Promise<void>
}

/** A reader that was opened before it was known that the job goes on there. */
interface ReaderAhead<Event> {
  readonly positions: Positions
  readonly reader: Promise<SourceReader<Event>>
  readonly hasFailed: () => boolean
  /** Gives up opening it, and closes it where it is open. */
  end(): Promise<void>
}

/** Where a job begins. */
export interface JobStart {
  readonly jobName: string
  readonly cut: JobCut | undefined
  readonly epoch: EpochId
  /** What the sink may keep in the state. */
  readonly state: SinkState
}

interface Opened<Event, Output> {
  readonly reader: SourceReader<Event>
  readonly outputs: Outputs<Output> | undefined
}

export class JobOpening<Event, Output> {
  readonly #source: Source<Event>
  readonly #sink: Sink<Output> | undefined
  readonly #givenUp = new AbortController()
  /** All that has begun to be opened, and that nobody else closes. */
  readonly #opening: Promise<Closable>[] = []
  /** What a source and a sink are told of the owner. */
  #owned: { readonly checkOwner?: () => Promise<void> } = {}
  #ahead: ReaderAhead<Event> | undefined
  #claimed: Promise<ClaimedSink<Output>> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(source: Source<Event>, sink: Sink<Output> | undefined) {
    this.#source = source
    this.#sink = sink
  }

  /** Restores the state, and begins to open what may be opened beside that. Only the owner of the cuts may do so. */
  async restore(cuts: Cuts, jobName: string): Promise<RestoredCut> {
    const { signal } = this.#givenUp
    if (cuts.checkOwner !== undefined) this.#owned = { checkOwner: cuts.checkOwner.bind(cuts) }
    // Cuts without an owner of their own lie in the store, and take no time to be restored.
    const claim = this.#sink?.claim?.bind(this.#sink)
    const claiming =
      cuts.acquire && claim && named(jobName, 'the sink', () => claim({ ...this.#owned, signal }))
    if (claiming !== undefined) {
      this.#claimed = this.#noted(claiming)
      // There is nothing to restore a state for.
      claiming.catch((error) => this.#fail(error))
    }
    return await cuts.restore(jobName, { signal, onCut: ({ positions }) => this.#openAhead(positions) })
  }

  /** Opens the rest, where the job begins. */
  async open(start: JobStart, waitFor: WaitFor = WAITS): Promise<Opened<Event, Output>> {
    const sink = this.#sink
    const positions = start.cut?.positions ?? {}
    const openSource = () => named(start.jobName, 'the source', () => this.#readerAt(positions))
    const reader = await waitFor('the source to open', () => this.#noted(openSource()))
    if (sink === undefined) {
      await waitFor('the outputs to be looked for', () =>
        requireNoneLeft(start.jobName, start.cut?.prepared ?? [], start.state),
      )
      return { reader, outputs: undefined }
    }
    const openSink = () => named(start.jobName, 'the sink', () => this.#openSink(sink, start))
    const outputs = await waitFor('the sink to open', () => this.#noted(openSink()))
    return { reader, outputs }
  }

  /** The job does not begin: closes everything, and returns what has failed first. */
  async abandon(reason: unknown): Promise<unknown> {
    this.#fail(reason)
    const closed = this.#opening.map(async (each) => (await each).close())
    await Promise.allSettled([...closed, this.#ahead?.end()])
    return this.#failure?.error
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    this.#givenUp.abort()
  }

  #noted<Part extends Closable>(opening: Promise<Part>): Promise<Part> {
    this.#opening.push(opening)
    return opening
  }

  #openAhead(positions: Positions): void {
    if (this.#source.opensAhead !== true) return
    const before = this.#ahead
    const passedOver = new AbortController()
    const signal = AbortSignal.any([this.#givenUp.signal, passedOver.signal])
    const open = async () => {
      await before?.end()
      return await this.#source.open({ positions, ...this.#owned, signal })
    }
    const reader = open()
    const end = async () => {
      passedOver.abort()
      await reader.then((opened) => opened.close()).catch(() => {})
    }
    let failed = false
    // Whether that matters is known once the state was restored.
    reader.catch(() => {
      failed = true
    })
    this.#ahead = { positions, reader, hasFailed: () => failed, end }
  }

  async #readerAt(positions: Positions): Promise<SourceReader<Event>> {
    const ahead = this.#ahead
    if (ahead !== undefined && !ahead.hasFailed() && isSame(ahead.positions, positions))
      return await ahead.reader
    await ahead?.end()
    return await this.#source.open({ positions, ...this.#owned, signal: this.#givenUp.signal })
  }

  async #openSink(sink: Sink<Output>, { jobName, cut, epoch, state }: JobStart): Promise<Outputs<Output>> {
    const claimed = (await this.#claimed) ?? sink
    const { signal } = this.#givenUp
    const prepared = cut?.prepared ?? []
    const watched = new WatchedState(state)
    const writer = await claimed.open({
      prepared,
      lineage: epoch.lineage,
      state: watched,
      ...this.#owned,
      signal,
    })
    try {
      if (!watched.isUsed) await handOver(jobName, sink, writer, prepared, state)
    } catch (error) {
      // What has failed is told, and not what fails because of it.
      await writer.close().catch(() => {})
      throw error
    }
    return new Outputs(writer, epoch, prepared)
  }
}

/** What is opened by functions of the user may throw anything: the error of a job tells what it was that could not be opened. */
async function named<Part>(job: string, what: string, open: () => Promise<Part>): Promise<Part> {
  try {
    return await open()
  } catch (error) {
    if (isStateError(error)) throw error
    const reason = `${what} could not be opened: ${reasonOf(error)}`
    throw new StateError(
      'JOB_FAILED',
      { job, partition: undefined, position: undefined, reason },
      { cause: error },
    )
  }
}

const isSame = (left: Positions, right: Positions): boolean => JSON.stringify(left) === JSON.stringify(right)
