import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { parse } from 'csv-parse/sync'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runSourceConformanceSuite } from '../../testing/source-conformance.js'
import { type CsvRecord, csvFiles } from './csv-source.js'
import type { PolledEvents, Position } from './source.js'

const runner = { describe, it }
const NONE: ReadonlySet<string> = new Set()

/** With everything that a value may have. */
const records: CsvRecord[] = Array.from({ length: 9 }, (_, i) => ({
  id: `${i}`,
  name: i % 3 === 0 ? `a "quoted"\nname, ${'x'.repeat(i)}` : i % 3 === 1 ? '' : 'plain\r\nwith two',
  city: 'Zürich',
}))
const quoted = (text: string) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)
const csv = (all: readonly CsvRecord[], newline = '\n') =>
  ['id,name,city', ...all.map((record) => Object.values(record).map(quoted).join(','))].join(newline)

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-csv-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function fixtureOf(name: string, content: string | Uint8Array) {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-csv-'))
  const path = join(directory, name)
  await writeFile(path, content)
  return {
    source: csvFiles({ parse, paths: [path] }),
    events: { [path]: records },
    dispose: () => rm(directory, { recursive: true, force: true }),
  }
}

runSourceConformanceSuite(runner, 'csvFiles', () => fixtureOf('a.csv', `${csv(records)}\n`))
runSourceConformanceSuite(runner, 'csvFiles of lines with CRLF and no last newline', () =>
  fixtureOf('a.csv', `\ufeff${csv(records, '\r\n')}`),
)
runSourceConformanceSuite(runner, 'csvFiles of compressed files', () =>
  fixtureOf('a.csv.gz', gzipSync(csv(records))),
)

describe('records of CSV files', () => {
  const read = async (options: Partial<Parameters<typeof csvFiles<CsvRecord>>[0]>, content: string) => {
    const path = join(folder, 'a.csv')
    await writeFile(path, content)
    const reader = await csvFiles<CsvRecord>({ parse, paths: [path], ...options }).open({ positions: {} })
    const polled = await reader.poll({ maxEvents: 100, waitMs: 1, paused: NONE })
    await reader.close()
    return polled[0] as PolledEvents<CsvRecord>
  }

  it('have the names that are given, another delimiter, and no white space where that is wanted', async () => {
    const options = { columns: ['a', 'b'], delimiter: ';', trim: true }
    expect((await read(options, '1; 2,3\n\n4 ;"5;6"\n')).events).toEqual([
      { a: '1', b: '2,3' },
      { a: '4', b: '5;6' },
    ])
  })

  it('that are wrong are told as failures, in their places', async () => {
    const { events, failures, positionAfter } = await read({}, 'a,b\n1,2\n1\n1,2,3\n"x" y,1\n3,4\n')
    expect(events).toEqual([{ a: '1', b: '2' }, undefined, undefined, undefined, { a: '3', b: '4' }])
    expect([...(failures ?? [])].map(([place, { message }]) => [place, message])).toEqual([
      [1, 'it has 1 values, and there are 2 columns'],
      [2, 'it has 3 values, and there are 2 columns'],
      [3, expect.stringMatching(/quote/i)],
    ])
    expect(positionAfter(3)).toMatchObject({ offset: 24 })
  })

  it('may have a column of any name', async () => {
    const { events } = await read({}, '__proto__,constructor\n1,2\n')
    expect(Object.entries(events[0] as CsvRecord)).toEqual([
      ['__proto__', '1'],
      ['constructor', '2'],
    ])
  })

  it('become events, and what decode throws makes a bad one', async () => {
    const decode = ({ n }: CsvRecord) => {
      if (n === 'x') throw new Error('no number')
      return { n: `${Number(n) * 2}` }
    }
    const { events, failures } = await read({ decode }, 'n\n1\nx\n3\n')
    expect(events).toEqual([{ n: '2' }, undefined, { n: '6' }])
    expect(failures?.get(1)?.message).toBe('no number')
  })

  it('of a file that grows come when they are whole, also its header', async () => {
    const path = join(folder, 'growing.csv')
    await writeFile(path, 'id,na')
    const source = csvFiles({ parse, paths: [path], follow: true })
    let reader = await source.open({ positions: {} })
    const poll = async () => (await reader.poll({ maxEvents: 9, waitMs: 1, paused: NONE }))[0]
    expect((await poll())?.events).toEqual([])
    await appendFile(path, 'me\n1,"two\nlines')
    expect((await poll())?.events).toEqual([])
    await appendFile(path, '"\n2,x')
    const polled = await poll()
    expect(polled?.events).toEqual([{ id: '1', name: 'two\nlines' }])
    const position = polled?.positionAfter(0) as Position
    await reader.close()
    await appendFile(path, '\n')
    reader = await source.open({ positions: { [path]: position } })
    expect((await poll())?.events).toEqual([{ id: '2', name: 'x' }])
    await reader.close()
  })

  it('list everything that is wrong with the options', () => {
    const options = { parse: 1, paths: [], columns: [], delimiter: '""', trim: 1, decode: 1 }
    expect(() => csvFiles(options as never)).toThrow(/parse.*paths.*columns.*delimiter.*trim.*decode/s)
  })
})
