import { describe, expect, it } from 'vitest'
import { Connection, fieldsOf, type IoredisBytesClient } from './connection.js'

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

describe('keys as arguments', () => {
  it.each(['text', 'bytes'])('are copies of what they were, as %s', (kind) => {
    const keys = [Buffer.from('a'), Buffer.of(), Buffer.from(kind === 'text' ? 'b\0' : 'b\xff', 'latin1')]
    const fields = fieldsOf(keys)
    const expected = keys.map((key) => key.toString('latin1'))
    for (const key of keys) key.fill(0)
    expect(fields.map((field) => Buffer.from(field).toString('latin1'))).toEqual(expected)
    expect(fields.every((field) => typeof field === 'string')).toBe(kind === 'text')
  })
})
