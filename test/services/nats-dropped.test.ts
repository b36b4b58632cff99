import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { natsSink, natsSource } from '../../src/nats.js'
import { endOf, oneOutput, readEvents } from './dropped.js'

let service: RunningService
let connection: NatsConnection
beforeAll(async () => {
  service = await startService('nats')
  connection = await connect({ servers: service.address, maxReconnectAttempts: -1, reconnectTimeWait: 50 })
})
afterAll(async () => {
  await connection?.close()
  await service?.stop()
})

const make = async (name: string) => {
  await (await jetstreamManager(connection)).streams.add({ name, subjects: [name] })
}
const publish = async (subject: string, ...events: readonly unknown[]) => {
  for (const event of events) await jetstream(connection).publish(subject, JSON.stringify(event))
}

describe('a JetStream stream that is read', () => {
  const opened = async (stream: string, events: readonly unknown[]) => {
    await make(stream)
    await publish(stream, ...events)
    const source = natsSource<unknown>({ client: jetstream(connection), stream, reconnectForMs: 3_000 })
    const reader = await source.open({ positions: {} })
    expect(await readEvents(reader, events.length)).toEqual(events)
    return reader
  }
  const manager = () => jetstreamManager(connection)

  it('and is deleted ends its source with what is missing', async () => {
    const reader = await opened('deleted', [1, 2])
    await (await manager()).streams.delete('deleted')
    expect(await endOf(reader)).toMatchObject({ code: 'STORAGE_ERROR', message: /stream not found/ })
    await reader.close()
  })

  it('and is deleted and made again is not taken for the one that was read', async () => {
    const reader = await opened('again', [1, 2])
    await (await manager()).streams.delete('again')
    await make('again')
    await publish('again', 'new')
    const given: unknown[] = []
    expect(await endOf(reader, (events) => given.push(...events))).toMatchObject({ code: 'RESTORE_FAILED' })
    expect(given).toEqual([])
    await reader.close()
  })

  it('and is purged before all of it was read tells of what is gone', async () => {
    const reader = await opened('purged', [1, 2])
    await reader.close()
    const source = natsSource<unknown>({ client: jetstream(connection), stream: 'purged' })
    await publish('purged', 3)
    await (await manager()).streams.purge('purged')
    await expect(source.open({ positions: { purged: 2 } })).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await (await source.open({ positions: { purged: 3 } })).close()
  })
})

describe('a JetStream stream that is written', () => {
  it('and is deleted is STORAGE_ERROR', async () => {
    await make('out')
    const sink = natsSink<unknown>({ client: jetstream(connection), subject: 'out', reconnectForMs: 1_000 })
    const writer = await sink.open({ prepared: [], state: oneOutput.state })
    await writer.commit(oneOutput.epochOf(0))
    await (await jetstreamManager(connection)).streams.delete('out')
    await expect(writer.commit(oneOutput.epochOf(1))).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('no stream takes the subject out'),
    })
    await writer.close()
  })
})
