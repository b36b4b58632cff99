// The caller's client, as far as it is used here: `jetstream(connection)` of `@nats-io/jetstream`.

import type { Rule } from '../../base/options.js'
import { hasMethods } from '../../base/options.js'
import { isErrorLike } from '../../base/shapes.js'

/** A message of a stream. */
export interface NatsMessage {
  readonly subject: string
  readonly data: Uint8Array
  /** Its sequence in the stream. */
  readonly seq: number
  readonly info: {
    /** How many there were behind it when it was sent. */
    readonly pending: number
  }
  string(): string
}

/** Messages of an ordered consumer. */
export interface NatsMessages extends AsyncIterable<NatsMessage> {
  close(): Promise<unknown>
}

/** The part of a JetStream consumer that is used. */
export interface NatsConsumer {
  info(): Promise<{ readonly num_pending: number }>
  consume(options: { max_messages: number }): Promise<NatsMessages>
  delete(): Promise<unknown>
}

/** The caller's JetStream client: TLS, credentials and addresses are those of its connection. That stays the caller's to close. */
export interface NatsClient {
  readonly consumers: {
    get(
      stream: string,
      options: {
        opt_start_seq: number
        deliver_policy: 'by_start_sequence'
        filter_subjects?: string[]
      },
    ): Promise<NatsConsumer>
  }
  publish(
    subject: string,
    payload: string,
    options: { msgID: string },
  ): Promise<{ readonly seq: number; readonly duplicate: boolean }>
  jetstreamManager(checkAPI?: boolean): Promise<{
    readonly streams: {
      info(stream: string): Promise<{
        readonly state: { readonly first_seq: number; readonly last_seq: number }
        readonly config: { readonly duplicate_window?: number }
        /** When it was made: of one that was deleted and made again, another time. */
        readonly created?: string
      }>
    }
  }>
}

export const natsClient: Rule = (client) =>
  hasMethods('publish', 'jetstreamManager')(client) === undefined &&
  hasMethods('get')((client as Partial<NatsClient>).consumers) === undefined
    ? undefined
    : 'must be a client of @nats-io/jetstream: jetstream(connection)'

/** The status of an answer by which a server says that it cannot do it now: no leader yet, no room at the moment, JetStream still starts. */
const UNAVAILABLE = 503
/** As much, by its own code: no leader yet, not enabled, no room. */
const PASSING = new Set([10_008, 10_009, 10_023, 10_039, 10_076])
/** The caller's connection was closed, or has given up. */
const IS_OVER = /closed|draining|authoriz|permission/i

/** Whether nobody has answered a message: the client takes that for a server without JetStream, and mostly no stream has the subject. */
export function isUnheard(error: unknown): boolean {
  return isErrorLike(error) && /^(JetStreamNotEnabled|NoResponders)/.test(error.name)
}

/** Whether what has failed may succeed later by itself. */
export function mayPass(error: Error): boolean {
  if (IS_OVER.test(error.message) || IS_OVER.test(error.name)) return false
  if (!/Api|StreamNotFound|ConsumerNotFound/.test(error.name)) return true
  const { code, status } = error as { readonly code?: unknown; readonly status?: unknown }
  return (
    status === UNAVAILABLE ||
    PASSING.has(Number(code)) ||
    /temporarily unavailable|no responders/i.test(error.message)
  )
}
