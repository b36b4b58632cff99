// Outputs lie in the state of the job until they were delivered: they are in the same cut as everything else, and nothing is given away
// that no cut has.
//
// (1) An epoch is a stretch of numbered outputs; its token says which. What is not in the state any more was acknowledged.
// (2) An epoch is delivered once a cut names it, and again after a crash where its end is in no cut: under the same ids.
// (3) What no cut names is removed when the sink is opened.
// (4) The token `null` is of the sink before this one, which had nothing to commit (sink.ts).

import { unlessGivenUp } from '../../base/abort.js'
import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { invalidArgument } from '../../base/options.js'
import type { EpochId, OpenSinkOptions, PreparedEpoch, SinkState, SinkWriter } from './sink.js'

/** A stretch of the outputs of one epoch. */
export interface OutboxBatch<Output> {
  readonly epoch: EpochId
  /** The index of the first of them in its epoch. */
  readonly first: number
  /** None: the epoch has none, or they were acknowledged before. */
  readonly outputs: readonly Output[]
  /** Whether they are the last ones of their epoch. */
  readonly isLast: boolean
  /** Who has prepared the epoch, where that was told. */
  readonly preparedBy?: string
}

export interface OutboxDelivery<Output> {
  /** A random id of this run, which is in the cut with each epoch that it prepares. */
  readonly preparedBy?: string
  /** How many outputs are delivered in one call. */
  readonly maxOutputs: number
  /** What it resolves is acknowledged, and removed from the state. It is called at least once for each epoch. */
  deliver(batch: OutboxBatch<Output>): Promise<void>
  close?(): Promise<void>
}

/** A type, so that it is JSON to the compiler. */
type Stretch = { readonly first: number; readonly next: number; readonly by?: string }

/** Keeps outputs in the state of the job until a cut has them, and gives them to a delivery then. */
export class OutboxWriter<Output> implements SinkWriter<Output> {
  readonly #delivery: OutboxDelivery<Output>
  readonly #state: SinkState
  /** Epochs that were delivered beside the events, until they are committed. */
  readonly #delivered = new Set<string>()
  /** The outputs of the epoch at hand. */
  #first: number
  #next: number

  constructor({ prepared, state }: OpenSinkOptions, delivery: OutboxDelivery<Output>) {
    if (state === undefined)
      throw invalidArgument('state', 'is required: an outbox is a part of the state of a job')
    const last = prepared.findLast(({ token }) => token !== null)
    const next = last === undefined ? 0 : stretchOf(last).next
    if (mayHave(state, next)) state.removeFrom(next, Infinity)
    this.#delivery = delivery
    this.#state = state
    this.#first = next
    this.#next = next
  }

  /** What the cut names that the job goes on from. */
  async commitAll(prepared: readonly PreparedEpoch[]): Promise<void> {
    for (const each of prepared) await this.commit(each)
  }

  async write(outputs: readonly Output[]): Promise<void> {
    for (const output of outputs) this.#state.put(this.#next++, output as JsonValue)
  }

  async prepare(): Promise<JsonValue> {
    const { preparedBy } = this.#delivery
    const own = preparedBy === undefined ? {} : { by: preparedBy }
    const stretch: Stretch = { first: this.#first, next: this.#next, ...own }
    this.#first = this.#next
    return stretch
  }

  /** Its outputs stay in the state until it is committed: what changes that is done between two events. */
  async deliver(prepared: PreparedEpoch): Promise<void> {
    if (prepared.token === null) return
    await this.#deliverAll(prepared, () => {})
    this.#delivered.add(idOf(prepared.epoch))
  }

  async commit(prepared: PreparedEpoch): Promise<void> {
    if (prepared.token === null) return
    const removeFrom = (from: number, until: number) => this.#state.removeFrom(from, until)
    if (this.#delivered.delete(idOf(prepared.epoch))) {
      const { first, next } = stretchOf(prepared)
      removeFrom(first, next)
    } else await this.#deliverAll(prepared, removeFrom)
  }

  async #deliverAll(
    prepared: PreparedEpoch,
    acknowledged: (from: number, until: number) => void,
  ): Promise<void> {
    const { first, next, by } = stretchOf(prepared)
    const whose = by === undefined ? {} : { preparedBy: by }
    const { maxOutputs } = this.#delivery
    for (let from = first; ; from += maxOutputs) {
      const until = Math.min(next, from + maxOutputs)
      const found = this.#state.read(from, until)
      // A synchronous engine is read at once: events that change it may be processed beside whatever is waited for.
      const all = Symbol.iterator in found ? Array.from(found) : await collected(found)
      const outputs = all.map(([, output]) => output as Output)
      // Those in front of what is found were acknowledged in an earlier run.
      const firstIndex = (all[0]?.[0] ?? until) - first
      const isLast = until === next
      await this.#delivery.deliver({ epoch: prepared.epoch, first: firstIndex, outputs, isLast, ...whose })
      acknowledged(from, until)
      if (isLast) return
    }
  }

  async close(): Promise<void> {
    await this.#delivery.close?.()
  }
}

/**
 * Makes what the cut names count, and resolves the writer then. It is closed where that fails, and where the opening is given up: for a delivery
 * that ends with `ABORTED` when it is closed.
 */
export async function openOutbox<Output>(
  { prepared, signal }: OpenSinkOptions,
  writer: OutboxWriter<Output>,
): Promise<OutboxWriter<Output>> {
  // What has failed is told, and not what fails because of it.
  const close = () => writer.close().catch(() => {})
  try {
    await unlessGivenUp(
      signal,
      'open the sink',
      () => writer.commitAll(prepared),
      () => void close(),
    )
    return writer
  } catch (error) {
    await close()
    throw error
  }
}

async function collected<Each>(found: AsyncIterable<Each>): Promise<Each[]> {
  const all: Each[] = []
  for await (const each of found) all.push(each)
  return all
}

const idOf = ({ lineage, number }: EpochId): string => `${lineage} ${number}`

/** Whether outputs from a number on may be there. They follow one another: where that one is not, none is. */
function mayHave(state: SinkState, number: number): boolean {
  const found = state.read(number, number + 1)
  if (!(Symbol.iterator in found)) return true
  for (const _ of found) return true
  return false
}

/** What an outbox has prepared; `undefined` where the token is that of another sink. */
export function stretchIn(token: JsonValue): Stretch | undefined {
  const { first, next, by } = (token ?? {}) as Partial<Stretch>
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(next)) return undefined
  return { first, next, ...(typeof by === 'string' && { by }) } as Stretch
}

function stretchOf({ token }: PreparedEpoch): Stretch {
  const stretch = stretchIn(token)
  if (stretch !== undefined) return stretch
  const reason = `the cut names ${JSON.stringify(token)}, which are no outputs of an outbox`
  throw new StateError('RESTORE_FAILED', { checkpointId: undefined, reason, skipped: [] })
}
