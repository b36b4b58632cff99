import { appendFile, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runSourceConformanceSuite } from '../../testing/source-conformance.js'
import { lineFiles, ndjsonFiles } from './file-source.js'
import { arraySource, iterableSource } from './iterable-source.js'
import type { PolledEvents, Position, SourceReader } from './source.js'

const NONE: ReadonlySet<string> = new Set()
const runner = { describe, it }

async function folderWith(files: { readonly [name: string]: string | Uint8Array }) {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-source-'))
  const paths = Object.keys(files).map((name) => join(folder, name))
  for (const [i, content] of Object.values(files).entries()) await writeFile(paths[i] as string, content)
  return { paths, dispose: () => rm(folder, { recursive: true, force: true }) }
}

const numbers = (from: number, until: number) =>
  Array.from({ length: until - from }, (_, i) => ({ n: from + i }))
const ndjson = (events: readonly object[]) => events.map((event) => `${JSON.stringify(event)}\n`).join('')

runSourceConformanceSuite(runner, 'ndjsonFiles', async () => {
  const events = [numbers(0, 7), numbers(100, 103)]
  const { paths, dispose } = await folderWith({
    'a.ndjson': ndjson(events[0] ?? []),
    'b.ndjson': ndjson(events[1] ?? []),
  })
  const [a, b] = paths as [string, string]
  return { source: ndjsonFiles({ paths }), events: { [a]: events[0] ?? [], [b]: events[1] ?? [] }, dispose }
})

runSourceConformanceSuite(runner, 'ndjsonFiles of compressed files', async () => {
  const events = numbers(0, 7)
  const { paths, dispose } = await folderWith({ 'a.ndjson.gz': gzipSync(ndjson(events)) })
  return { source: ndjsonFiles({ paths }), events: { [paths[0] as string]: events }, dispose }
})

runSourceConformanceSuite(runner, 'arraySource', async () => {
  const events = numbers(0, 7)
  return { source: arraySource(events), events: { 0: events }, dispose: async () => {} }
})

runSourceConformanceSuite(runner, 'iterableSource of something asynchronous', async () => {
  const events = numbers(0, 7)
  const source = iterableSource<{ n: number }>({
    async *from(position = 0) {
      for (const event of events.slice(Number(position))) {
        await new Promise((resolve) => setTimeout(resolve, 1))
        yield [event, event.n + 1] as const
      }
    },
  })
  return { source, events: { 0: events }, dispose: async () => {} }
})

describe('files of lines', () => {
  let folder: string
  let path: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-source-'))
    path = join(folder, 'lines')
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  const decode = (line: string) => line
  const poll = (reader: SourceReader<string>, waitMs = 1) =>
    reader.poll({ maxEvents: 100, waitMs, paused: NONE })
  const linesOf = (polled: readonly PolledEvents<string>[]) => polled.flatMap(({ events }) => events)

  it('end with a newline, with both of Windows, or with the file; empty ones are no events', async () => {
    await writeFile(path, 'one\r\n\n  \ntwo\nthree')
    const reader = await lineFiles({ paths: [path], decode }).open({ positions: {} })
    expect([...linesOf(await poll(reader)), ...linesOf(await poll(reader))]).toEqual(['one', 'two', 'three'])
    await reader.close()
  })

  it('may be longer than what is read at once, and are UTF-8 across its edges', async () => {
    const lines = ['ä'.repeat(300_000), '€'.repeat(200_000), 'end']
    await writeFile(path, lines.join('\n'))
    const reader = await lineFiles({ paths: [path], decode }).open({ positions: {} })
    const read: string[] = []
    while (read.length < 3) read.push(...linesOf(await poll(reader)))
    expect(read).toEqual(lines)
    await reader.close()
  })

  it('beyond maxLineBytes are damage, not events', async () => {
    await writeFile(path, 'x'.repeat(600_000))
    const reader = await lineFiles({ paths: [path], decode, maxLineBytes: 1_000 }).open({ positions: {} })
    await expect(poll(reader)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await reader.close()
  })

  it('that cannot be decoded are told as failures, in their places', async () => {
    await writeFile(path, '1\nx\n3\n')
    const reader = await ndjsonFiles<number>({ paths: [path] }).open({ positions: {} })
    const [polled] = await reader.poll({ maxEvents: 100, waitMs: 1, paused: NONE })
    expect(polled?.events).toEqual([1, undefined, 3])
    expect(Array.from(polled?.failures?.keys() ?? [])).toEqual([1])
    await reader.close()
  })

  it('of a file that grows come once their newline is there, and the file never ends', async () => {
    await writeFile(path, 'one\ntw')
    const reader = await lineFiles({ paths: [path], decode, follow: true }).open({ positions: {} })
    expect(linesOf(await poll(reader))).toEqual(['one'])
    const idle = await poll(reader)
    expect(idle).toMatchObject([{ events: [], partition: path }])
    const waiting = poll(reader, 10_000)
    await appendFile(path, 'o\nthree\n')
    expect(linesOf(await waiting)).toEqual(['two', 'three'])
    const ended = poll(reader, 60_000)
    await reader.close()
    expect(linesOf(await ended)).toEqual([])
  })

  it.each([
    ['removed', () => rm(path), /it is gone/],
    ['renamed', () => rename(path, `${path}.1`), /it is gone/],
    [
      'rotated',
      async () => void (await rename(path, `${path}.1`), await writeFile(path, '')),
      /another file/,
    ],
    ['cut off', () => truncate(path, 4), /changed or cut off/],
    ['written anew', () => writeFile(path, 'eins\nzwei\ndrei\nvier\n'), /changed or cut off/],
  ])('of a file that is followed and was %s are not waited for in vain', async (_, change, reason) => {
    await writeFile(path, 'one\ntwo\n')
    const first = await lineFiles({ paths: [path], decode, follow: true }).open({ positions: {} })
    const [polled] = await poll(first)
    const position = polled?.positionAfter(1) as Position
    const second = await lineFiles({ paths: [path], decode, follow: true }).open({
      positions: { [path]: position },
    })
    await change()
    for (const reader of [first, second]) {
      const refusal = { code: 'STORAGE_ERROR', message: expect.stringMatching(reason) }
      await expect(poll(reader, 1_000)).rejects.toMatchObject(refusal)
      await reader.close()
    }
  })

  it('of a missing file are a STORAGE_ERROR, and a torn compressed file is one too', async () => {
    await expect(lineFiles({ paths: [path], decode }).open({ positions: {} })).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
    })
    const compressed = gzipSync('a\n'.repeat(10_000))
    await writeFile(path, compressed.subarray(0, compressed.length - 12))
    const reader = await lineFiles({ paths: [path], decode, gzip: true }).open({ positions: {} })
    const readOn = async () => {
      for (;;) {
        const [polled] = await poll(reader)
        if (polled === undefined || polled.hasEnded === true) return
      }
    }
    await expect(readOn()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await reader.close()
  })

  it('J6: a position that is none, or that the file does not have, is RESTORE_FAILED', async () => {
    await writeFile(path, 'one\ntwo\n')
    const source = lineFiles({ paths: [path], decode })
    const last = { bytes: 4, crc32: 1 }
    for (const position of [
      null,
      3,
      {},
      { offset: 4, last: { bytes: 5, crc32: 0 } },
      { offset: 4, last },
      { offset: 99, last },
    ]) {
      await expect(
        source.open({ positions: { [path]: position } }),
        JSON.stringify(position),
      ).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
      })
    }
  })

  it('lists every wrong setting', () => {
    expect(() => lineFiles({ paths: [], decode: 1 as never, follow: 'x' as never })).toThrow(
      /paths.*decode.*follow/s,
    )
    expect(() => lineFiles({ paths: ['a', 'a'], decode })).toThrow('each once')
    expect(() => lineFiles({ paths: ['a.gz'], decode, follow: true })).toThrow('compressed')
  })
})
