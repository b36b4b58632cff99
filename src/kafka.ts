export type {
  KafkaClient,
  KafkaFetched,
  KafkaFetchRequest,
  KafkaGroupRequest,
  KafkaMark,
  KafkaMembership,
  KafkaMessage,
  KafkaOutput,
  KafkaPartition,
  KafkaProducer,
  KafkaReader,
  KafkaReaderOptions,
  KafkaTopic,
  KafkaTransaction,
  KafkaTransactionalProducer,
  KafkaTransactions,
} from './sources/kafka/kafka-client.js'
export { type KafkaGroupOptions, kafkaGroup } from './sources/kafka/kafka-group.js'
export {
  type KafkaIdempotentSinkOptions,
  type KafkaSinkOptions,
  type KafkaTransactionalSinkOptions,
  kafkaSink,
} from './sources/kafka/kafka-sink.js'
export { type KafkaSourceOptions, kafkaSource } from './sources/kafka/kafka-source.js'
export { type Kafkajs, kafkajsClient } from './sources/kafka/kafkajs-client.js'
export {
  type PlatformaticConsumer,
  type PlatformaticKafkaClientOptions,
  type PlatformaticProducer,
  platformaticKafkaClient,
} from './sources/kafka/platformatic-client.js'
