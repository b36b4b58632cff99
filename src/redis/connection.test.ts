import { describe, expect, it } from 'vitest'
import {
  backendClient,
  type IoredisBytesClient,
  type NodeRedisBytesClient,
  type NodeRedisBytesCluster,
  type NodeRedisBytesSentinel,
} from './clients.js'
import { Connection, fieldsOf } from './connection.js'

/** A client of a Cluster: it follows a server that has moved for one command, and not for a pipeline. */
class MovedClient implements IoredisBytesClient {
  readonly sent: string[] = []
  knowsTheWay = false

  async callBuffer(command: string): Promise<unknown> {
    this.sent.push(command)
    this.knowsTheWay = true
    return `answer to ${command}`
  }

  pipeline() {
    const commands: string[] = []
    return {
      callBuffer: (command: string) => commands.push(command),
      exec: async () => {
        this.sent.push(commands.join(' + '))
        return commands.map((command): [Error | null, unknown] =>
          this.knowsTheWay
            ? [null, `answer to ${command}`]
            : [new Error('MOVED 1 127.0.0.1:7001'), undefined],
        )
      },
    }
  }
}

describe('commands that go together', () => {
  it('find the server that has the slot now, where the first of them shows the way', async () => {
    const client = new MovedClient()
    const answers = await new Connection(client).together([['EVALSHA'], ['WAIT', '1', '100']])
    expect(answers).toEqual(['answer to EVALSHA', 'answer to WAIT'])
    expect(client.sent).toEqual(['EVALSHA + WAIT', 'EVALSHA', 'EVALSHA + WAIT'])
  })
})

describe('a client', () => {
  it('is refused where it is a Cluster of an early node-redis, and taken of a later one, or where it follows sentinels', () => {
    const common = { isOpen: true, sendCommand: () => undefined, multi: () => undefined }
    expect(backendClient({ ...common, masters: [] })).toContain('must be of node-redis 6.1 or later')
    expect(backendClient({ ...common, masters: [], getNodeClientForKey: () => undefined })).toBeUndefined()
    expect(backendClient({ ...common, getMasterNode: () => undefined })).toBeUndefined()
  })
})

describe('commands by a client of node-redis that follows sentinels', () => {
  it('go together as a pipeline, and one behind the other where bytes are wanted', async () => {
    const sent: string[] = []
    const client: NodeRedisBytesSentinel = {
      isOpen: true,
      getMasterNode: () => undefined,
      sendCommand: async (_isReadonly, args) => {
        const [name] = args
        sent.push(`${name} begins`)
        await Promise.resolve()
        sent.push(`${name} ends`)
        return Buffer.from(String(name))
      },
      multi: () => {
        const commands: string[] = []
        return {
          addCommand: (_isReadonly, args) => commands.push(String(args[0])),
          execAsPipeline: async () => {
            sent.push(commands.join(' + '))
            return commands
          },
        }
      },
    }
    const connection = new Connection(client)
    expect(await connection.together([['EVALSHA'], ['WAIT']])).toEqual(['EVALSHA', 'WAIT'])
    expect(await connection.inOrder([['HMGET'], ['HGET']])).toEqual([
      Buffer.from('HMGET'),
      Buffer.from('HGET'),
    ])
    expect(sent).toEqual(['EVALSHA + WAIT', 'HMGET begins', 'HMGET ends', 'HGET begins', 'HGET ends'])
  })
})

describe('commands by a Cluster of node-redis', () => {
  it('go by the first key, and together to the server that has it, of which the second has none', async () => {
    const sent: string[] = []
    const node: NodeRedisBytesClient = {
      isOpen: true,
      sendCommand: async (args) => {
        sent.push(args.join(' '))
        return args[0]
      },
    }
    const client: NodeRedisBytesCluster = {
      isOpen: true,
      sendCommand: async (firstKey, isReadonly, args) => {
        sent.push(`${firstKey}, ${isReadonly}: ${args.join(' ')}`)
        return args[0]
      },
      getNodeClientForKey: async (key) => {
        sent.push(`who has ${key}`)
        return node
      },
    }
    const connection = new Connection(client)
    expect(await connection.command(['HGET', 'meta', 'owner'])).toBe('HGET')
    expect(await connection.command(['EVALSHA', 'digest', '1', 'data', 'x'])).toBe('EVALSHA')
    const pair = [
      ['EVALSHA', 'digest', '2', 'data', 'meta'],
      ['WAIT', '1', '100'],
    ]
    expect(await connection.together(pair)).toEqual(['EVALSHA', 'WAIT'])
    expect(sent).toEqual([
      'meta, false: HGET meta owner',
      'data, false: EVALSHA digest 1 data x',
      'who has data',
      'EVALSHA digest 2 data meta',
      'WAIT 1 100',
    ])
  })
})

describe('keys as arguments', () => {
  it.each([
    ['ASCII', true, ['a', '', 'b\0']],
    ['UTF-8', true, ['a', '', '\xc3\xbc', '\xe2\x82\xac b', '\xf0\x9f\x98\x80', '\xef\xbb\xbf']],
    ['bytes', false, ['a', '', 'b\xff']],
    ['halves of a character', false, ['\xc3', '\xbc']],
    ['a character in three keys, the middle of them empty', false, ['\xe2\x82', '', '\xac']],
  ])('are copies of what they were: %s', (_, areTexts, texts) => {
    const keys = texts.map((text) => Buffer.from(text, 'latin1'))
    const fields = fieldsOf(keys)
    for (const key of keys) key.fill(0)
    expect(fields.map((field) => Buffer.from(field).toString('latin1'))).toEqual(texts)
    expect(fields.every((field) => typeof field === 'string')).toBe(areTexts)
  })
})
