import { describe, expect, it, vi } from 'vitest'
import { readSettings } from './options.js'

/** The one line that a wrong command line gives. */
function complaint(...args: string[]): string {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  try {
    readSettings(args)
  } catch (error) {
    const printed = write.mock.calls.map(([text]) => text).join('')
    // What commander finds is printed by it; what is found afterwards is an InputError for whoever called.
    const message = printed === '' ? `${(error as Error).message}\n` : printed
    expect(message.indexOf('\n')).toBe(message.length - 1)
    return message
  } finally {
    write.mockRestore()
  }
  throw new Error(`not refused: ${args.join(' ')}`)
}

describe('readSettings', () => {
  it('has a default for everything', () => {
    const { seedKill, ...settings } = readSettings([])
    expect(settings).toEqual({
      source: { kind: 'generator', seed: 1, events: 300_000 },
      backend: 'memory',
      kills: 1,
      paceSeconds: 6,
      json: false,
    })
    expect(seedKill).toSatisfy(Number.isSafeInteger)
  })

  it('takes a server, with its usual address where none is named', () => {
    expect(readSettings(['--source', 'nats']).server).toEqual({ server: 'nats', address: '127.0.0.1:4222' })
    const { server } = readSettings(['--source', 'redis', '--address', 'rediss://cache:7000'])
    expect(server).toEqual({ server: 'redis', address: 'rediss://cache:7000' })
    expect(complaint('--address', 'x')).toContain('--address is for servers; name one with --source')
    expect(complaint('--source', 'rabbit')).toContain('kafka, nats, redis')
  })

  it('takes servers that keep the state or the checkpoints', () => {
    const address = 'redis://127.0.0.1:7000'
    expect(readSettings(['--backend', 'redis', '--backend-address', '127.0.0.1:7000'])).toMatchObject({
      backend: 'redis',
      backendAddress: address,
    })
    expect(readSettings(['--backend', 'postgres'])).not.toHaveProperty('backendAddress')
    expect(complaint('--backend-address', 'x')).toContain(
      '--backend-address is for --backend redis and postgres',
    )
    const wrong = complaint('--backend', 'redis', '--backend-address', 'me:secret@host:99999')
    expect(wrong).toContain('--backend-address must be HOST:PORT')
    expect(wrong).not.toContain('secret')
    const endpoint = 'http://127.0.0.1:7070'
    expect(readSettings(['--storage', 's3://some-bucket/a/b/', '--endpoint', endpoint]).storage).toEqual({
      bucket: 'some-bucket',
      prefix: 'a/b',
      endpoint,
    })
    expect(readSettings(['--storage', 's3://bucket']).storage).toEqual({ bucket: 'bucket', prefix: '' })
    expect(complaint('--storage', 'file:///tmp')).toContain('s3://BUCKET')
    expect(complaint('--endpoint', endpoint)).toContain('name a place with --storage')
    expect(complaint('--storage', 's3://bucket', '--backend', 'lmdb')).toContain(
      'lmdb keeps its state itself',
    )
    const withPassword = complaint('--storage', 's3://bucket', '--endpoint', 'http://me:secret@host')
    expect(withPassword).toContain('without credentials')
    expect(withPassword).not.toContain('secret')
  })

  it('takes the columns of a file', () => {
    const { source } = readSettings([
      '--input',
      'x.csv',
      '--time',
      'T',
      '--tokens-in',
      'I',
      '--delimiter',
      '\\t',
    ])
    expect(source).toEqual({
      kind: 'file',
      path: 'x.csv',
      columns: { time: 'T', tokensIn: 'I' },
      delimiter: '\t',
    })
    expect(readSettings(['--input', 'x', '--disorder', '2.5']).source).toMatchObject({ disorderMs: 2_500 })
    expect(readSettings(['--input', 'x', '--skip-bad-lines', '--format', 'ndjson']).source).toEqual({
      kind: 'file',
      path: 'x',
      columns: {},
      format: 'ndjson',
      skipBadLines: true,
    })
  })

  it.each([
    [['--unknown'], "unknown option '--unknown'"],
    [['--event', '3'], "unknown option '--event' (Did you mean --events?)"],
    [['extra'], 'too many arguments'],
    [['--events'], "option '--events <number>' argument missing"],
    [['--events', '0'], 'must be a positive whole number'],
    [['--events', '-1'], 'must be a positive whole number'],
    [['--events', '1.5'], 'must be a positive whole number'],
    [['--events', '1e3'], 'must be a positive whole number'],
    [['--events', ''], 'must be a positive whole number'],
    [['--events', '99999999999999999999'], 'must be a positive whole number'],
    [['--kills', 'x'], 'must be a positive whole number'],
    [['--seed', '2147483648'], 'must be a whole number from 0 to 2147483647'],
    [['--pace', '-1'], 'must be a number of seconds'],
    [['--pace', 'Infinity'], 'must be a number of seconds'],
    [['--backend', 'floppy'], 'Allowed choices are memory'],
    [['--format', 'xml'], 'Allowed choices are csv, ndjson'],
    [['--delimiter', ',,'], 'must be one character'],
    [['--delimiter', '"'], 'must be one character'],
    [['--input', 'x', '--seed', '1'], 'cannot be used with'],
    [['--input', 'x', '--events', '1'], 'cannot be used with'],
    [['--time', 'a'], '--time is for files; name one with --input'],
    [['--tokens-in', 'a'], '--tokens-in is for files'],
    [['--skip-bad-lines'], '--skip-bad-lines is for files'],
    [['--disorder', '1'], '--disorder is for files'],
    [['--disorder', '-1'], 'must be a number of seconds'],
  ])('refuses %j', (args, message) => {
    expect(complaint(...args)).toContain(message)
  })
})
