import type {
  KafkaClient,
  KafkaFetched,
  KafkaFetchRequest,
  KafkaGroupRequest,
  KafkaMark,
  KafkaMembership,
  KafkaMessage,
  KafkaOutput,
  KafkaProducer,
  KafkaReader,
  KafkaReaderOptions,
  KafkaTopic,
  KafkaTransactionalProducer,
  KafkaTransactions,
} from '../sources/kafka/kafka-client.js'

interface FakePartition {
  first: number
  readonly messages: (KafkaMessage | undefined)[]
}

/** Brokers in memory, for tests of what speaks to Kafka. Undefined messages are marks of transactions. */
export class FakeKafka implements KafkaClient, KafkaTransactions {
  readonly name = 'fake'
  transactions: KafkaTransactions | string = this
  readonly topics: Map<string, { id: string; readonly partitions: FakePartition[] }> = new Map()
  /** Offsets of groups, by group, topic and partition. */
  readonly offsets: Map<string, number> = new Map()
  /** What goes wrong next, by the name of the call: each once. */
  readonly failures: (readonly [call: string, error: unknown])[] = []
  readonly calls: string[] = []
  /** Who has joined a group, in order: tests give partitions to them. */
  readonly members: KafkaGroupRequest[] = []
  /** How often a transactional id was opened. */
  readonly #generations = new Map<string, number>()
  #made = 0

  createTopic(name: string, partitions: number): void {
    const made = Array.from({ length: partitions }, () => ({ first: 0, messages: [] }))
    this.topics.set(name, { id: `id-${this.#made++}`, partitions: made })
  }

  append(topic: string, partition: number, ...values: (string | undefined)[]): void {
    for (const value of values) {
      const messages = this.#partition(topic, partition).messages
      messages.push(value === undefined ? undefined : this.#message(topic, partition, { value }))
    }
  }

  /** Removes what is before an offset, as retention does. */
  truncate(topic: string, partition: number, first: number): void {
    this.#partition(topic, partition).first = first
  }

  valuesOf(topic: string): string[] {
    const all = this.topics.get(topic)?.partitions ?? []
    return all.flatMap(({ messages }) =>
      messages.flatMap((message) => (message === undefined ? [] : [textOf(message.value)])),
    )
  }

  messagesOf(topic: string): KafkaMessage[] {
    return (this.topics.get(topic)?.partitions ?? []).flatMap(({ messages }) =>
      messages.filter((each) => each !== undefined),
    )
  }

  async describe(topic: string): Promise<KafkaTopic> {
    this.#call('describe')
    const found = this.topics.get(topic)
    if (found === undefined) throw new Error(`there is no topic ${topic}`)
    const partitions = found.partitions.map(({ first, messages }, partition) => ({
      partition,
      first,
      end: messages.length,
    }))
    return { id: found.id, partitions }
  }

  async openReader({ topic }: KafkaReaderOptions): Promise<KafkaReader> {
    this.#call('openReader')
    return {
      fetch: async (request) => this.#fetch(topic, request),
      close: async () => {},
    }
  }

  async commitOffsets(groupId: string, topic: string, offsets: ReadonlyMap<number, number>): Promise<void> {
    this.#call('commitOffsets')
    for (const [partition, offset] of offsets) this.offsets.set(`${groupId}/${topic}/${partition}`, offset)
  }

  async joinGroup(request: KafkaGroupRequest): Promise<KafkaMembership> {
    this.#call('joinGroup')
    this.members.push(request)
    return { leave: async () => this.#call('leave') }
  }

  async openProducer(): Promise<KafkaProducer> {
    this.#call('openProducer')
    return {
      send: async (topic, messages) => {
        this.#call('send')
        for (const message of messages) this.#write(topic, message)
      },
      close: async () => {},
    }
  }

  async open(transactionalId: string): Promise<KafkaTransactionalProducer> {
    this.#call('open')
    const generation = (this.#generations.get(transactionalId) ?? 0) + 1
    this.#generations.set(transactionalId, generation)
    const check = (call: string) => {
      this.#call(call)
      if (this.#generations.get(transactionalId) !== generation)
        throw Object.assign(new Error('fenced'), { code: 90 })
    }
    return {
      begin: async () => {
        check('begin')
        const written: (readonly [string, KafkaOutput])[] = []
        let mark: KafkaMark | undefined
        return {
          send: async (topic, messages) => {
            check('send')
            for (const message of messages) written.push([topic, message])
          },
          setMark: async (given) => {
            check('setMark')
            mark = given
          },
          commit: async () => {
            check('commit')
            for (const [topic, message] of written) this.#write(topic, message)
            if (mark !== undefined) this.offsets.set(`${mark.groupId}/${mark.topic}/0`, mark.offset)
            this.#call('committed')
          },
          abort: async () => check('abort'),
        }
      },
      close: async () => this.#call('close'),
    }
  }

  async readMark(groupId: string, topic: string): Promise<number | undefined> {
    this.#call('readMark')
    return this.offsets.get(`${groupId}/${topic}/0`)
  }

  async close(): Promise<void> {}

  async #fetch(topic: string, { from }: KafkaFetchRequest): Promise<readonly KafkaFetched[]> {
    // As from another process: never in the turn in which it was asked for.
    await new Promise((resolve) => setImmediate(resolve))
    this.#call('fetch')
    return Array.from(from, ([partition, offset]) => {
      const { first, messages } = this.#partition(topic, partition)
      const isOutOfRange = offset < first || offset > messages.length
      if (isOutOfRange) return { partition, messages: [], next: offset, isAtEnd: false, isOutOfRange }
      const found = messages.slice(offset).filter((message) => message !== undefined)
      return { partition, messages: found, next: messages.length, isAtEnd: true }
    })
  }

  #call(name: string): void {
    this.calls.push(name)
    const place = this.failures.findIndex(([call]) => call === name)
    if (place === -1) return
    const [failure] = this.failures.splice(place, 1)
    throw failure?.[1]
  }

  #write(topic: string, output: KafkaOutput): void {
    const partition = output.partition ?? 0
    this.#partition(topic, partition).messages.push(this.#message(topic, partition, output))
  }

  #message(
    topic: string,
    partition: number,
    { key, value, headers = {}, timestampMs = 0 }: KafkaOutput,
  ): KafkaMessage {
    const bytes = (given: string | Uint8Array) => (typeof given === 'string' ? Buffer.from(given) : given)
    return {
      topic,
      partition,
      offset: this.#partition(topic, partition).messages.length,
      timestampMs,
      key: key === undefined ? undefined : bytes(key),
      value: value === undefined ? undefined : bytes(value),
      headers: Object.fromEntries(Object.entries(headers).map(([name, content]) => [name, bytes(content)])),
    }
  }

  #partition(topic: string, partition: number): FakePartition {
    const found = this.topics.get(topic)?.partitions[partition]
    if (found === undefined) throw new Error(`there is no partition ${partition} of topic ${topic}`)
    return found
  }
}

export function textOf(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString('utf8')
}
