// Outputs as messages of JetStream, under ids by which the server drops what it has had within its window.

import { rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import { type IdentifiedOutput, identified } from '../../job/sink/function-sink.js'
import { OutboxWriter, openOutbox } from '../../job/sink/outbox-writer.js'
import type { OpenSinkOptions, Sink } from '../../job/sink/sink.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import { isUnheard, mayPass, type NatsClient, natsClient } from './nats-client.js'

/** Messages that are on their way at the same time. */
const DEFAULT_MAX_OUTPUTS = 500

export interface NatsSinkOptions<Output> extends OutageOptions {
  /** `jetstream(connection)` of `@nats-io/jetstream`. */
  readonly client: NatsClient
  /** The subject of all outputs, or of each. A stream must take it. */
  readonly subject: string | ((output: Output) => string)
  /** The payload. Default: the output as JSON. */
  readonly payload?: (output: Output) => string
  /** How many messages are on their way at the same time. They are stored in order, unless the connection fails between them. Default 500; 1 keeps the order always. */
  readonly maxOutputs?: number
}

/**
 * Outputs as messages of JetStream, at least once each, after the checkpoint that has them, under stable ids (`Nats-Msg-Id`): within the stream's
 * `duplicate_window` (2 minutes by default) the server drops those that come again; what comes again later is stored again.
 *
 * @example natsSink<Alert>({ client: jetstream(connection), subject: 'alerts' })
 */
export function natsSink<Output>(options: NatsSinkOptions<Output>): Sink<Output> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      client: natsClient,
      subject: (subject) =>
        typeof subject === 'function' || (typeof subject === 'string' && subject.length > 0)
          ? undefined
          : 'must be a subject, or a function that gives one',
      payload: rules.function,
      maxOutputs: rules.positiveInteger,
    }),
  )
  requireSettings(options, ['client', 'subject'])
  const { client, subject, maxOutputs = DEFAULT_MAX_OUTPUTS } = options
  const payload = options.payload ?? ((output: Output) => JSON.stringify(output))
  const name = typeof subject === 'string' ? `NATS subject ${subject}` : 'NATS subjects'
  const publish = async ({ id, output }: IdentifiedOutput<Output>) => {
    const to = typeof subject === 'string' ? subject : subject(output)
    await client.publish(to, payload(output), { msgID: id }).catch((error: unknown) => {
      if (!isUnheard(error)) throw error
      throw new Error(`no stream takes the subject ${to}, or JetStream is not enabled`, { cause: error })
    })
  }
  return Object.freeze({
    name,
    guarantee: 'idempotent' as const,
    open: async (request: OpenSinkOptions): Promise<OutboxWriter<Output>> => {
      const outage = new Outage({
        storage: name,
        passes: mayPass,
        ...outageOf(options),
      })
      const writer = new OutboxWriter<Output>(request, {
        maxOutputs,
        deliver: async ({ epoch, first, outputs }) => {
          // Those of a batch that have arrived are dropped where it is sent again.
          await outage.answerOf('publish', () =>
            Promise.all(identified(outputs, epoch, first).map((output) => publish(output))),
          )
        },
        close: async () => outage.close(),
      })
      return await openOutbox(request, writer)
    },
  })
}
