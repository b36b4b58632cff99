import type { PolledEvents, PollRequest, Source, SourceReader } from '../job/source/source.js'

/** A source whose events are pushed by a test, and that can say when everything was processed. */
export class ScriptedSource<Event> implements Source<Event>, SourceReader<Event> {
  readonly name = 'events of a test'
  /** What was not read yet, by partition. */
  readonly #waiting = new Map<string, Event[]>()
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
    if (this.#waiting.size === 0) this.#queue('0')
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

  async open(): Promise<SourceReader<Event>> {
    return this
  }

  partitions(): readonly string[] {
    return Array.from(this.#waiting.keys())
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
    const known = this.#waiting.get(partition)
    if (known !== undefined) return known
    const made: Event[] = []
    this.#waiting.set(partition, made)
    return made
  }

  #take(maxEvents: number, paused: ReadonlySet<string>): PolledEvents<Event>[] {
    const found: PolledEvents<Event>[] = []
    let left = maxEvents
    for (const [partition, queue] of this.#waiting) {
      if (paused.has(partition) || left === 0) continue
      const events = queue.splice(0, left)
      left -= events.length
      const ends = this.#hasEnded && queue.length === 0 && !this.#toldEnded.has(partition)
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
