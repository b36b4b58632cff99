import { Cluster, Redis } from 'ioredis'
import { describe, expect, it } from 'vitest'
import { Connection } from './connection.js'
import { type PrepareRead, readsByIoredis } from './ioredis-reads.js'

interface SentCommand {
  readonly name: string
  getSlot(): number
  toWritable(): Buffer
}

/** A client that is not connected, and gives what it would send as the answer. */
function notingClient<Client extends Redis | Cluster>(
  client: Client,
): Client & { readonly sent: SentCommand[] } {
  const sent: SentCommand[] = []
  const sendCommand = async (command: SentCommand) => {
    sent.push(command)
    return command.toWritable().toString('latin1')
  }
  return Object.assign(client, { sent, sendCommand }) as Client & { readonly sent: SentCommand[] }
}

const lazily = { lazyConnect: true } as const

function preparing(client: Redis | Cluster): PrepareRead {
  const prepare = readsByIoredis(client)
  if (prepare === undefined) throw new Error('the client is not of the known shape')
  return prepare
}

describe('a read by ioredis', () => {
  it.each([
    ['no prefix', {}],
    ['a prefix', { keyPrefix: 'größe:' }],
  ])('is what the client itself would send, of fields of every length: %s', async (_name, options) => {
    const client = notingClient(new Redis({ ...lazily, ...options }))
    const lengths = [0, 1, 9, 10, 48, 49, 99, 100, 999, 1_000, 70_000]
    const fields = lengths.map((length, i) => Buffer.alloc(length, 0xf8 + (i % 8)))
    const byClient = await client.callBuffer('HMGET', ['{größe}:data', ...fields])
    const read = preparing(client)('{größe}:data', fields)
    expect(await read.send()).toEqual([byClient])
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
    expect(lengths.map((_, i) => hex(read.fieldAt(i)))).toEqual(fields.map(hex))
  })

  it('has copied its fields, and is sent again by a new command with the same bytes', async () => {
    const client = notingClient(new Redis(lazily))
    const field = Buffer.from([1, 2, 0xff])
    const read = preparing(client)('data', [field])
    field.fill(0)
    const first = await read.send()
    expect(await read.send()).toEqual(first)
    expect(String(first[0])).toContain('\x01\x02\xff')
    expect(read.fieldAt(0)).toEqual(Uint8Array.of(1, 2, 0xff))
    expect(new Set(client.sent).size).toBe(2)
  })

  it('goes to the slot of its key in a Cluster', async () => {
    const client = notingClient(new Cluster([{ host: '127.0.0.1', port: 1 }], lazily))
    await client.callBuffer('HMGET', ['{a}:data', 'field'])
    await preparing(client)('{a}:data', [Buffer.from([0xff])]).send()
    const [byClient, own] = client.sent.map((command) => command.getSlot())
    expect(own).toBe(byClient)
    expect(own).toBeTypeOf('number')
  })

  it('is left to the client where its commands are of another shape', () => {
    const callBuffer = () => undefined
    const sendCommand = () => Promise.resolve()
    expect(readsByIoredis({ callBuffer })).toBeUndefined()
    const clients = [
      { callBuffer, sendCommand },
      { callBuffer: () => Promise.reject(new Error('no permission')), sendCommand },
      { callBuffer: () => ({ args: ['trial'], toWritable: () => 'a text' }), sendCommand },
      { callBuffer: () => ({ args: ['trial'], toWritable: () => Buffer.from('*1') }), sendCommand },
      {
        callBuffer: () => {
          throw new Error('it is not open')
        },
        sendCommand,
      },
    ]
    expect(clients.map((client) => readsByIoredis(client))).toEqual(clients.map(() => undefined))
  })
})

describe('commands of an ioredis that gathers them', () => {
  it('go one by one, with their names', async () => {
    const client = notingClient(new Redis({ ...lazily, enableAutoPipelining: true }))
    const connection = new Connection(client)
    await connection.command(['HGET', 'data', Buffer.from([0xff])])
    await connection.read('data', [Buffer.from([0xff])]).send()
    expect(client.sent.map(({ name }) => name)).toEqual(['HGET', 'HMGET'])
    expect(client.options.enableAutoPipelining).toBe(true)
  })
})
