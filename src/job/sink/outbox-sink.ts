import { anyText, rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import { type IdentifiedOutput, identified } from './function-sink.js'
import { OutboxWriter } from './outbox-writer.js'
import type { OpenSinkOptions, Sink } from './sink.js'

const DELIVERED_AT_ONCE = 1_000

export interface OutboxSinkOptions<Output> {
  /** For messages and figures. Default `'outbox'`. */
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
      name: anyText,
      deliver: rules.function,
      maxOutputs: rules.positiveInteger,
    }),
  )
  requireSettings(options, ['deliver'])
  return Object.freeze({
    name: options.name ?? 'outbox',
    guarantee: 'idempotent' as const,
    open: async (request: OpenSinkOptions): Promise<OutboxWriter<Output>> => {
      const { deliver, maxOutputs = DELIVERED_AT_ONCE } = options
      const writer = new OutboxWriter<Output>(request, {
        maxOutputs,
        deliver: async ({ epoch, first, outputs }) => {
          if (outputs.length > 0) await deliver(identified(outputs, epoch, first))
        },
      })
      await writer.commitAll(request.prepared)
      return writer
    },
  })
}
