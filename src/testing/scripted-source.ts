import type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Source,
  SourceReader,
} from '../job/source/source.js'

/** A source whose events are pushed by a test, and that can say when everything was processed. */
export class ScriptedSource<Event> implements Source<Event>, SourceReader<Event> {
  readonly name = 'events of a test'
  /** All that was pushed, by partition. */
  readonly #events = new Map<string, Event[]>()
  /** How many were read, by partition. */
  readonly #read = new Map<string, number>()
  #hasEnded = false
  readonly #toldEnded = new Set<string>()
  /** Answers the poll that has found nothing. */
  #answer: (() => void) | undefined
  /** Those who wait until there is such a poll. */
  #onVain: (() => void)[] = []

  constructor(partitions: readonly string[]) {
    for (const partition of partitions) this.#queue(partition)
  }

  push(partition: string, event: Event): void {
    this.#queue(partition).push(event)
    this.#wake()
  }

  /** Makes the poll that waits answer with nothing. */
  nudge(): void {
    this.#wake()
  }

  end(): void {
    this.#hasEnded = true
    if (this.#events.size === 0) this.#queue('0')
    this.#wake()
  }

  /** For the next life of the job. */
  reopen(): void {
    this.#answer = undefined
  }

  /** Resolves while a poll waits that has found nothing to give: all that was given before was processed. */
  isAskedInVain(): Promise<void> {
    if (this.#answer !== undefined) return Promise.resolve()
    return new Promise((resolve) => this.#onVain.push(resolve))
  }

  /** What was read and does not count is read again. */
  async open({ positions }: OpenSourceOptions): Promise<SourceReader<Event>> {
    for (const partition of this.#events.keys()) this.#read.set(partition, Number(positions[partition] ?? 0))
    this.#toldEnded.clear()
    return this
  }

  partitions(): readonly string[] {
    return Array.from(this.#events.keys())
  }

  async poll({ maxEvents, paused, signal }: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    const found = this.#take(maxEvents, paused)
    if (found.length > 0 || signal?.aborted === true) return found
    const end = () => this.#wake()
    signal?.addEventListener('abort', end)
    await new Promise<void>((resolve) => {
      this.#answer = resolve
      const told = this.#onVain
      this.#onVain = []
      for (const tell of told) tell()
    })
    signal?.removeEventListener('abort', end)
    const events = this.#take(maxEvents, paused)
    if (events.length > 0) return events
    const asked = this.partitions().filter((partition) => !paused.has(partition))
    return asked.map((partition) => this.#polled(partition, []))
  }

  async close(): Promise<void> {
    this.#wake()
  }

  #queue(partition: string): Event[] {
    const known = this.#events.get(partition)
    if (known !== undefined) return known
    const made: Event[] = []
    this.#events.set(partition, made)
    return made
  }

  #take(maxEvents: number, paused: ReadonlySet<string>): PolledEvents<Event>[] {
    const found: PolledEvents<Event>[] = []
    let left = maxEvents
    for (const [partition, all] of this.#events) {
      if (paused.has(partition) || left === 0) continue
      const from = this.#read.get(partition) ?? 0
      const events = all.slice(from, from + left)
      left -= events.length
      const isAll = from + events.length === all.length
      const ends = this.#hasEnded && isAll && !this.#toldEnded.has(partition)
      if (events.length === 0 && !ends) continue
      if (ends) this.#toldEnded.add(partition)
      found.push({ ...this.#polled(partition, events), hasEnded: ends })
    }
    return found
  }

  #polled(partition: string, events: readonly Event[]): PolledEvents<Event> {
    const before = this.#read.get(partition) ?? 0
    this.#read.set(partition, before + events.length)
    return { partition, events, positionAfter: (place) => before + place + 1 }
  }

  #wake(): void {
    const answer = this.#answer
    this.#answer = undefined
    answer?.()
  }
}
