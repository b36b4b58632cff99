import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LlmRequest, SourcePosition } from './events.js'
import { FileSource, type FileSourceOptions } from './file-source.js'

let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-file-source-'))
})

afterAll(async () => {
  await rm(directory, { recursive: true })
})

const columns = { time: 'when', tokensIn: 'in', tokensOut: 'out' }
const HEADER = 'when,model,tenant,in,out,costUsd,latencyMs'
const ROW = '1700000000,m,t,1,2,0.5,30'
const REQUEST: LlmRequest = {
  timestampMs: 1_700_000_000_000,
  model: 'm',
  tenant: 't',
  tokensIn: 1,
  tokensOut: 2,
  costUsd: 0.5,
  latencyMs: 30,
}

async function open(content: string | Buffer, options: Partial<FileSourceOptions> = {}): Promise<FileSource> {
  const path = join(directory, 'input')
  await writeFile(path, content)
  return FileSource.open({ path, columns, ...options })
}

async function read(source: FileSource, from: SourcePosition = source.start, size = 1_000) {
  const requests: LlmRequest[] = []
  const ends: SourcePosition[] = []
  for await (const batch of source.batches(from, size)) {
    requests.push(...batch.events)
    ends.push(batch.end)
  }
  return { requests, ends, end: ends.at(-1) ?? source.start }
}

async function requestsIn(
  content: string | Buffer,
  options?: Partial<FileSourceOptions>,
): Promise<LlmRequest[]> {
  return (await read(await open(content, options))).requests
}

/** The message an operation fails with; it must be one line from an InputError. */
async function complaint(operation: Promise<unknown>): Promise<string> {
  const error: unknown = await operation.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof Error) || error.name !== 'InputError') throw new Error(`not refused: ${error}`)
  expect(error.message).not.toContain('\n')
  return error.message.replaceAll(directory, '')
}

describe('a CSV file', () => {
  it.each([
    ['with LF', `${HEADER}\n${ROW}\n${ROW}\n`],
    ['with CRLF', `${HEADER}\r\n${ROW}\r\n${ROW}\r\n`],
    ['with both', `${HEADER}\r\n${ROW}\n${ROW}\r\n`],
    ['whose last line has no end', `${HEADER}\n${ROW}\n${ROW}`],
    ['with a byte order mark', `\ufeff${HEADER}\n${ROW}\n${ROW}\n`],
    ['with a byte order mark before a quote', `\ufeff"when"${HEADER.slice(4)}\n${ROW}\n${ROW}\n`],
    ['with blank lines', `\n${HEADER}\n\n${ROW}\r\n\n\r\n${ROW}\n\n`],
    ['with quoted cells', `${HEADER}\n"1700000000","m",t,"1",2,"0.5",30\n${ROW}\n`],
    [
      'with spaces around names and numbers',
      `when, model , tenant,in,out,costUsd,latencyMs\n${ROW}\n${ROW}\n`,
    ],
  ])('%s is read', async (_, content) => {
    expect(await requestsIn(content)).toEqual([REQUEST, REQUEST])
  })

  it('may quote commas, quotes and line ends', async () => {
    const [request] = await requestsIn(`${HEADER}\n1700000000,"a,""b""\r\nc","d\ne",1,2,0.5,30\n`)
    expect(request).toEqual({ ...REQUEST, model: 'a,"b"\r\nc', tenant: 'd\ne' })
  })

  it('may have another delimiter, columns in another order, and columns that nobody asks for', async () => {
    const content = 'note;latencyMs;in;tenant;out;when;model;costUsd\nx;30;1;t;2;1700000000;m;0.5\n'
    expect(await requestsIn(content, { delimiter: ';' })).toEqual([REQUEST])
  })

  it('without columns for keys has one key, and a cost from the price table', async () => {
    const content = 'TIMESTAMP,In,Out\n2023-11-16 18:17:03.9799600,4808,10\n'
    const names = { time: 'TIMESTAMP', tokensIn: 'In', tokensOut: 'Out' }
    const source = await open(content, { columns: names })
    expect((await read(source)).requests).toEqual([
      {
        timestampMs: Date.UTC(2023, 10, 16, 18, 17, 3, 979),
        model: 'all',
        tenant: 'all',
        tokensIn: 4808,
        tokensOut: 10,
        costUsd: 0,
        latencyMs: 0,
      },
    ])
    expect(source.details).toContain('time from column "TIMESTAMP"')
    expect(source.details).toContain('no cost: taken from prices.ts, 0 for other models')
    const [priced] = await requestsIn('when,model,in,out\n1,atlas-small,1000000,2000\n')
    expect(priced?.costUsd).toBe(1.01)
  })

  it('larger than the read buffer is read whole', async () => {
    const rows = Array.from({ length: 20_000 }, (_, i) => `${1_700_000_000 + i},m,t,${i},2,0.5,30`)
    const requests = await requestsIn(`${HEADER}\n${rows.join('\r\n')}`)
    expect(requests.map((request) => request.tokensIn)).toEqual(rows.map((_, i) => i))
  })
})

describe('an NDJSON file', () => {
  const line = '{"when":1700000000,"model":"m","tenant":"t","in":1,"out":2,"costUsd":0.5,"latencyMs":30}'

  it.each([
    ['with LF', `${line}\n${line}\n`],
    ['with CRLF and blank lines', `\r\n${line}\r\n\r\n${line}\r\n`],
    ['whose last line has no end', `${line}\n${line}`],
    ['with a byte order mark', `\ufeff${line}\n${line}`],
    [
      'with numbers as text',
      `${line.replace('1700000000', '"1700000000"')}\n${line.replace(':1,', ':"1",')}\n`,
    ],
  ])('%s is read', async (_, content) => {
    expect(await requestsIn(content)).toEqual([REQUEST, REQUEST])
  })

  it('larger than the read buffer, with characters of several bytes, is read whole', async () => {
    const names = Array.from({ length: 10_000 }, (_, i) => `名前-${i}-é😀`)
    const requests = await requestsIn(
      names.map((name) => line.replace('"m"', JSON.stringify(name))).join('\n'),
    )
    expect(requests.map((request) => request.model)).toEqual(names)
  })

  it.each([
    ['{"when":', 'is not JSON'],
    ['[1]', 'not an object'],
    ['null', 'not an object'],
    [line.replace('"in":1', '"in":-1'), 'in is -1, which is not a whole number'],
    [line.replace('"in":1', '"in":null'), 'in is null'],
    [line.replace('"in":1,', ''), 'in is missing'],
    [line.replace('"model":"m"', '"model":{}'), 'model is {}, which is not a name'],
    [line.replace('"m"', `"${'x'.repeat(1024 * 1024)}"`), 'longer than 1 MiB'],
  ])('with the line %.30s stops there', async (bad, problem) => {
    const content = `${line}\n\n${bad}\n${line}\n`
    const message = await complaint(requestsIn(content))
    expect(message).toContain('/input, line 3: ')
    expect(message).toContain(problem)
    expect(message).toContain('--skip-bad-lines')
    const { requests, end } = await read(await open(content, { skipBadLines: true }))
    expect(requests).toEqual([REQUEST, REQUEST])
    expect(end.skippedLines).toBe(1)
  })

  it('that begins with a broken line has the columns of its first good one', async () => {
    const { requests, end } = await read(await open(`{"when":\n${line}\n`, { skipBadLines: true }))
    expect(requests).toEqual([REQUEST])
    expect(end.skippedLines).toBe(1)
  })

  it('does not find columns where an object has only inherited ones', async () => {
    expect(await complaint(open(line, { columns: { time: 'toString' } }))).toContain('no column "toString"')
  })
})

describe('a broken CSV line', () => {
  const cases: [string, string, string][] = [
    ['too few cells', '1700000000,m,t,1', '4 cells where the header has 7'],
    ['too many cells', `${ROW},x`, '8 cells where the header has 7'],
    ['no time', ROW.replace('1700000000', 'yesterday'), 'when is "yesterday", which is not a time'],
    ['an empty time', ROW.replace('1700000000', ''), 'when is "", which is not a time'],
    ['a count that is none', ROW.replace(',1,', ',many,'), 'in is "many", which is not a whole number'],
    ['half a token', ROW.replace(',1,', ',1.5,'), 'in is "1.5", which is not a whole number'],
    ['a negative count', ROW.replace(',2,', ',-2,'), 'out is "-2", which is not a whole number'],
    ['an empty count', ROW.replace(',2,', ',,'), 'out is "", which is not a whole number'],
    ['a cost that is none', ROW.replace('0.5', '0x5'), 'costUsd is "0x5", which is not a number'],
    ['a latency that is none', ROW.replace(',30', ',NaN'), 'latencyMs is "NaN", which is not a number'],
    ['a name that is too long', ROW.replace(',m,', `,${'m'.repeat(201)},`), 'which is not a name'],
    ['a quote in a cell', ROW.replace(',m,', ',m"m,'), 'a quote stands where none may be'],
    ['text behind a quote', ROW.replace(',m,', ',"m"m,'), 'a quote stands where none may be'],
    ['an unclosed quote', ROW.replace(',m,', ',"m,'), 'a quote is opened and never closed'],
  ]

  it.each(cases)('with %s stops the reading, with its number', async (_, bad, problem) => {
    // The quoted line end before it makes the number of the line differ from that of the record.
    const content = `${HEADER}\r\n1700000000,m,"t\r\nt",1,2,0.5,30\r\n\r\n${bad}\r\n${ROW}\r\n`
    const message = await complaint(requestsIn(content))
    expect(message).toContain('/input, line 5: ')
    expect(message).toContain(problem)
    expect(message).toContain('--skip-bad-lines')
  })

  it.each(cases)('with %s is counted and passed over', async (_, bad) => {
    const source = await open(`${HEADER}\n${ROW}\n${bad}\n${ROW}\n${bad}\n${ROW}`, { skipBadLines: true })
    const { requests, end } = await read(source)
    expect(requests).toEqual([REQUEST, REQUEST, REQUEST])
    expect(end).toMatchObject({ events: 3, skippedLines: 2 })
  })

  it('at the end is counted as well', async () => {
    const { requests, end } = await read(await open(`${HEADER}\n${ROW}\nx`, { skipBadLines: true }))
    expect(requests).toEqual([REQUEST])
    expect(end).toMatchObject({ events: 1, skippedLines: 1, file: { line: 3 } })
  })

  it('with a quote that swallows more than a record may hold loses that line only', async () => {
    const rows = `${ROW}\n`.repeat(50_000)
    const source = await open(`${HEADER}\n"${ROW}\n${rows}`, { skipBadLines: true })
    const { requests, end } = await read(source)
    expect(requests).toHaveLength(50_000)
    expect(end.skippedLines).toBe(1)
  })
})

describe('resuming', () => {
  const line = (i: number) => `{"when":${1_700_000_000 + i},"model":"é\\n${i}","in":${i},"out":2}`
  const inputs: [string, string][] = [
    [
      'CSV',
      `\ufeff${HEADER}\r\n\n1700000000,"m\r\n😀",t,1,2,,30\r\n${ROW}\n\r\n\n1700000000,é,"",2,2,1,1\n${ROW}`,
    ],
    ['CSV with broken lines', `${HEADER}\nx\n${ROW}\n${ROW}"\n"${ROW}\n${ROW}\n\n1,2\n${ROW}\nx"x\nx\n`],
    ['NDJSON', `\ufeff\n${line(1)}\r\n\n${line(2)}\n{\n${line(3)}`],
  ]

  it.each(inputs)('at every record of %s neither skips nor repeats', async (_, content) => {
    const source = await open(content, { skipBadLines: true })
    const { requests, ends, end } = await read(source, source.start, 1)
    expect(requests.length).toBeGreaterThan(2)
    for (const position of [source.start, ...ends]) {
      const stored = JSON.parse(JSON.stringify(position)) as SourcePosition
      const before = Buffer.from(content).subarray(0, position.file?.byteOffset).toString()
      expect(position.file?.line).toBe(before.split('\n').length)
      const rest = await read(source, stored)
      expect(rest.requests).toEqual(requests.slice(position.events))
      expect(rest.end).toEqual(end)
    }
  })

  it('works for any table, whatever is in its cells', async () => {
    const cell = fc.string({
      unit: fc.constantFrom('a', '"', ',', '\n', '\r\n', ' ', 'é', '😀', ';'),
      maxLength: 8,
    })
    const header = 'when,model,tenant,in,out'
    const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 12 }),
        fc.constantFrom('\n', '\r\n'),
        fc.integer({ min: 1, max: 4 }),
        async (rows, lineEnd, size) => {
          const lines = rows.map(([model, tenant], i) => `${i},${quoted(model)},${quoted(tenant)},1,1`)
          const source = await open([header, ...lines].join(lineEnd))
          const { requests, ends } = await read(source, source.start, size)
          expect(requests.map(({ model, tenant }) => [model, tenant])).toEqual(rows)
          for (const position of ends) {
            const rest = await read(source, position)
            expect(rest.requests).toEqual(requests.slice(position.events))
            const before = Buffer.from([header, ...lines].join(lineEnd)).subarray(
              0,
              position.file?.byteOffset,
            )
            expect(position.file?.line).toBe(before.toString().split('\n').length)
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  it('in a file that has become shorter is refused', async () => {
    const content = `${HEADER}\n${ROW}\n${ROW}\n`
    const { end } = await read(await open(content))
    const path = join(directory, 'input')
    await truncate(path, HEADER.length + ROW.length)
    const source = await FileSource.open({ path, columns })
    expect(await complaint(read(source, end))).toContain('not the file that was read before')
  })
})

describe('opening', () => {
  it.each([
    ['', 'is empty'],
    ['\n\n', 'there is no line in it'],
    ['{"when":', 'line 1: the line is not JSON'],
    ['"when', 'line 1: a quote is opened and never closed'],
    ['a,b\n1,2\n', 'no column "when"; name one with --time: there are "a", "b"'],
    ['{"a":1}', 'no column "when"; name one with --time: there are "a"'],
    ['when,model,tenant,out\n', 'no column "in"; name one with --tokens-in: there are "when", "model"'],
    ['when,model,model,tenant,in,out\n', 'there are 2 columns named "model"'],
    ['PK\x03\x04\x00\x00', 'is not a text file'],
    [Buffer.from([0x1f, 0x8b, 8, 0]), 'is compressed'],
    [Buffer.from('\ufeffwhen', 'utf16le'), 'is UTF-16'],
  ])('%j is refused', async (content, problem) => {
    expect(await complaint(open(content))).toContain(problem)
  })

  it('what is not a file is refused', async () => {
    expect(await complaint(FileSource.open({ path: directory, columns }))).toContain('is not a regular file')
    const missing = join(directory, 'missing')
    expect(await complaint(FileSource.open({ path: missing, columns }))).toContain('there is no such file')
    await writeFile(missing, '')
    expect(await complaint(FileSource.open({ path: join(missing, 'x'), columns }))).toContain('no such file')
  })

  it('tells where in the file a position is', async () => {
    const source = await open(`${HEADER}\n${ROW}\n`)
    const { end } = await read(source)
    expect(source.fractionAt(source.start)).toBeLessThan(0.7)
    expect(source.fractionAt(end)).toBe(1)
  })
})
