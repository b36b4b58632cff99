// Outputs lie in the state of the job until they were delivered: they are in the same cut as everything else, and nothing is given away
// that no cut has.
//
// (1) An epoch is a stretch of numbered outputs; its token says which. What is not in the state any more was acknowledged.
// (2) An epoch is delivered once a cut names it, and again after a crash where its end is in no cut: under the same ids.
// (3) What no cut names is removed when the sink is opened.

import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { invalidArgument, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type { IdentifiedOutput } from './function-sink.js'
import type { EpochId, OpenSinkOptions, PreparedEpoch, Sink, SinkState, SinkWriter } from './sink.js'

const DELIVERED_AT_ONCE = 1_000

export interface OutboxSinkOptions<Output> {
  readonly name?: string
  /**
   * Delivers outputs, in order. What it resolves is acknowledged and removed from the state; what it rejects with ends the job, and they
   * are delivered again when that runs again, under the same ids.
   */
  readonly deliver: (outputs: readonly IdentifiedOutput<Output>[]) => void | Promise<void>
  /** How many outputs are delivered in one call. Default 1,000. */
  readonly maxOutputs?: number
}

/**
 * Delivers outputs at least once each, under stable ids, and only those that a cut has: where the job goes back to an earlier cut, what it has
 * delivered was in that one or an earlier one. Outputs must be JSON. They take room in the state until they are delivered, which is once
 * for each checkpoint.
 *
 * @example outboxSink<Alert>({ deliver: (alerts) => postEach(alerts.map(({ id, output }) => ({ key: id, body: output }))) })
 */
export function outboxSink<Output>(options: OutboxSinkOptions<Output>): Sink<Output> {
  rejectViolations(
    violationsOf(options, {
      name: (name) => (typeof name === 'string' ? undefined : 'must be text'),
      deliver: rules.function,
      maxOutputs: rules.positiveInteger,
    }),
  )
  if (options?.deliver === undefined) throw invalidArgument('options.deliver', 'is required')
  return Object.freeze({
    name: options.name ?? 'outbox',
    guarantee: 'idempotent' as const,
    open: ({ prepared, state }: OpenSinkOptions) => OutboxWriter.open(options, prepared, state),
  })
}

/** A type, so that it is JSON to the compiler. */
type Stretch = { readonly first: number; readonly next: number }

class OutboxWriter<Output> implements SinkWriter<Output> {
  readonly #options: OutboxSinkOptions<Output>
  readonly #state: SinkState
  /** The outputs of the epoch at hand. */
  #first: number
  #next: number

  private constructor(options: OutboxSinkOptions<Output>, state: SinkState, next: number) {
    this.#options = options
    this.#state = state
    this.#first = next
    this.#next = next
  }

  static async open<Output>(
    options: OutboxSinkOptions<Output>,
    prepared: readonly PreparedEpoch[],
    state: SinkState | undefined,
  ): Promise<OutboxWriter<Output>> {
    if (state === undefined)
      throw invalidArgument('state', 'is required: an outbox is a part of the state of a job')
    const last = prepared.at(-1)
    const next = last === undefined ? 0 : stretchOf(last).next
    state.removeFrom(next, Infinity)
    const writer = new OutboxWriter(options, state, next)
    for (const each of prepared) await writer.commit(each)
    return writer
  }

  async write(outputs: readonly Output[]): Promise<void> {
    for (const output of outputs) this.#state.put(this.#next++, output as JsonValue)
  }

  async prepare(): Promise<JsonValue> {
    const stretch: Stretch = { first: this.#first, next: this.#next }
    this.#first = this.#next
    return stretch
  }

  async commit(prepared: PreparedEpoch): Promise<void> {
    const { first, next } = stretchOf(prepared)
    const { deliver, maxOutputs = DELIVERED_AT_ONCE } = this.#options
    for (let from = first; from < next; from += maxOutputs) {
      const until = Math.min(next, from + maxOutputs)
      const outputs: IdentifiedOutput<Output>[] = []
      for (const [number, output] of this.#state.read(from, until)) {
        outputs.push({ id: idOf(prepared.epoch, number - first), output: output as Output })
      }
      if (outputs.length > 0) await deliver(outputs)
      this.#state.removeFrom(from, until)
    }
  }

  async close(): Promise<void> {}
}

const idOf = ({ lineage, number }: EpochId, index: number): string => `${lineage}-${number}-${index}`

function stretchOf({ token }: PreparedEpoch): Stretch {
  const { first, next } = (token ?? {}) as Partial<Stretch>
  if (Number.isSafeInteger(first) && Number.isSafeInteger(next)) return { first, next } as Stretch
  const reason = `the cut names ${JSON.stringify(token)}, which are no outputs of an outbox`
  throw new StateError('RESTORE_FAILED', { checkpointId: undefined, reason, skipped: [] })
}
