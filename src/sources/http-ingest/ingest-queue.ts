// Events between requests and a job.
//
// (1) Events are numbered as they come; the position behind one is how many came up to it. Nothing can be read again.
// (2) While no job has the source open, nothing is taken.
// (3) Who waits for a checkpoint is told when one has the event, or that none will: never anything in between.

import type { Clock } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Positions,
  Source,
  SourceReader,
} from '../../job/source/source.js'
import { Arrival } from '../shared/arrival.js'
import { restoreFailed } from '../shared/restore-failed.js'

interface WaitingRequest {
  /** How many events must be in a checkpoint. */
  readonly count: number
  readonly settle: (isDurable: boolean) => void
}

export class IngestQueue<Event> {
  readonly source: Source<Event>
  readonly #name: string
  readonly #maxEvents: number
  #reader: QueueReader<Event> | undefined

  constructor(name: string, maxEvents: number) {
    this.#name = name
    this.#maxEvents = maxEvents
    this.source = Object.freeze({ name, open: (request: OpenSourceOptions) => this.#open(request) })
  }

  get isOpen(): boolean {
    return this.#reader !== undefined
  }

  get isFull(): boolean {
    return (this.#reader?.size ?? 0) >= this.#maxEvents
  }

  /** Takes all of these events or none; how many have come up to the last of them. */
  offer(events: readonly Event[]): number | undefined {
    const reader = this.#reader
    if (reader === undefined) return undefined
    // More at once than may wait are taken while nothing waits: they would never be.
    if (reader.size > 0 && reader.size + events.length > this.#maxEvents) return undefined
    return reader.push(events)
  }

  /** Whether a checkpoint has had so many events before the time was over and before the job ended. */
  whenDurable(count: number, clock: Clock, withinMs: number): Promise<boolean> {
    return this.#reader?.whenDurable(count, clock, withinMs) ?? Promise.resolve(false)
  }

  async #open({ positions }: OpenSourceOptions): Promise<SourceReader<Event>> {
    const name = this.#name
    if (this.#reader !== undefined) {
      throw new StateError('FENCED', {
        resource: `the events of ${name}`,
        owner: 'another job of this process',
      })
    }
    const position = Object.hasOwn(positions, name) ? positions[name] : 0
    if (!Number.isSafeInteger(position) || (position as number) < 0) {
      throw restoreFailed(`${name}: ${JSON.stringify(position)} is no count of events`)
    }
    const reader = new QueueReader<Event>(name, position as number, () => {
      this.#reader = undefined
    })
    this.#reader = reader
    return reader
  }
}

class QueueReader<Event> implements SourceReader<Event> {
  readonly #name: string
  readonly #onClose: () => void
  /** What has come and was not read. */
  #events: Event[] = []
  /** How many have come, in all runs of the job. */
  #count: number
  #durable: number
  readonly #waiting = new Set<WaitingRequest>()
  readonly #closing = new AbortController()
  readonly #arrival = new Arrival(this.#closing.signal)

  constructor(name: string, count: number, onClose: () => void) {
    this.#name = name
    this.#count = count
    this.#durable = count
    this.#onClose = onClose
  }

  get size(): number {
    return this.#events.length
  }

  push(events: readonly Event[]): number {
    for (const event of events) this.#events.push(event)
    this.#count += events.length
    this.#arrival.tell()
    return this.#count
  }

  whenDurable(count: number, clock: Clock, withinMs: number): Promise<boolean> {
    if (count <= this.#durable) return Promise.resolve(true)
    if (this.#closing.signal.aborted) return Promise.resolve(false)
    return new Promise((resolve) => {
      const settle = (isDurable: boolean) => {
        cancel()
        this.#waiting.delete(waiting)
        resolve(isDurable)
      }
      const waiting = { count, settle }
      const cancel = withinMs === Infinity ? () => {} : clock.setTimer(() => settle(false), withinMs)
      this.#waiting.add(waiting)
    })
  }

  partitions(): readonly string[] {
    return [this.#name]
  }

  async poll({ maxEvents, waitMs, paused, signal }: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    if (paused.has(this.#name)) {
      await this.#arrival.wait(waitMs, signal)
      return []
    }
    if (this.#events.length === 0) await this.#arrival.wait(waitMs, signal)
    if (this.#closing.signal.aborted) return []
    const first = this.#count - this.#events.length
    const events = this.#events.splice(0, maxEvents)
    return [{ partition: this.#name, events, positionAfter: (place) => first + place + 1 }]
  }

  async checkpointCompleted(positions: Positions): Promise<void> {
    const position = Object.hasOwn(positions, this.#name) ? Number(positions[this.#name]) : 0
    this.#durable = Math.max(this.#durable, position)
    for (const { count, settle } of this.#waiting) if (count <= this.#durable) settle(true)
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#onClose()
    this.#events = []
    for (const { settle } of this.#waiting) settle(false)
  }
}
