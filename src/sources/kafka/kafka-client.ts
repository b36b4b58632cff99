// What a source and a sink need of a Kafka client. The adapters beside this file speak it with two clients; any other one can be given by
// whoever implements it.
//
// (1) Offsets are whole numbers: those of Kafka are below 2^53 for three centuries at a million messages a second.
// (2) Only what was committed is read, and nothing of transactions that were aborted (read committed).
// (3) A client never goes on from another offset than the one that was asked for.
// (4) Errors have the code of the Kafka protocol, where a broker has told one, as `code` or `apiCode`, or their `cause` has.

/** A message as it was read. */
export interface KafkaMessage {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** In milliseconds since the epoch, as the topic keeps it: when it was made, or when it was appended. */
  readonly timestampMs: number
  readonly key: Uint8Array | undefined
  /** `undefined`: a tombstone. */
  readonly value: Uint8Array | undefined
  /** Of headers with the same name, the last one. */
  readonly headers: { readonly [name: string]: Uint8Array }
}

/** A message to be written. Text is UTF-8. */
export interface KafkaOutput {
  readonly key?: string | Uint8Array | undefined
  /** `undefined`: a tombstone. */
  readonly value: string | Uint8Array | undefined
  readonly headers?: { readonly [name: string]: string | Uint8Array }
  /** Default: the client's partitioner chooses by the key. */
  readonly partition?: number
  /** Default: now. */
  readonly timestampMs?: number
}

/** What there is of a partition. */
export interface KafkaPartition {
  readonly partition: number
  /** Of the first message that is still there. */
  readonly first: number
  /** Behind the last one that is decided: of a transaction that is open, nothing is. */
  readonly end: number
}

/** What there is of a topic. */
export interface KafkaTopic {
  /** Another one where the topic was deleted and made again; `undefined` where the client does not tell. */
  readonly id: string | undefined
  readonly partitions: readonly KafkaPartition[]
}

/** What was read of a partition. */
export interface KafkaFetched {
  readonly partition: number
  readonly messages: readonly KafkaMessage[]
  /** Where to go on: behind the messages, and behind what is none (marks of transactions, and what these have aborted). */
  readonly next: number
  /** There is nothing more at the moment. */
  readonly isAtEnd: boolean
  /** The offset that was asked for is not there, or the client cannot tell. */
  readonly isOutOfRange?: boolean
}

/** What is wanted of a topic at the moment. */
export interface KafkaFetchRequest {
  /** The offset to go on from, by partition. */
  readonly from: ReadonlyMap<number, number>
  /** How long to wait where there is nothing, in milliseconds. */
  readonly waitMs: number
}

/** Reads a topic. One `fetch` at a time. */
export interface KafkaReader {
  /**
   * What comes next is on its way while nobody asks for it, and little of it is given at a time: it is asked for once all of that is used. Default
   * false: it is asked for beside the work on what there is.
   */
  readonly readsAhead?: boolean
  /**
   * What there is of some of the partitions: one that was not asked at the broker meanwhile is not told. What it rejects with may pass: it is asked
   * again.
   */
  fetch(request: KafkaFetchRequest): Promise<readonly KafkaFetched[]>
  /** Idempotent. Ends a `fetch` that is under way. */
  close(): Promise<void>
}

/** What a reader reads, and how much at a time. */
export interface KafkaReaderOptions {
  readonly topic: string
  readonly groupId: string
  /** Most bytes of a partition in one answer. */
  readonly maxPartitionBytes: number
  /** How old what the client knows of the topic's partitions may be, in milliseconds. */
  readonly lookEveryMs: number
  /** The partitions that will be fetched first, and from where: a client that reads ahead begins there, and with no others. */
  readonly from: ReadonlyMap<number, number>
}

/** The offset of a consumer group in partition 0 of a topic. */
export interface KafkaMark {
  readonly groupId: string
  readonly topic: string
  readonly offset: number
}

/** A transaction that is open. */
export interface KafkaTransaction {
  send(topic: string, messages: readonly KafkaOutput[]): Promise<void>
  /** The mark is set where the transaction is committed, and only then. */
  setMark(mark: KafkaMark): Promise<void>
  commit(): Promise<void>
  abort(): Promise<void>
}

/** Writes messages outside of transactions: each once, whatever is sent again (idempotent). */
export interface KafkaProducer {
  send(topic: string, messages: readonly KafkaOutput[]): Promise<void>
  close(): Promise<void>
}

/** Whoever else has opened a producer of the same id before can write nothing more, and what it has not committed is aborted. */
export interface KafkaTransactionalProducer {
  begin(): Promise<KafkaTransaction>
  close(): Promise<void>
}

/** What transactions are made with. */
export interface KafkaTransactions {
  /** Resolves once everybody else of that id is fenced off. */
  open(transactionalId: string): Promise<KafkaTransactionalProducer>
  /** The offset of a mark as it was committed last; `undefined` where there is none. */
  readMark(groupId: string, topic: string): Promise<number | undefined>
}

/** How a process becomes a member of a consumer group, and who is told of its partitions. */
export interface KafkaGroupRequest {
  readonly groupId: string
  readonly topic: string
  readonly sessionTimeoutMs: number
  /** All partitions that this member has from now on. */
  readonly onAssigned: (partitions: readonly number[]) => void
  /** There will be nothing more. */
  readonly onFailure: (error: unknown) => void
}

/** A membership in a consumer group. */
export interface KafkaMembership {
  leave(): Promise<void>
}

/** What a source, a sink and a group need of a client of Kafka. */
export interface KafkaClient {
  /** For messages: that of the library. */
  readonly name: string
  describe(topic: string): Promise<KafkaTopic>
  openReader(options: KafkaReaderOptions): Promise<KafkaReader>
  /**
   * Notes for a consumer group how far the topic was read, for whoever watches its lag. Nothing rests on it.
   */
  commitOffsets(groupId: string, topic: string, offsets: ReadonlyMap<number, number>): Promise<void>
  /** Becomes a member of a consumer group, without reading anything. Absent where the client cannot do that. */
  joinGroup?(request: KafkaGroupRequest): Promise<KafkaMembership>
  openProducer(): Promise<KafkaProducer>
  /** A string: the client's transactions cannot be relied on, and why. */
  readonly transactions: KafkaTransactions | string
  close(): Promise<void>
}
