// Outputs as messages of a topic. In transactions, each exactly once: a transaction has the outputs of an epoch, and a mark.
//
//   the mark := the offset of group TRANSACTIONAL_ID.LINEAGE in partition 0 of the topic: how many epochs of the lineage are written
//
// (1) Outputs are in the state of the job until a cut has them; then one transaction writes those of the epoch, and the mark.
// (2) Whoever opens the sink opens the transactional id: a zombie is fenced by the brokers, and its open transaction aborted. Brokers do not know who
//     owns the job: where a zombie opens the id late, the owner opens it anew.
// (3) Whether a transaction was committed is decided by the mark, read after the id was opened, and by nothing else.

import { isStateError, StateError } from '../../base/errors.js'
import {
  hasMethods,
  invalidArgument,
  nonEmptyText,
  oneOf,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../../base/options.js'
import { identified } from '../../job/sink/function-sink.js'
import { type OutboxBatch, OutboxWriter, openOutbox } from '../../job/sink/outbox-writer.js'
import type { OpenSinkOptions, Sink, SinkWriter } from '../../job/sink/sink.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import { withoutSecrets } from '../../remote/secrets.js'
import { isLost, type Ledger, type LostOutputs, ledgerSink, type NotedEpoch } from '../shared/ledger-sink.js'
import { isFenced, mayPass } from './broker-errors.js'
import type {
  KafkaClient,
  KafkaOutput,
  KafkaProducer,
  KafkaTransactionalProducer,
  KafkaTransactions,
} from './kafka-client.js'

const DEFAULT_ID_HEADER = 'holdfast-id'
/** So many messages go in one call of the client. */
const SENT_AT_ONCE = 1_000

interface CommonSinkOptions<Output> extends OutageOptions {
  /** Made by `kafkajsClient`, `platformaticKafkaClient`, or by an adapter of your own. It stays the caller's to close. */
  readonly client: KafkaClient
  readonly topic: string
  /** The message of an output, which is as the state has kept it: JSON. Default: its value is the JSON of the output, without a key. */
  readonly encode?: (output: Output) => KafkaOutput
}

export interface KafkaTransactionalSinkOptions<Output> extends CommonSinkOptions<Output> {
  readonly guarantee: 'transactional'
  /** One for each job, and always the same one: by it the brokers fence off whoever had it before. */
  readonly transactionalId: string
  /**
   * What happens where epochs that the job has delivered are not noted at the brokers: the topic's cluster was restored from a backup, or the
   * offsets of the group have expired (`offsets.retention.minutes`, 7 days) while the job did not run: `'fail'`, the default, is
   * `RESTORE_FAILED`; `'continue'` goes on: it writes what the state has.
   */
  readonly onLostOutputs?: 'fail' | 'continue'
}

export interface KafkaIdempotentSinkOptions<Output> extends CommonSinkOptions<Output> {
  readonly guarantee: 'idempotent'
  /** The header that has the id of an output: whoever reads drops what has an id that it has seen. Default `'holdfast-id'`. */
  readonly idHeader?: string
}

export type KafkaSinkOptions<Output> =
  | KafkaTransactionalSinkOptions<Output>
  | KafkaIdempotentSinkOptions<Output>

/**
 * Outputs as messages of a Kafka topic, once a checkpoint has them. They must be JSON, and lie in the state of the job until then.
 *
 * With `guarantee: 'transactional'` each is there exactly once for whoever reads committed messages: one transaction for each checkpoint, which
 * other processes of the same `transactionalId` cannot commit any more. It needs a client whose transactions can be relied on. With `'idempotent'`
 * each is there at least once, with its id in a header. After going back to an older checkpoint, messages that were written since stay.
 *
 * @example kafkaSink<Alert>({ client, topic: 'alerts', guarantee: 'transactional', transactionalId: 'alerts-job' })
 */
export function kafkaSink<Output>(options: KafkaSinkOptions<Output>): Sink<Output> {
  rejectViolations(violationsOf(options, rulesOf(options?.guarantee)))
  const required = [
    'client',
    'topic',
    'guarantee',
    ...(options?.guarantee === 'transactional' ? ['transactionalId'] : []),
  ]
  requireSettings(options, required)
  const name = `Kafka topic ${options.topic}`
  if (options.guarantee === 'idempotent') {
    const open = (request: OpenSinkOptions) => openIdempotent(request, options)
    return Object.freeze({ name, guarantee: options.guarantee, open })
  }
  const { transactions } = options.client
  if (typeof transactions === 'string') {
    throw invalidArgument('options.guarantee', `must be 'idempotent': ${transactions}`)
  }
  return ledgerSink(name, () => new TransactionLedger(options, transactions), {
    maxOutputs: Infinity,
    ...(options.onLostOutputs !== undefined && { onLostOutputs: options.onLostOutputs }),
  })
}

function rulesOf(guarantee: unknown) {
  const common = {
    ...outageRules,
    client: hasMethods('openProducer'),
    topic: nonEmptyText,
    encode: rules.function,
    guarantee: oneOf('transactional', 'idempotent'),
  }
  if (guarantee === 'idempotent') return { ...common, idHeader: nonEmptyText }
  return { ...common, transactionalId: nonEmptyText, onLostOutputs: oneOf('fail', 'continue') }
}

const json = (output: unknown): KafkaOutput => ({ value: JSON.stringify(output) })

/** At least once, with ids. */
async function openIdempotent<Output>(
  request: OpenSinkOptions,
  options: KafkaIdempotentSinkOptions<Output>,
): Promise<SinkWriter<Output>> {
  const { client, topic, idHeader = DEFAULT_ID_HEADER } = options
  const encode = options.encode ?? json
  const outage = new Outage({ ...outageOf(options), storage: `Kafka topic ${topic}`, passes: mayPass })
  let producer: KafkaProducer | undefined
  let attempts = 0
  const send = async (messages: readonly KafkaOutput[]) => {
    const attempt = ++attempts
    const opened = producer ?? (await client.openProducer())
    // An attempt that was given up goes on: another one has opened a producer since, or the sink is closed.
    if (attempt !== attempts && producer !== opened) {
      await opened.close()
      throw new StateError('ABORTED', { operation: 'open a producer' })
    }
    producer = opened
    try {
      await opened.send(topic, messages)
    } catch (error) {
      // The next attempt begins with a producer that knows the topic as it is by then.
      if (producer === opened) producer = undefined
      await opened.close().catch(() => {})
      throw error
    }
  }
  const writer = new OutboxWriter<Output>(request, {
    maxOutputs: SENT_AT_ONCE,
    deliver: async ({ epoch, first, outputs }) => {
      if (outputs.length === 0) return
      const messages = identified(outputs, epoch, first).map(({ id, output }) => {
        const message = encode(output)
        return { ...message, headers: { ...message.headers, [idHeader]: id } }
      })
      await outage.answerOf('send', () => send(messages))
    },
    close: async () => {
      attempts++
      outage.close()
      await producer?.close()
    },
  })
  return await openOutbox(request, writer)
}

/** A producer, and how many epochs of a lineage are written, as far as it was read while it was at hand. */
interface OpenedId {
  readonly producer: KafkaTransactionalProducer
  readonly marks: Map<string, number>
}

/** Exactly once; (1) to (3). */
class TransactionLedger<Output> implements Ledger<Output> {
  readonly place: string
  readonly #options: KafkaTransactionalSinkOptions<Output>
  readonly #transactions: KafkaTransactions
  readonly #outage: Outage
  /** `undefined`: the last attempt has failed, or is not over. */
  #opened: OpenedId | undefined
  /** Of attempts, and of the closing: an attempt that is not the last one was given up, and goes on. It leaves nothing open. */
  #attempts = 0
  #checkOwner: (() => Promise<void>) | undefined
  /** Whether the id was opened anew after another producer of it. Once: two jobs that were given one id by mistake would fence each other for ever. */
  #hasOpenedAnew = false

  constructor(options: KafkaTransactionalSinkOptions<Output>, transactions: KafkaTransactions) {
    this.place = `Kafka topic ${options.topic}`
    this.#options = options
    this.#transactions = transactions
    this.#outage = new Outage({ ...outageOf(options), storage: this.place, passes: mayPass })
  }

  async claim(_owner: string, checkOwner: (() => Promise<void>) | undefined): Promise<void> {
    this.#checkOwner = checkOwner
    await this.#outage.answerOf('open the transactional id', async () => {
      const attempt = ++this.#attempts
      await this.#keep(attempt, await this.#open())
    })
  }

  async append(
    batch: OutboxBatch<Output>,
    _owner: string,
    acceptsLoss: boolean,
  ): Promise<LostOutputs | undefined> {
    return await this.#outage.answerOf('write a transaction', () => this.#attempt(batch, acceptsLoss))
  }

  async noted(lineage: string): Promise<NotedEpoch | undefined> {
    const mark = await this.#outage.answerOf('read the mark', () =>
      this.#transactions.readMark(this.#groupOf(lineage), this.#options.topic),
    )
    return notedBy(mark)
  }

  async close(): Promise<void> {
    this.#attempts++
    this.#outage.close()
    await this.#opened?.producer.close()
    this.#opened = undefined
  }

  async #open(): Promise<OpenedId> {
    await this.#requireOwner()
    return { producer: await this.#transactions.open(this.#options.transactionalId), marks: new Map() }
  }

  /** That the storage of the checkpoints is away for a while, as brokers may be at the same time, says nothing of the owner: it is asked again. */
  async #requireOwner(): Promise<void> {
    try {
      await this.#checkOwner?.()
    } catch (error) {
      if (!isStateError(error, 'STORAGE_ERROR')) throw error
      throw new Error(error.message, { cause: error })
    }
  }

  async #keep(attempt: number, opened: OpenedId): Promise<void> {
    if (attempt === this.#attempts) this.#opened = opened
    else await opened.producer.close()
  }

  /** Writes an epoch where it is not there yet. */
  async #attempt(batch: OutboxBatch<Output>, acceptsLoss: boolean): Promise<LostOutputs | undefined> {
    // An attempt that fails, or is given up, leaves the next one a producer of its own, by which it is fenced off.
    const attempt = ++this.#attempts
    const held = this.#opened
    this.#opened = undefined
    const opened = held ?? (await this.#open())
    try {
      if (attempt !== this.#attempts) throw new StateError('ABORTED', { operation: 'write a transaction' })
      const noted = await this.#noted(opened, batch.epoch.lineage)
      const isWritten = noted !== undefined && noted.number >= batch.epoch.number
      const lost = !isWritten && !acceptsLoss && isLost(noted, batch.epoch, batch.first)
      if (lost) await this.#writeMark(opened, batch.epoch.lineage, noted)
      else if (!isWritten) await this.#write(opened, batch)
      await this.#keep(attempt, opened)
      return lost ? { noted } : undefined
    } catch (error) {
      await opened.producer.close().catch(() => {})
      if (!isFenced(error) || attempt !== this.#attempts) throw error
      if (this.#checkOwner !== undefined && !this.#hasOpenedAnew) {
        this.#hasOpenedAnew = true
        await this.#requireOwner()
        // The job is still ours: the next attempt opens the id anew, and the mark tells what was written.
        throw error
      }
      const resource = `transactional id ${this.#options.transactionalId}`
      throw new StateError(
        'FENCED',
        { resource, owner: 'a producer that was opened later' },
        { cause: withoutSecrets(error) },
      )
    }
  }

  async #write({ producer, marks }: OpenedId, { epoch, outputs }: OutboxBatch<Output>): Promise<void> {
    const { topic, encode = json } = this.#options
    const transaction = await producer.begin()
    for (let from = 0; from < outputs.length; from += SENT_AT_ONCE) {
      await transaction.send(topic, outputs.slice(from, from + SENT_AT_ONCE).map(encode))
    }
    const mark = { groupId: this.#groupOf(epoch.lineage), topic, offset: epoch.number + 1 }
    await transaction.setMark(mark)
    await transaction.commit()
    marks.set(epoch.lineage, mark.offset)
  }

  /**
   * Writes the mark as it was read. Brokers refuse that where the id was opened by another one since, whose newer mark may not be seen yet: what is missing
   * then is not lost.
   */
  async #writeMark({ producer }: OpenedId, lineage: string, noted: NotedEpoch | undefined): Promise<void> {
    const transaction = await producer.begin()
    const offset = noted === undefined ? 0 : noted.number + 1
    await transaction.setMark({ groupId: this.#groupOf(lineage), topic: this.#options.topic, offset })
    await transaction.commit()
  }

  async #noted({ marks }: OpenedId, lineage: string): Promise<NotedEpoch | undefined> {
    const mark =
      marks.get(lineage) ?? (await this.#transactions.readMark(this.#groupOf(lineage), this.#options.topic))
    if (mark !== undefined) marks.set(lineage, mark)
    return notedBy(mark)
  }

  #groupOf(lineage: string): string {
    return `${this.#options.transactionalId}.${lineage}`
  }
}

/** All outputs of an epoch are there, or none; of no epoch, where the mark is 0. */
function notedBy(mark: number | undefined): NotedEpoch | undefined {
  return mark === undefined || mark === 0 ? undefined : { number: mark - 1, outputs: Infinity }
}
