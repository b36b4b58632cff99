import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { itSurvivesKills } from './every-service.js'

itSurvivesKills(
  'nats',
  (address, value) =>
    use(address, async (connection) => {
      const manager = await jetstreamManager(connection)
      await manager.streams.add({ name: 'list', subjects: ['list'] })
      await jetstream(connection).publish('list', value)
    }),
  (address) =>
    use(address, async (connection) => {
      const manager = await jetstreamManager(connection)
      const { state } = await manager.streams.info('list')
      const read: string[] = []
      for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
        read.push((await manager.streams.getMessage('list', { seq }))?.string() ?? '')
      }
      return read
    }),
)

async function use<Result>(
  address: string,
  work: (connection: NatsConnection) => Promise<Result>,
): Promise<Result> {
  const connection = await connect({ servers: address.replace('nats://', '') })
  try {
    return await work(connection)
  } finally {
    await connection.close()
  }
}
