// A source whose partitions are read in the order of time: the next event is the one with the least timestamp of all that are next in
// their partitions.
//
// (1) Nothing is given while a partition that counts has nothing to compare: it may have an earlier event. One that is idle (T5) or has
//     ended is not waited for.
// (2) Of each partition there is at most what one poll has given: while that is not used up the partition is not polled.
// (3) An event without a proper timestamp comes as soon as it is next: whoever processes it says what is wrong with it.

import type { PolledEvents, PollRequest, Positions, SourceReader } from './source.js'

export interface OrderedReaderOptions<Event> {
  readonly timestamp: (event: Event) => number
  /** Whether a partition is not to be waited for. */
  readonly isIdle: (partition: string) => boolean
}

/** What was read of a partition, and how much of it was given on. */
interface Buffered<Event> {
  readonly polled: PolledEvents<Event>
  next: number
  /** Of the next event. */
  nextMs: number
}

export class OrderedReader<Event> implements SourceReader<Event> {
  readonly #reader: SourceReader<Event>
  readonly #options: OrderedReaderOptions<Event>
  readonly #buffered = new Map<string, Buffered<Event>>()
  readonly #ended = new Set<string>()
  /** Partitions that have just given something: whether they are idle is not known anew before it was processed. */
  readonly #awake = new Set<string>()

  constructor(reader: SourceReader<Event>, options: OrderedReaderOptions<Event>) {
    this.#reader = reader
    this.#options = options
  }

  partitions(): readonly string[] {
    return this.#reader.partitions()
  }

  async poll(request: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    this.#awake.clear()
    const owned = new Set(this.partitions())
    // What was read of a partition that was taken away is somebody else's.
    for (const partition of this.#buffered.keys()) if (!owned.has(partition)) this.#buffered.delete(partition)
    const ready = this.#runs(request.maxEvents)
    if (ready.length > 0) return ready
    const paused = new Set(this.#buffered.keys())
    const told: PolledEvents<Event>[] = []
    for (const polled of await this.#reader.poll({ ...request, paused })) {
      if (polled.events.length > 0) this.#buffer(polled)
      else this.#tell(polled, told)
    }
    return [...told, ...this.#runs(request.maxEvents)]
  }

  async prepareCut(positions: Positions): Promise<void> {
    await this.#reader.prepareCut?.(positions)
  }

  async checkpointCompleted(positions: Positions): Promise<void> {
    await this.#reader.checkpointCompleted?.(positions)
  }

  async close(): Promise<void> {
    await this.#reader.close()
  }

  #tell(polled: PolledEvents<Event>, told: PolledEvents<Event>[]): void {
    if (polled.hasEnded === true) this.#ended.add(polled.partition)
    told.push(polled)
  }

  #buffer(polled: PolledEvents<Event>): void {
    const buffered = { polled, next: 0, nextMs: 0 }
    buffered.nextMs = this.#timeOf(buffered)
    this.#buffered.set(polled.partition, buffered)
  }

  #timeOf({ polled, next }: Buffered<Event>): number {
    if (polled.failures?.has(next) === true) return -Infinity
    try {
      const timestampMs = this.#options.timestamp(polled.events[next] as Event)
      return Number.isSafeInteger(timestampMs) ? timestampMs : -Infinity
    } catch {
      return -Infinity
    }
  }

  /** What is next, as long as every partition that counts has something to compare. */
  #runs(maxEvents: number): PolledEvents<Event>[] {
    const runs: PolledEvents<Event>[] = []
    for (let left = maxEvents; left > 0 && !this.#lacksAny(); ) {
      const first = this.#least(undefined)
      if (first === undefined) break
      const second = this.#least(first)
      const from = first.next
      const until = Math.min(first.polled.events.length, from + left)
      while (first.next < until && (first.next === from || this.#isStillNext(first, second))) {
        first.next++
        if (first.next < first.polled.events.length) first.nextMs = this.#timeOf(first)
      }
      left -= first.next - from
      runs.push(this.#run(first, from))
    }
    return runs
  }

  /** Of equal times, that of the partition comes first whose name does. */
  #isStillNext(first: Buffered<Event>, second: Buffered<Event> | undefined): boolean {
    if (second === undefined || first.nextMs < second.nextMs) return true
    return first.nextMs === second.nextMs && this.#comesBefore(first, second)
  }

  #run({ polled, next }: Buffered<Event>, from: number): PolledEvents<Event> {
    const { partition, events, failures, position, watermarkMs, hasEnded } = polled
    const isLast = next === events.length
    if (isLast) {
      this.#buffered.delete(partition)
      if (hasEnded === true) this.#ended.add(partition)
    }
    this.#awake.add(partition)
    const own = [...(failures ?? [])].filter(([place]) => place >= from && place < next)
    return {
      partition,
      events: events.slice(from, next),
      positionAfter: (place) => polled.positionAfter(from + place),
      ...(own.length > 0 && { failures: new Map(own.map(([place, error]) => [place - from, error])) }),
      ...(isLast && position !== undefined && { position }),
      ...(isLast && watermarkMs !== undefined && { watermarkMs }),
      ...(isLast && hasEnded === true && { hasEnded }),
    }
  }

  #lacksAny(): boolean {
    return this.partitions().some(
      (partition) =>
        !this.#buffered.has(partition) &&
        !this.#ended.has(partition) &&
        (this.#awake.has(partition) || !this.#options.isIdle(partition)),
    )
  }

  #least(but: Buffered<Event> | undefined): Buffered<Event> | undefined {
    let least: Buffered<Event> | undefined
    for (const each of this.#buffered.values()) {
      if (each === but) continue
      const isLess =
        least === undefined ||
        each.nextMs < least.nextMs ||
        (each.nextMs === least.nextMs && this.#comesBefore(each, least))
      if (isLess) least = each
    }
    return least
  }

  #comesBefore(left: Buffered<Event>, right: Buffered<Event>): boolean {
    return left.polled.partition < right.polled.partition
  }
}
