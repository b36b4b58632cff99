import { setTimeout } from 'node:timers/promises'
import type { PolledEvents, Source, SourceReader } from 'holdfast/job'
import { type Batch, type EventSource, type LlmRequest, positionFrom, type SourcePosition } from './events.js'

const PARTITION = '0'

export interface RequestSourceOptions {
  /** How many requests are read at once. */
  readonly batchSize: number
  readonly eventsPerSecond: number
  /** From so many requests on, no more are read: the process is to be killed. */
  readonly waitFrom: number
  /** A request may be read from here on: where an earlier process was, if there was one. */
  onOpen(position: SourcePosition, isResumed: boolean): void
  /** Everything before a position was processed. */
  onProgress(position: SourcePosition): void
  /** Everything before a position is saved. */
  onSaved(position: SourcePosition): void
}

/** The requests as a job reads them, which here tells how far it is and may be held back. */
export function requestSource(source: EventSource, options: RequestSourceOptions): Source<LlmRequest> {
  return {
    name: source.description,
    open: async ({ positions }) => {
      const kept = positions[PARTITION]
      const position = kept === undefined ? source.start : positionFrom(kept)
      options.onOpen(position, kept !== undefined)
      return new RequestReader(source, position, options)
    },
  }
}

class RequestReader implements SourceReader<LlmRequest> {
  readonly #options: RequestSourceOptions
  readonly #batches: AsyncIterator<Batch>
  readonly #firstEvent: number
  readonly #startedAtMs = performance.now()
  #position: SourcePosition

  constructor(source: EventSource, position: SourcePosition, options: RequestSourceOptions) {
    this.#options = options
    this.#batches = source.batches(position, options.batchSize)[Symbol.asyncIterator]()
    this.#firstEvent = position.events
    this.#position = position
  }

  partitions(): readonly string[] {
    return [PARTITION]
  }

  async poll({ signal }: { readonly signal?: AbortSignal }): Promise<readonly PolledEvents<LlmRequest>[]> {
    this.#options.onProgress(this.#position)
    await this.#pause(signal)
    if (signal?.aborted === true) return []
    const { done, value: batch } = await this.#batches.next()
    if (done === true)
      return [{ partition: PARTITION, events: [], positionAfter: () => null, hasEnded: true }]
    const { events, ends, end } = batch
    this.#position = end
    return [{ partition: PARTITION, events, positionAfter: (place) => ends[place] as SourcePosition }]
  }

  async checkpointCompleted(positions: { readonly [partition: string]: unknown }): Promise<void> {
    const saved = positions[PARTITION]
    if (saved !== undefined) this.#options.onSaved(positionFrom(saved))
  }

  async close(): Promise<void> {
    await this.#batches.return?.()
  }

  /** Until it is time for the next batch; for ever where the process is to be killed. */
  async #pause(signal: AbortSignal | undefined): Promise<void> {
    const { eventsPerSecond, waitFrom } = this.#options
    const { events } = this.#position
    const elapsedMs = performance.now() - this.#startedAtMs
    const earlyMs = ((events - this.#firstEvent) / eventsPerSecond) * 1000 - elapsedMs
    const waitMs = events >= waitFrom ? 2 ** 30 : earlyMs
    const ending = signal === undefined ? {} : { signal }
    if (waitMs > 0) await setTimeout(waitMs, undefined, ending).catch(() => {})
  }
}
