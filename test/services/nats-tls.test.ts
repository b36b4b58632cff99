import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { natsSink, natsSource } from '../../src/nats.js'
import { securedHolds } from './secured.js'

securedHolds('nats', {
  failsByItself: true,
  open: async ({ port, certificate = '' }, pass) => {
    const servers = `127.0.0.1:${port}`
    const connection = await connect({
      servers,
      user: 'user',
      pass,
      tls: { ca: certificate },
      reconnect: false,
    })
    const client = jetstream(connection)
    const manager = await jetstreamManager(connection)
    for (const name of ['in', 'out']) await manager.streams.add({ name, subjects: [name] })
    return {
      source: natsSource<number>({ client, stream: 'in', reconnectForMs: 500 }),
      sink: natsSink<number>({ client, subject: 'out', maxOutputs: 1, reconnectForMs: 500 }),
      send: async (events) => {
        for (const n of events) await client.publish('in', JSON.stringify(n))
      },
      outputs: async () => {
        const { state } = await manager.streams.info('out')
        const found: number[] = []
        for (let seq = 1; seq <= state.last_seq; seq++) {
          const message = await manager.streams.getMessage('out', { seq })
          if (message !== null) found.push(message.json<number>())
        }
        return found
      },
      close: () => connection.close(),
    }
  },
})
