import type { KafkaMessage } from './kafka-client.js'

/** A batch of records as it lies in a partition. */
export interface CommittedBatch {
  readonly firstOffset: bigint
  readonly lastOffsetDelta: number
  readonly firstTimestamp: bigint
  readonly attributes: number
  readonly producerId: bigint
  readonly records: readonly {
    readonly offsetDelta: number
    readonly timestampDelta: bigint
    readonly key: Uint8Array | null | undefined
    readonly value: Uint8Array | null | undefined
    readonly headers: readonly (readonly [name: Uint8Array, value: Uint8Array])[]
  }[]
}

export interface FetchedBatches {
  readonly topic: string
  readonly partition: number
  /** The offset that was asked for: the first batch may begin before it. */
  readonly from: number
  readonly batches: readonly CommittedBatch[]
  /** Transactions that were aborted, in the order of their first offsets. */
  readonly aborted: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[]
}

/** Bits of the attributes of a batch. */
const IS_TRANSACTIONAL = 0x10
const IS_CONTROL = 0x20

const text = new TextDecoder()
const NO_HEADERS: KafkaMessage['headers'] = Object.freeze({})

/** The messages of batches without marks of transactions, and without what these have aborted: as every reader of committed messages does it. */
export function committedMessages({ topic, partition, from, batches, aborted }: FetchedBatches): {
  readonly messages: readonly KafkaMessage[]
  readonly next: number
} {
  const messages: KafkaMessage[] = []
  const waiting = [...aborted].sort((left, right) => (left.firstOffset < right.firstOffset ? -1 : 1))
  /** Producers of which what comes is aborted. */
  const aborting = new Set<bigint>()
  let next = from
  for (const batch of batches) {
    const first = Number(batch.firstOffset)
    const last = first + batch.lastOffsetDelta
    while (waiting[0] !== undefined && Number(waiting[0].firstOffset) <= last) {
      aborting.add(waiting[0].producerId)
      waiting.shift()
    }
    next = Math.max(next, last + 1)
    if ((batch.attributes & IS_CONTROL) !== 0) {
      // The mark of the end of a transaction, whichever.
      aborting.delete(batch.producerId)
      continue
    }
    if ((batch.attributes & IS_TRANSACTIONAL) !== 0 && aborting.has(batch.producerId)) continue
    const firstMs = Number(batch.firstTimestamp)
    for (const { offsetDelta, timestampDelta, key, value, headers } of batch.records) {
      const offset = first + offsetDelta
      if (offset < from) continue
      messages.push({
        topic,
        partition,
        offset,
        timestampMs: firstMs + Number(timestampDelta),
        key: key ?? undefined,
        value: value ?? undefined,
        headers:
          headers.length === 0
            ? NO_HEADERS
            : Object.fromEntries(headers.map(([name, content]) => [text.decode(name), content])),
      })
    }
  }
  return { messages, next }
}
