export type { OutageOptions } from './remote/outage.js'
export type { NatsClient, NatsConsumer, NatsMessage, NatsMessages } from './sources/nats/nats-client.js'
export { type NatsSinkOptions, natsSink } from './sources/nats/nats-sink.js'
export { type NatsSourceOptions, natsSource } from './sources/nats/nats-source.js'
