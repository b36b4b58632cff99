import { execFile, execFileSync } from 'node:child_process'
import {
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import { parse } from 'csv-parse/sync'
import { parquetReadObjects } from 'hyparquet'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { S3Server } from '../../test/support/s3-server.js'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from '../index.js'
import { LmdbStateBackend } from '../lmdb.js'
import { recordOf } from '../state/schema/describe.js'
import {
  aggregating,
  defineState,
  EntryEncoder,
  hexOf,
  int64,
  list,
  map,
  none,
  SCHEMA_KEY,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
} from '../state.js'
import { run } from './run.js'
import { Terminal } from './terminal.js'

const directory = mkdtempSync(join(tmpdir(), 'holdfast-cli-'))
const at = (...names: string[]) => join(directory, ...names)
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const schema = defineState({
  key: tuple(utf8, utf8),
  states: {
    totals: aggregating(struct({ count: uint32, tokens: int64 }), (total, tokens: number) => {
      total.count++
      total.tokens += tokens
    }),
    seen: map(utf8, none, { ttl: { afterMs: 3_600_000 } }),
    last: list(utf8),
  },
})

async function fill(store: StateStore<typeof schema, 'sync'>, round: number): Promise<void> {
  for (let i = 0; i < 20; i++) {
    const key: [string, string] = [`model${i % 3}`, `tenant${i}`]
    store.totals.add(key, i + round)
    store.seen.put(key, `r${round}`)
    if (i < 2) store.last.append(key, `x${round}`)
  }
}

beforeAll(async () => {
  writeFileSync(at('a-file.ndjson'), JSON.stringify({ key: '0x00', value: '0x' }))
  const typed = new MemoryStateBackend()
  const store = await StateStore.open(typed, schema)
  const coordinator = new CheckpointCoordinator(typed, {
    storage: new FileCheckpointStorage(at('typed')),
    source: () => ({ offset: 7 }),
  })
  for (const round of [0, 1]) {
    await fill(store, round)
    await coordinator.createCheckpoint()
  }
  await coordinator.shutdown()
  await typed.close()

  const plain = new MemoryStateBackend()
  const ofPlain = new CheckpointCoordinator(plain, { storage: new FileCheckpointStorage(at('plain')) })
  for (let i = 0; i < 12_000; i++) {
    plain.putSync(
      Buffer.from(`user:${String(i).padStart(5, '0')}`),
      Buffer.from(`{"n":${i}}`),
      i % 2 ? { ttlMs: 1e9 } : {},
    )
  }
  plain.putSync(Uint8Array.of(0, 255), Uint8Array.of(1, 2, 3))
  await ofPlain.createCheckpoint()
  plain.deleteSync(Buffer.from('user:00001'))
  plain.putSync(Buffer.from('user:00002'), Buffer.from('changed'))
  await ofPlain.createCheckpoint()
  await ofPlain.shutdown()
  await plain.close()

  const lmdb = await LmdbStateBackend.open({ path: at('store') })
  await fill(await StateStore.open(lmdb, schema), 0)
  await lmdb.close()
})

interface Outcome {
  readonly status: number
  readonly out: string
  readonly err: string
  /** Both, in the order in which they were written. */
  readonly all: string
}

/** Runs the command line in this process. */
const holdfast = (...args: string[]): Promise<Outcome> => holdfastWith(() => {}, args)

/** The same on a terminal of that width. */
const holdfastOn = (
  columns: number,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> => holdfastWith(() => {}, args, undefined, { columns, env })

interface Seat {
  /** Of the terminal that stdout is. */
  readonly columns: number
  readonly env: NodeJS.ProcessEnv
}

/** The same; `onListening` is given what a signal would call; with `onShown`, stderr is a terminal that tells what it shows. */
async function holdfastWith(
  onListening: (interrupt: () => void) => void,
  args: readonly string[],
  onShown?: (text: string) => void,
  seat?: Seat,
): Promise<Outcome> {
  const out: Buffer[] = []
  const err: Buffer[] = []
  const all: Buffer[] = []
  const collecting = (into: Buffer[]) =>
    new Writable({
      write: (piece: Buffer, _encoding, done) => {
        into.push(piece)
        all.push(piece)
        if (into === err) onShown?.(piece.toString())
        done()
      },
    }) as unknown as NodeJS.WriteStream
  const status = await run(args, {
    stdout: Object.assign(collecting(out), seat === undefined ? {} : { isTTY: true, columns: seat.columns }),
    stderr: Object.assign(collecting(err), { isTTY: onShown !== undefined, columns: 80 }),
    env: seat?.env ?? {},
    on: (signal, listener) => {
      if (signal === 'SIGINT') onListening(listener)
    },
    exit: (code) => {
      throw new Error(`exit ${code}`)
    },
  })
  const [text, notes, both] = [out, err, all].map((pieces) => Buffer.concat(pieces).toString())
  return { status, out: text ?? '', err: notes ?? '', all: both ?? '' }
}

/** A savepoint of texts, in a directory of that name. */
async function savepointOf(name: string, entries: readonly (readonly [string, string])[]): Promise<void> {
  const backend = new MemoryStateBackend()
  for (const [key, value] of entries) backend.putSync(Buffer.from(key), Buffer.from(value))
  const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(at(name)) })
  await coordinator.createCheckpoint()
  await coordinator.shutdown()
  await backend.close()
}

const linesOf = ({ out }: Outcome) => out.trimEnd().split('\n')
const objectsOf = (outcome: Outcome) => linesOf(outcome).map((line) => JSON.parse(line))

describe('holdfast on the command line', () => {
  it('lists checkpoints, newest first, as a table and as JSON', async () => {
    const shown = await holdfast('list', at('typed'))
    expect(shown.status).toBe(0)
    expect(linesOf(shown)[0]).toMatch(/^ID +MADE \(UTC\) +KIND +ENTRIES +SIZE$/)
    const listed = objectsOf(await holdfast('--json', 'list', at('typed')))
    expect(listed.map(({ id, kind }) => [id, kind])).toEqual([
      ['chk-0000000003', 'incremental'],
      ['chk-0000000002', 'incremental'],
      ['chk-0000000001', 'full'],
    ])
  })

  it('inspects a checkpoint and a store: files, schema, position of the source', async () => {
    const { status, out } = await holdfast('inspect', at('typed'), '2')
    expect(status).toBe(0)
    expect(out).toContain('{"offset":7}')
    expect(out).toContain('chk-0000000002.delta.segment')
    expect(out).toContain('struct({ count: uint32, tokens: int64 })')
    expect((await holdfast('inspect', at('store'))).out).toContain('keyed by tuple(utf8, utf8)')
    const [manifest] = objectsOf(await holdfast('--json', 'inspect', at('typed')))
    expect(manifest).toMatchObject({ id: 'chk-0000000003', source: { offset: 7 }, entryCount: 67 })
  })

  it('shows values as what they are, by their state', async () => {
    const key = '["model1","tenant1"]'
    for (const path of ['typed', 'store']) {
      const { status, out } = await holdfast('get', at(path), key, '--state', 'totals')
      expect([status, JSON.parse(out)]).toEqual([
        0,
        path === 'typed' ? { count: 2, tokens: 3 } : { count: 1, tokens: 1 },
      ])
    }
    const seen = await holdfast('get', at('typed'), key, '--state', 'seen', '--map-key', 'r1')
    expect(seen.status).toBe(0)
    expect(await holdfast('get', at('typed'), '["no","one"]', '--state', 'totals')).toMatchObject({
      status: 1,
      out: '',
    })
    const scanned = objectsOf(await holdfast('scan', at('typed'), '--state', 'last', '--json'))
    expect(scanned).toContainEqual({ state: 'last', key: ['model1', 'tenant1'], place: 1, value: 'x1' })
    expect(scanned).toHaveLength(4)
    const [entry] = objectsOf(await holdfast('scan', at('typed'), '--state', 'seen', '--json'))
    expect(entry.expiresAt).toMatch(/^\d{4}-\d\d-\d\dT/)
  })

  it('shows plain keys and values as text, or in hexadecimal digits where they are none', async () => {
    expect((await holdfast('get', at('plain'), 'user:00003')).out).toBe('{"n":3}\n')
    expect((await holdfast('get', at('plain'), '0x00ff')).out).toBe('0x010203\n')
    const [first, second] = objectsOf(await holdfast('scan', at('plain'), '--json', '--to', 'user:00001'))
    expect([first, second]).toEqual([
      { key: '0x00ff', value: '0x010203' },
      { key: 'user:00000', value: '{"n":0}' },
    ])
    const [json] = objectsOf(
      await holdfast('scan', at('plain'), '--json', '--show', 'json', '--prefix', 'user:00007'),
    )
    expect(json).toMatchObject({ key: 'user:00007', value: { n: 7 } })
    const { out, err } = await holdfastOn(80, ['scan', at('plain')])
    expect(out.trimEnd().split('\n')).toHaveLength(101)
    expect(err).toContain('only the first 100')
    // Whoever counts lines counts entries: 12,000, and a head for each thousand.
    expect(linesOf(await holdfast('scan', at('plain')))).toHaveLength(12_000 + 12)
  })

  it('cuts what a terminal has no room for, by the columns that characters take, and nothing elsewhere', async () => {
    const name = '東京のテナント'
    const text = `${name}🙂`.repeat(6)
    await savepointOf('wide', [[`key ${name}`, text]])
    expect((await holdfast('scan', at('wide'))).out).toContain(text)
    expect((await holdfastOn(200, ['scan', at('wide')])).out).toContain(text)
    const narrow = await holdfastOn(60, ['scan', at('wide')])
    expect([narrow.out.includes('…'), narrow.out.includes(name)]).toEqual([true, true])
  })

  it('is a paragraph for each row where a terminal is too narrow for a table', async () => {
    const { out } = await holdfastOn(40, ['list', at('plain'), '--no-color'])
    const [first, second] = out.split('\n\n')
    expect(first).toMatch(/^ID {10}chk-0000000003\nMADE \(UTC\) {2}\d{4}-.*\nKIND {8}incremental\n/)
    expect(second).toContain('chk-0000000002')
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(40)
  })

  it('has a note behind the lines that it is about, where both are one terminal', async () => {
    const { all } = await holdfastOn(80, ['prune', at('plain'), '--keep', '1'])
    expect(all).toMatch(/would remove .*\nnothing was removed; --yes does it\n$/)
  })

  it('writes out what would do something to a terminal, wherever the text comes from', async () => {
    const colours = new RegExp(`${'\u001b'}\\[(?:1|2|22|31|32|33|39)m`, 'g')
    const hostile = '\u001b]0;title\u0007\u009b31m\u202e\u2066\rover'
    const backend = new MemoryStateBackend()
    const storage = new FileCheckpointStorage(at('hostile'))
    const coordinator = new CheckpointCoordinator(backend, {
      storage,
      source: () => ({ [hostile]: hostile }),
    })
    await coordinator.createCheckpoint()
    await coordinator.shutdown()
    const lease = readdirSync(at('hostile')).find((name) => name.startsWith('.lease-')) ?? ''
    const commands = [
      ['inspect', at('hostile')],
      ['restore', at('hostile'), '--to', at(`store-${hostile}`), '--dry-run'],
      ['doctor', at('hostile')],
      ['list', at('hostile')],
      ['verify', at('hostile'), '--all'],
      ['get', at('hostile'), hostile],
      ['list', at(`none-${hostile}`)],
      ['--debug', 'list', at(`none-${hostile}`)],
      ['scan', at('hostile'), '--show', hostile],
    ]
    const contents = [
      { lease: JSON.stringify({ pid: 1, hostname: hostile, released: false }), manifest: undefined },
      { lease: hostile, manifest: hostile },
    ]
    for (const content of contents) {
      writeFileSync(at('hostile', lease), content.lease)
      if (content.manifest !== undefined)
        writeFileSync(at('hostile', 'chk-0000000002.manifest'), content.manifest)
      for (const command of commands) {
        const { out, err, all } = await holdfast(...command)
        expect([command[0], (out + err).match(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)]).toEqual([
          command[0],
          null,
        ])
        const onTerminal = await holdfastOn(80, command)
        const withoutColours = onTerminal.all.replaceAll(colours, '')
        expect([command[0], withoutColours.match(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)]).toEqual([
          command[0],
          null,
        ])
        expect(all).not.toBe('')
      }
    }
  })

  it('cuts a value in a table at 10,000 characters', async () => {
    await savepointOf('long', [['long', 'x'.repeat(30_000)]])
    const { out } = await holdfast('scan', at('long'))
    expect([out.length < 21_000, out.includes(`${'x'.repeat(9_999)}…`)]).toEqual([true, true])
    expect((await holdfast('get', at('long'), 'long')).out).toHaveLength(30_001)
  })

  it('has colours on a terminal, unless NO_COLOR is there and not empty', async () => {
    const isColoured = async (env: NodeJS.ProcessEnv) =>
      (await holdfastOn(80, ['list', at('plain')], env)).out.includes('\u001b[')
    expect([await isColoured({}), await isColoured({ NO_COLOR: '' })]).toEqual([true, true])
    expect(await isColoured({ NO_COLOR: '1' })).toBe(false)
  })

  it('counts entries, of all, of a state, of a range', async () => {
    expect((await holdfast('count', at('plain'))).out).toBe('12000\n')
    expect((await holdfast('count', at('plain'), '--id', '1')).out).toBe('12001\n')
    expect((await holdfast('count', at('plain'), '--prefix', 'user:000')).out).toBe('99\n')
    expect((await holdfast('count', at('plain'), '--from', 'user:00005', '--to', 'user:00010')).out).toBe(
      '5\n',
    )
    expect((await holdfast('count', at('typed'), '--state', 'seen')).out).toBe('40\n')
    expect((await holdfast('count', at('store'), '--state', 'totals')).out).toBe('20\n')
  })

  it('tells what is large, how long it lives and how it is spread', async () => {
    const [stats] = objectsOf(await holdfast('--json', 'stats', at('typed'), '--top', '2'))
    const parts = stats.parts.map(({ name, entries }: { name: string; entries: number }) => [name, entries])
    expect(Object.fromEntries(parts)).toEqual({ seen: 40, totals: 20, last: 6, '(the store itself)': 1 })
    expect(stats.timesToLive).toEqual({ 'below an hour': 40 })
    expect(stats.largest).toHaveLength(2)
    expect(stats.keyGroups.count).toBe(128)
    const { out } = await holdfast('stats', at('plain'))
    expect(out).toMatch(/user: +11,999/)
    expect(out).toMatch(/below 30 days +5,999/)
  })

  it('finds entries by what is shown', async () => {
    const found = await holdfast('grep', at('typed'), 'tenant19"', '--json')
    expect([found.status, objectsOf(found).length]).toEqual([0, 3])
    expect(await holdfast('grep', at('typed'), 'nothing like it')).toMatchObject({ status: 1, out: '' })
    expect((await holdfast('grep', at('typed'), '(')).status).toBe(2)
    expect(
      objectsOf(await holdfast('grep', at('plain'), 'USER:0000', '-i', '--limit', '3', '--json')),
    ).toHaveLength(3)
  })

  it('compares two checkpoints; a difference is a finding', async () => {
    const changed = await holdfast('diff', at('plain'), '1', '2')
    expect(changed.status).toBe(1)
    expect(linesOf(changed)).toEqual([
      '- user:00001: {"n":1}',
      '~ user:00002: {"n":2} → changed',
      '0 added, 1 removed, 1 changed',
    ])
    const summary = objectsOf(await holdfast('--json', 'diff', at('typed'), '1', '2', '--summary'))
    expect(summary).toContainEqual({ state: 'totals', added: 0, removed: 0, changed: 20 })
    expect(await holdfast('diff', at('plain'), '2', '3')).toMatchObject({ status: 0, out: 'no difference\n' })
  })

  it('exports CSV and Parquet with a column for each part of key and value', async () => {
    for (const format of ['csv', 'parquet']) {
      const args = ['--state', 'totals', '--format', format]
      expect((await holdfast('export', at('typed'), at(`out.${format}`), ...args)).status).toBe(0)
    }
    const csv = parse(readFileSync(at('out.csv')), { columns: true }) as Record<string, string>[]
    const bytes = readFileSync(at('out.parquet'))
    const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer
    const parquet = await parquetReadObjects({ file })
    expect(csv).toHaveLength(20)
    expect(csv).toContainEqual({
      key_0: 'model1',
      key_1: 'tenant1',
      value_count: '2',
      value_tokens: '3',
      expiresAt: '',
      undecoded: '',
    })
    expect(parquet).toContainEqual({
      key_0: 'model1',
      key_1: 'tenant1',
      value_count: 2n,
      value_tokens: 3n,
      expiresAt: null,
      undecoded: null,
    })
    expect(readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  it('exports large values piece by piece: several row groups are one file', async () => {
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, {
      storage: new FileCheckpointStorage(at('large')),
    })
    for (let i = 0; i < 12; i++) backend.putSync(Uint8Array.of(0x61 + i), Buffer.alloc(1024 * 1024, 0x61 + i))
    await coordinator.createCheckpoint()
    await coordinator.shutdown()
    await backend.close()
    for (const format of ['csv', 'parquet'])
      expect((await holdfast('export', at('large'), at(`large.${format}`), '--format', format)).status).toBe(
        0,
      )
    const bytes = readFileSync(at('large.parquet'))
    const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer
    const parquet = await parquetReadObjects({ file })
    const csv = parse(readFileSync(at('large.csv')), { columns: true }) as Record<string, string>[]
    const found = (rows: Record<string, unknown>[]) =>
      rows.map((row) => [row['key'], String(row['value']).length, String(row['value'])[0]])
    const letters = [...'abcdefghijkl']
    expect(found(parquet)).toEqual(letters.map((letter) => [letter, 1024 * 1024, letter]))
    expect(found(csv)).toEqual(found(parquet))
  })

  it('exports and imports: the same entries with the same ends of life', async () => {
    expect(
      (await holdfast('export', at('plain'), at('raw.ndjson'), '--raw', '--prefix', 'user:00')).status,
    ).toBe(0)
    const reversed = readFileSync(at('raw.ndjson'), 'utf8').trimEnd().split('\n').reverse()
    writeFileSync(at('reversed.ndjson'), reversed.join('\n'))
    expect(
      (await holdfast('import', at('reversed.ndjson'), at('imported'), '--source', '{"offset":9}')).status,
    ).toBe(0)
    expect((await holdfast('export', at('imported'), at('again.ndjson'), '--raw')).status).toBe(0)
    expect(readFileSync(at('again.ndjson'), 'utf8')).toBe(readFileSync(at('raw.ndjson'), 'utf8'))
    expect(objectsOf(await holdfast('--json', 'inspect', at('imported')))[0].source).toEqual({ offset: 9 })
    writeFileSync(
      at('old.ndjson'),
      [5, 1e15, 6]
        .map((expiresAtMs, i) => JSON.stringify({ key: `0x0${i}`, value: '0x', expiresAtMs }))
        .join('\n'),
    )
    const old = await holdfast('--json', 'import', at('old.ndjson'), at('old'))
    expect(old.err).toBe('2 entries have expired, and are left out\n')
    expect(objectsOf(old)).toMatchObject([{ entryCount: 1, expired: 2 }])
    writeFileSync(
      at('bad.ndjson'),
      `{"key":"0x","value":"0x"}\n{"key":"0x${'00'.repeat(2_049)}","value":"0x"}\n`,
    )
    const bad = await holdfast('import', at('bad.ndjson'), at('never'))
    expect([bad.status, bad.err]).toEqual([2, expect.stringContaining('bad.ndjson:2: ')])
    writeFileSync(at('bad.ndjson'), '\n')
    const empty = await holdfast('import', at('bad.ndjson'), at('never'))
    expect([empty.status, empty.err]).toEqual([2, expect.stringContaining('bad.ndjson holds no entry')])
    writeFileSync(at('bad.ndjson'), '{"key":"a"}\n')
    expect(await holdfast('import', at('bad.ndjson'), at('never'))).toMatchObject({ status: 2, out: '' })
  })

  it('takes back what export --editable wrote, changed or not, byte for byte', async () => {
    expect((await holdfast('export', at('typed'), at('lines.ndjson'), '--editable')).status).toBe(0)
    const text = readFileSync(at('lines.ndjson'), 'utf8')
    const changed = text.replace('"value":{"count":2,"tokens":3}', '"value":{"count":2,"tokens":4}')
    writeFileSync(at('changed.ndjson'), changed)
    for (const name of ['lines', 'changed'])
      expect((await holdfast('import', at(`${name}.ndjson`), at(`from-${name}`))).status).toBe(0)
    const raw = async (path: string) => (await holdfast('export', at(path), '--raw')).out
    expect(await raw('from-lines')).toBe(await raw('typed'))
    const key = ['["model1","tenant1"]', '--state', 'totals']
    expect((await holdfast('get', at('from-changed'), ...key)).out).toBe('{"count":2,"tokens":4}\n')
    const [, ...headless] = text.split('\n')
    writeFileSync(at('headless.ndjson'), headless.join('\n'))
    const refused = await holdfast('import', at('headless.ndjson'), at('never'))
    expect([refused.status, refused.err]).toEqual([2, expect.stringContaining('the line of the schema')])
    expect((await holdfast('export', at('typed'), '--editable', '--raw')).status).toBe(2)
  })

  it('edits into a new savepoint, and leaves what is there as it is', async () => {
    cpSync(at('typed'), at('edited'), { recursive: true })
    const put = '{"state":"totals","key":["model1","tenant1"],"value":{"count":9,"tokens":"99"}}'
    const add = '{"state":"totals","key":["new","one"],"value":{"count":1,"tokens":1}}'
    const gone = '{"state":"totals","key":["model2","tenant2"]}'
    const args = ['edit', at('edited'), '--put', put, '--put', add, '--delete', gone]
    const dry = await holdfast(...args, '--dry-run')
    expect(dry.out).toContain('{"count":2,"tokens":3} → {"count":9,"tokens":99}')
    expect(linesOf(await holdfast('list', at('edited')))).toHaveLength(4)
    expect((await holdfast(...args)).status).toBe(0)
    const { out } = await holdfast('diff', at('edited'), '3', '4', '--state', 'totals')
    expect(out.split('\n').sort()).toEqual([
      '',
      '+ totals ["new","one"]: {"count":1,"tokens":1}',
      '- totals ["model2","tenant2"]: {"count":2,"tokens":5}',
      'totals: 1 added, 1 removed, 1 changed',
      '~ totals ["model1","tenant1"]: {"count":2,"tokens":3} → {"count":9,"tokens":99}',
    ])
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, {
      storage: new FileCheckpointStorage(at('edited')),
    })
    expect((await coordinator.restoreLatest())?.source).toEqual({ offset: 7 })
    const store = await StateStore.open(backend, schema)
    expect(store.totals.get(['model1', 'tenant1'])).toEqual({ count: 9, tokens: 99 })
    await coordinator.shutdown()
    await backend.close()
  })

  it.each([
    ['a list', '{"state":"last","key":["model1","tenant1"],"value":"x"}'],
    ['an unknown state', '{"state":"nope","key":["model1","tenant1"],"value":"x"}'],
    ['another value', '{"state":"totals","key":["model1","tenant1"],"value":{"count":-1,"tokens":0}}'],
    ['a missing field', '{"state":"totals","key":["model1","tenant1"],"value":{"count":1}}'],
    ['another key', '{"state":"totals","key":["model1"],"value":{"count":1,"tokens":1}}'],
    ['no JSON', 'count=1'],
    ['an end that is no time', '{"key":"a","value":"x","expiresAt":"2001"}'],
  ])('refuses to edit %s, and makes nothing', async (_what, put) => {
    const outcome = await holdfast('edit', at('typed'), '--put', put, '--to', at('refused'))
    expect([outcome.status, outcome.err.split('\n').length]).toEqual([2, 2])
    expect(() => readdirSync(at('refused'))).toThrow('ENOENT')
  })

  it('copies what is missing, and prunes only when told to', async () => {
    const outcomes = async (...args: string[]) =>
      objectsOf(await holdfast('--json', 'copy', at('plain'), at('copied'), ...args)).map(
        ({ outcome }) => outcome,
      )
    expect(await outcomes('--dry-run')).toEqual(['missing', 'missing', 'missing'])
    expect(await outcomes('--id', '1')).toEqual(['copied'])
    expect(await outcomes()).toEqual(['there', 'copied', 'copied'])
    expect((await holdfast('prune', at('copied'), '--keep', '1')).out.match(/would remove/g)).toHaveLength(2)
    expect(linesOf(await holdfast('list', at('copied')))).toHaveLength(4)
    expect((await holdfast('prune', at('copied'), '--keep', '1', '--yes')).status).toBe(0)
    expect(linesOf(await holdfast('list', at('copied')))).toHaveLength(2)
    expect((await holdfast('verify', at('copied'))).status).toBe(0)
  })

  it('drills a restore, on both engines; too slow or too old is a finding', async () => {
    for (const engine of ['memory', 'lmdb']) {
      const [report] = objectsOf(await holdfast('--json', 'drill', at('typed'), '--engine', engine))
      expect(report).toMatchObject({ ok: true, engine, entryCount: 67, findings: [] })
    }
    const late = await holdfast('drill', at('typed'), '--max-age-hours', '0.0000001')
    expect([late.status, late.out.includes('NOT OK')]).toEqual([1, true])
  })

  it('restores into a new store, by the address alone, and never over what is there', async () => {
    const restored = await holdfast('--json', 'restore', at('typed'), '2', '--to', at('restored'))
    expect(objectsOf(restored)[0]).toEqual({
      id: 'chk-0000000002',
      store: at('restored'),
      restored: true,
      entryCount: 67,
      source: { offset: 7 },
    })
    expect((await holdfast('export', at('restored'), '--raw')).out).toBe(
      (await holdfast('export', at('typed'), '--id', '2', '--raw')).out,
    )
    const store = await LmdbStateBackend.open({ path: at('restored') })
    expect((await StateStore.open(store, schema)).totals.get(['model1', 'tenant1'])).toEqual({
      count: 2,
      tokens: 3,
    })
    await store.close()
    const again = await holdfast('restore', at('typed'), '--to', at('restored'))
    expect([again.status, again.err]).toEqual([2, expect.stringContaining('is there already')])
  })

  it('says what a change would come to, and changes nothing', async () => {
    const before = readdirSync(directory)
    const file = at('before.ndjson')
    expect((await holdfast('export', at('typed'), file, '--raw')).status).toBe(0)
    expect(objectsOf(await holdfast('--json', 'import', file, at('never'), '--dry-run'))).toEqual([
      { id: null, entryCount: 67, expired: 0 },
    ])
    expect(await holdfast('repair', at('typed'), '--dry-run')).toMatchObject({
      status: 0,
      out: '67 of 67 entries can be saved\n',
    })
    expect((await holdfast('repair', at('typed'))).status).toBe(2)
    const restored = await holdfast('restore', at('typed'), '--to', at('never'), '--dry-run')
    expect(restored.out).toContain('would restore chk-0000000003, 67 entries')
    const put = '{"state":"totals","key":["model1","tenant1"],"value":{"count":1,"tokens":1}}'
    const [change] = objectsOf(await holdfast('--json', 'edit', at('typed'), '--put', put, '--dry-run'))
    expect(change).toEqual({
      key: expect.stringMatching(/^0x/),
      before: '{"count":2,"tokens":3}',
      after: '{"count":1,"tokens":1}',
    })
    expect(readdirSync(directory)).toEqual([...before, 'before.ndjson'].sort())
  })

  it('looks at the machine and the directory', async () => {
    const { status, out } = await holdfast('doctor', at('typed'))
    expect(out).toContain('checkpoints: 3; the newest, chk-0000000003')
    expect(out).toContain('lease: let go by process')
    expect((await holdfast('doctor', at('store'))).out).toMatch(/store: \d+ entries/)
    // A machine whose temporary files lie in memory has a finding.
    expect(status).toBe(out.includes('problem') ? 1 : 0)
  })

  it('measures engines and checkpoints on a disk, and leaves nothing there', async () => {
    mkdirSync(at('bench'))
    const outcome = await holdfast('bench', at('bench'), '--entries', '2000', '--json')
    const steps = ['put', 'flush', 'get', 'scan', 'checkpoint', 'restore']
    expect(objectsOf(outcome).map(({ engine, step, entries }) => [engine, step, entries])).toEqual(
      ['memory', 'lmdb'].flatMap((engine) =>
        steps.filter((step) => engine === 'lmdb' || step !== 'flush').map((step) => [engine, step, 2_000]),
      ),
    )
    expect(readdirSync(at('bench'))).toEqual([])
    expect((await holdfast('bench', at('bench'), '--entries', '0')).status).toBe(2)
    const bench = ['bench', at('bench'), '--entries', '100000']
    const interrupted = await holdfastWith((interrupt) => setImmediate(interrupt), bench)
    expect([interrupted.status, interrupted.out]).toEqual([130, ''])
    expect(readdirSync(at('bench'))).toEqual([])
  })

  it('prints completions that a shell understands', async () => {
    const { out } = await holdfast('completion', 'bash')
    const complete = 'COMP_WORDS=(holdfast ver); COMP_CWORD=1; _holdfast; echo "${COMPREPLY[@]}"'
    expect(execFileSync('bash', ['-c', `${out}\n${complete}`]).toString()).toBe('verify\n')
    for (const shell of ['zsh', 'fish'])
      expect((await holdfast('completion', shell)).out).toContain('holdfast')
    expect((await holdfast('completion', 'csh')).status).toBe(2)
  })
})

describe('an object store', () => {
  const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' }
  let server: S3Server

  beforeAll(async () => {
    server = await S3Server.start({ ...credentials, minPartBytes: 20_000 })
    vi.stubEnv('AWS_ACCESS_KEY_ID', credentials.accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', credentials.secretAccessKey)
    vi.stubEnv('AWS_ENDPOINT_URL_S3', server.endpoint)
  })

  afterAll(async () => {
    vi.unstubAllEnvs()
    await server.stop()
  })

  it('is a place like any other: copied to, looked into, verified', async () => {
    const copied = await holdfast('copy', at('typed'), 's3://bucket/jobs/typed')
    expect([copied.status, copied.err]).toEqual([0, ''])
    expect((await holdfast('list', 's3://bucket/jobs/typed')).out).toBe(
      (await holdfast('list', at('typed'))).out,
    )
    expect((await holdfast('verify', 's3://bucket/jobs/typed')).status).toBe(0)
    const { out } = await holdfast(
      'get',
      's3://bucket/jobs/typed',
      '["model1","tenant1"]',
      '--state',
      'totals',
    )
    expect(JSON.parse(out)).toEqual({ count: 2, tokens: 3 })
    expect((await holdfast('doctor', 's3://bucket/jobs/typed')).out).toContain('checkpoints: 3')
  })

  it('is asked whether it keeps its conditions', async () => {
    const careless = await S3Server.start({ ...credentials, minPartBytes: 20_000, ignoresConditions: true })
    vi.stubEnv('AWS_ENDPOINT_URL_S3', careless.endpoint)
    const [report] = objectsOf(await holdfast('--json', 'storage', 'check', 's3://bucket/probe'))
    vi.stubEnv('AWS_ENDPOINT_URL_S3', server.endpoint)
    await careless.stop()
    expect([report.canFence, JSON.stringify(report).includes(credentials.secretAccessKey)]).toEqual([
      false,
      false,
    ])
    expect((await holdfast('storage', 'check', at('typed'))).status).toBe(2)
    expect((await holdfast('list', 's3://')).status).toBe(2)
  })
})

it('writes to what is no file as it is: a pipe with a name stays one', async () => {
  execFileSync('mkfifo', [at('pipe')])
  // By another process: a thread of the pool waits for who writes until that has opened the pipe, which with a pool of one takes that very thread.
  const reading = promisify(execFile)('cat', [at('pipe')])
  expect((await holdfast('export', at('typed'), at('pipe'), '--state', 'last')).status).toBe(0)
  expect((await reading).stdout.trimEnd().split('\n')).toHaveLength(4)
  expect(statSync(at('pipe')).isFIFO()).toBe(true)
})

it('writes to where a link leads, which stays one', async () => {
  writeFileSync(at('led-to.ndjson'), 'before')
  symlinkSync(at('led-to.ndjson'), at('link.ndjson'))
  expect((await holdfast('export', at('typed'), at('link.ndjson'), '--state', 'last')).status).toBe(0)
  expect(lstatSync(at('link.ndjson')).isSymbolicLink()).toBe(true)
  expect(readFileSync(at('led-to.ndjson'), 'utf8').trimEnd().split('\n')).toHaveLength(4)
})

describe('how far a command has come', () => {
  it.each([
    ['count', ['count', at('plain'), '--prefix', 'user:'], 'counting'],
    ['scan', ['scan', at('plain')], 'reading'],
    ['diff', ['diff', at('plain'), '1', '2', '--summary'], 'comparing'],
    ['copy', ['copy', at('plain'), at('copied step by step')], 'copying'],
    ['copy of what is there', ['copy', at('plain'), at('copied step by step')], 'copying'],
  ] as const)('is told by %s, in many steps', async (_, args, label) => {
    const steps: number[] = []
    const asked = vi.spyOn(Terminal.prototype, 'progress').mockImplementation(async () => ({
      advance: (done) => steps.push(done),
      end: () => {},
    }))
    try {
      await holdfast(...args)
      const [[shown, total] = ['', 0]] = asked.mock.calls
      expect([shown, total > 0, steps.length > 3]).toEqual([label, true, true])
      expect(steps.toSorted((left, right) => left - right)).toEqual(steps)
      expect(steps.at(-1)).toBeGreaterThan(0.9 * total)
    } finally {
      asked.mockRestore()
    }
  })
})

describe('an interruption', () => {
  it('in the middle of what takes long leaves neither a progress bar nor a hidden cursor', async () => {
    let interrupt = () => {}
    let nowMs = 0
    const now = vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += 600))
    const timers = vi.spyOn(globalThis, 'setTimeout')
    const ended = vi.spyOn(globalThis, 'clearTimeout')
    try {
      const listen = (listener: () => void) => (interrupt = listener)
      const args = ['grep', at('plain'), 'no such', '--id', '1']
      const onShown = (text: string) => {
        if (!text.includes('searching')) return
        interrupt()
        interrupt = () => {}
      }
      const { status, err } = await holdfastWith(listen, args, onShown)
      expect([status, err.includes('searching')]).toEqual([130, true])
      expect(err.lastIndexOf('\u001b[?25h')).toBeGreaterThan(err.lastIndexOf('\u001b[?25l'))
      expect(ended).toHaveBeenCalledWith(timers.mock.results.at(-1)?.value)
    } finally {
      now.mockRestore()
      timers.mockRestore()
      ended.mockRestore()
    }
  })
})

describe('damage', () => {
  const damaged = (name: string, file: string, change: (path: string) => void) => {
    cpSync(at('plain'), at(name), { recursive: true })
    change(at(name, file))
    return at(name)
  }
  const overwrite = (offset: number) => (path: string) => {
    const bytes = readFileSync(path)
    bytes.fill(0xee, offset, offset + 8)
    writeFileSync(path, bytes)
  }
  const base = 'chk-0000000001.base.segment'

  it('is found, with what it is', async () => {
    const path = damaged('flipped', base, overwrite(1_000))
    const { status, out } = await holdfast('verify', path, '--all')
    expect([status, out.match(/^DAMAGED/gm)?.length]).toEqual([1, 3])
    expect(out).toContain('does not match')
    expect((await holdfast('export', path, at('never.ndjson'))).status).toBe(1)
    expect(() => readFileSync(at('never.ndjson'))).toThrow('ENOENT')
    const whole = await holdfast('verify', at('plain'), '--all')
    expect([whole.status, whole.out.match(/^ok/gm)?.length]).toEqual([0, 3])
  })

  it('of a manifest is found by list, verify and doctor', async () => {
    const path = damaged('manifest', 'chk-0000000003.manifest', overwrite(100))
    for (const command of ['list', 'doctor', 'verify']) {
      const args = command === 'verify' ? ['--all'] : []
      const { status, out } = await holdfast(command, path, ...args)
      expect([command, status, out.includes('chk-0000000003')]).toEqual([command, 1, true])
    }
  })

  it.each(['verify', 'drill'])(
    'of the newest manifest is found by %s without an id, though an older one is well',
    async (command) => {
      const path = damaged(`newest-${command}`, 'chk-0000000003.manifest', overwrite(100))
      const { status, out } = await holdfast(command, path)
      expect(status).toBe(1)
      expect(out).toMatch(/chk-0000000003 .*damaged/)
      expect(out).toContain('chk-0000000002')
      expect((await holdfast(command, path, '2')).status).toBe(0)
    },
  )

  it.each([
    ['inspect', '3'],
    ['scan', '--id', '3'],
    ['diff', '2', '3'],
    ['repair', '3', '--dry-run'],
    ['restore', '3', '--to', 'nowhere'],
    ['drill', '3'],
  ])(
    'of a manifest is the reason that %s gives where that checkpoint is asked for',
    async (command, ...args) => {
      const path = damaged(`asked-${command}`, 'chk-0000000003.manifest', overwrite(100))
      const { status, err } = await holdfast(command, path, ...args)
      expect(status).toBe(1)
      expect(err).toMatch(/manifest of chk-0000000003 is damaged/)
    },
  )

  describe('of the newest manifest, where an older checkpoint is well,', () => {
    const newest = (name: string) => damaged(`newest-of-${name}`, 'chk-0000000003.manifest', overwrite(100))
    const told = /chk-0000000003 is newer, and cannot be read: .*damaged/

    it.each([
      ['scan'],
      ['get', 'x'],
      ['count'],
      ['stats'],
      ['grep', 'x'],
      ['inspect'],
      ['diff', '1', 'latest'],
      ['repair', '--dry-run'],
    ])('is told by %s', async (command, ...args) => {
      const path = newest(command)
      const { err } = await holdfast(command, path, ...args)
      expect(err).toMatch(told)
      if (command === 'diff') return
      const id = ['inspect', 'repair'].includes(command) ? ['2'] : ['--id', '2']
      expect((await holdfast(command, path, ...args, ...id)).err).not.toMatch(told)
    })

    it.each([
      ['restore', '--to', 'store'],
      ['export', 'file.ndjson'],
      ['edit', '--put', 'a=b', '--to', 'edited'],
      ['copy', 'copied', '--id', 'latest'],
    ])('keeps %s from making less of it, unless that is asked for', async (command, ...args) => {
      const path = newest(command)
      const placed = args.map((each) =>
        each.startsWith('-') || each.includes('=') || each === 'latest'
          ? each
          : at(`${command}-of-older-${each}`),
      )
      const { status, err } = await holdfast(command, path, ...placed)
      expect([status, err]).toEqual([2, expect.stringMatching(told)])
    })

    it('is told by prune, which leaves it as it is', async () => {
      const path = newest('prune')
      const { status, err } = await holdfast('prune', path, '--keep', '1', '--yes')
      expect([status, err]).toEqual([0, expect.stringMatching(/^chk-0000000003 is left as it is.*damaged/m)])
      expect(readFileSync(join(path, 'chk-0000000003.manifest')).length).toBeGreaterThan(0)
    })

    it('is found by verify where even its file is missing', async () => {
      const path = damaged('newest-missing', 'chk-0000000003.manifest', (file) => rmSync(file))
      const { status, out } = await holdfast('verify', path)
      expect([status, out]).toEqual([1, expect.stringMatching(/chk-0000000003 .*missing/)])
    })

    it('is a finding of a copy of all', async () => {
      const { status, out } = await holdfast('copy', newest('copies'), at('copies-of-older'))
      expect([status, out]).toEqual([1, expect.stringMatching(/^NOT READ chk-0000000003 .*damaged/m)])
    })
  })

  it.each([
    ['is missing', (path: string) => rmSync(path)],
    ['was cut off', (path: string) => truncateSync(path, 100)],
  ])('of the newest checkpoint whose file %s is found by doctor, too', async (how, change) => {
    const path = damaged(`file-${how}`, base, change)
    const { status, out } = await holdfast('doctor', path)
    expect(status).toBe(1)
    expect(out).toMatch(/^problem .*chk-0000000003: .*base\.segment is damaged.*older one/m)
  })

  const hasZstd = 'zstdCompressSync' in zlib
  it.skipIf(hasZstd)(
    `is not what a checkpoint is called that this Node.js cannot read${hasZstd ? ' (skipped: it has zstd)' : ''}`,
    async () => {
      const path = fileURLToPath(new URL('../../test/fixtures/checkpoint-v1-zstd', import.meta.url))
      const { status, out } = await holdfast('verify', path)
      expect([status, out]).toEqual([1, expect.stringMatching(/^NOT READ .*zstd.*; holdfast doctor tells/)])
      const told = await holdfast('scan', path)
      expect([told.status, told.err]).toEqual([3, expect.stringContaining('holdfast doctor tells')])
      expect(objectsOf(await holdfast('--json', 'verify', path))).toMatchObject([{ code: 'INCOMPATIBLE' }])
      const found = await holdfast('doctor', path)
      expect([found.status, found.out]).toEqual([1, expect.stringMatching(/^problem .*zstd.*; see above/m)])
    },
  )

  it('of one block loses what is in that block, which is told; everything else is saved', async () => {
    const path = damaged('block', base, overwrite(1_000))
    const [report] = objectsOf(await holdfast('--json', 'repair', path, '1', '--to', at('saved')))
    const [{ from, until, entryCount, role }] = report.lost
    expect([report.lost.length, role, report.expected]).toEqual([1, 'base', 12_001])
    expect(report.entryCount).toBe(12_001 - entryCount)
    const kept = new Set(
      objectsOf(await holdfast('scan', at('saved'), '--json', '--show', 'hex')).map(({ key }) => key),
    )
    const all = objectsOf(await holdfast('scan', at('plain'), '--id', '1', '--json', '--show', 'hex'))
    const isLost = (key: string) => key >= from && (until === null || key < until)
    expect(all.filter(({ key }) => !kept.has(key) && !isLost(key))).toEqual([])
    expect(all.filter(({ key }) => kept.has(key) && isLost(key))).toEqual([])
  })

  it('of a file that was cut off loses what was behind the cut', async () => {
    const path = damaged('cut', base, (file) => truncateSync(file, readFileSync(file).length - 200))
    const outcome = await holdfast('--json', 'repair', path, '1', '--to', at('saved-cut'))
    const [report] = objectsOf(outcome)
    const lost = report.lost.reduce((sum: number, each: { entryCount: number }) => sum + each.entryCount, 0)
    expect(report.entryCount + lost).toBe(12_001)
    expect((await holdfast('verify', at('saved-cut'))).status).toBe(0)
  })

  it('ends a copy, which tells what it has copied before', async () => {
    const path = damaged('second', 'chk-0000000002.delta.segment', overwrite(60))
    const { status, out, err } = await holdfast('copy', path, at('first-only'))
    expect([status, out]).toEqual([1, expect.stringMatching(/^copied +chk-0000000001 .*\n$/)])
    expect(err).toContain('chk-0000000002.delta.segment')
  })

  it('of a delta leaves older values, and says so', async () => {
    const path = damaged('delta', 'chk-0000000002.delta.segment', (file) => rmSync(file))
    const { status, out } = await holdfast('repair', path, '2', '--to', at('saved-delta'))
    expect(status).toBe(1)
    expect(out).toContain('changes are missing')
    expect((await holdfast('get', at('saved-delta'), 'user:00002')).out).toBe('{"n":2}\n')
  })
})

describe('an entry that cannot be decoded', () => {
  const key = hexOf(new EntryEncoder(recordOf(schema)).keyOf({ state: 'totals', key: ['model1', 'tenant1'] }))

  beforeAll(async () => {
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, {
      storage: new FileCheckpointStorage(at('undecodable')),
    })
    await fill(await StateStore.open(backend, schema), 0)
    await coordinator.createCheckpoint()
    const totals = new Uint8Array(Buffer.from(key.slice(2), 'hex'))
    backend.putSync(totals, Uint8Array.of(1, 2, 3))
    // A key of which only the state can be read.
    backend.putSync(Uint8Array.of(...totals.subarray(0, 4), 0xff), new Uint8Array(12))
    await coordinator.createCheckpoint()
    await coordinator.shutdown()
    await backend.close()
  })

  const undecoded = (objects: { problem?: string; key: string }[]) =>
    objects.filter(({ problem }) => problem !== undefined)

  it('does not end scan, grep, export: it is shown as stored, with the reason, and is a finding', async () => {
    for (const args of [
      ['scan', at('undecodable')],
      ['scan', at('undecodable'), '--state', 'totals'],
      ['grep', at('undecodable'), '.'],
      ['export', at('undecodable')],
    ]) {
      const outcome = await holdfast(...args, '--json')
      const objects = objectsOf(outcome)
      expect([args[0], outcome.status, objects.length]).toEqual([
        args[0],
        1,
        args.includes('--state') ? 21 : 43,
      ])
      expect(outcome.err).toBe(
        '2 entries could not be decoded, and are shown as stored; --json and export give the reason\n',
      )
      expect(undecoded(objects)).toContainEqual({
        state: 'totals',
        key,
        value: '0x010203',
        problem: expect.stringContaining("an entry of state 'totals'"),
      })
    }
    expect((await holdfast('scan', at('undecodable'))).out).toContain('0x010203 (not decoded: ')
  })

  it('has a column to itself in a table', async () => {
    for (const state of [['--state', 'totals'], []]) {
      const args = ['export', at('undecodable'), at('undecodable.csv'), '--format', 'csv', ...state]
      expect((await holdfast(...args)).status).toBe(1)
      const rows = parse(readFileSync(at('undecodable.csv')), { columns: true }) as Record<string, string>[]
      const found = rows.filter((row) => row['undecoded'] !== '')
      expect(found).toHaveLength(2)
      for (const row of found) {
        const cells = Object.entries(row).filter(([name, cell]) => cell !== '' && name !== 'state')
        expect(cells.map(([name]) => name)).toEqual(['undecoded'])
        expect(JSON.parse(row['undecoded'] ?? '')).toMatchObject({ key: expect.stringContaining('0x') })
      }
    }
    const args = ['export', at('undecodable'), at('undecodable.parquet'), '--format', 'parquet']
    expect((await holdfast(...args, '--state', 'totals')).status).toBe(1)
  })

  it('is a finding of get, stats and diff as well, and is counted', async () => {
    const asked = ['["model1","tenant1"]', '--state', 'totals']
    const got = await holdfast('get', at('undecodable'), ...asked)
    expect([got.status, got.out]).toEqual([1, expect.stringMatching(/^0x010203 \(not decoded: /)])
    expect(objectsOf(await holdfast('get', at('undecodable'), ...asked, '--json'))[0]).toMatchObject({
      value: '0x010203',
      problem: expect.any(String),
    })
    // Keys say of which state an entry is.
    expect(await holdfast('count', at('undecodable'), '--state', 'totals')).toMatchObject({
      status: 0,
      out: '21\n',
    })
    const stats = await holdfast('stats', at('undecodable'), '--top', '100', '--json')
    expect([stats.status, objectsOf(stats)[0].largest.length]).toEqual([1, 46])
    const diff = await holdfast('diff', at('undecodable'), '1', '2', '--json')
    expect([diff.status, objectsOf(diff).length]).toEqual([1, 2])
    expect(objectsOf(diff)[0].after).toMatchObject({ problem: expect.any(String) })
  })

  it('can be edited, drilled and copied; bytes stay bytes', async () => {
    const put = '{"state":"totals","key":["model1","tenant1"],"value":{"count":1,"tokens":1}}'
    const edited = await holdfast('edit', at('undecodable'), '--put', put, '--to', at('decodable'))
    expect([edited.status, edited.out]).toEqual([0, expect.stringContaining('0x010203 (not decoded: ')])
    expect((await holdfast('drill', at('undecodable'))).status).toBe(0)
    expect((await holdfast('repair', at('undecodable'), '--to', at('whole'))).status).toBe(0)
    expect((await holdfast('scan', at('undecodable'), '--show', 'hex')).status).toBe(0)
  })
})

describe('a schema that cannot be read', () => {
  beforeAll(async () => {
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, {
      storage: new FileCheckpointStorage(at('schemaless')),
    })
    backend.putSync(Uint8Array.of(1), Uint8Array.of(2))
    backend.putSync(SCHEMA_KEY, Buffer.from('{"format":'))
    await coordinator.createCheckpoint()
    await coordinator.shutdown()
    await backend.close()
  })

  it('ends what shows values, in one line that says how to look all the same', async () => {
    const { status, out, err } = await holdfast('scan', at('schemaless'))
    expect([status, out]).toEqual([1, ''])
    expect(err).toMatch(/^holdfast: .*schema.*--show hex.*\n$/)
  })

  it('is not needed by what shows bytes', async () => {
    for (const args of [
      ['scan', at('schemaless'), '--show', 'hex', '--json'],
      ['grep', at('schemaless'), '.', '--show', 'hex', '--json'],
      ['export', at('schemaless'), '--raw'],
    ]) {
      const outcome = await holdfast(...args)
      expect([args[0], outcome.status]).toEqual([args[0], 0])
      expect(objectsOf(outcome)).toContainEqual({ key: '0x01', value: '0x02' })
    }
    expect(await holdfast('get', at('schemaless'), '0x01', '--show', 'hex')).toMatchObject({ out: '0x02\n' })
    expect(await holdfast('count', at('schemaless'), '--prefix', '0x01')).toMatchObject({ out: '1\n' })
  })

  it('is taken out by export --raw, and taken back by import', async () => {
    expect((await holdfast('export', at('schemaless'), at('schemaless.ndjson'), '--raw')).status).toBe(0)
    const imported = await holdfast('import', at('schemaless.ndjson'), at('schemaless-again'))
    expect([imported.status, imported.err]).toEqual([0, ''])
    const again = await holdfast('export', at('schemaless-again'), '--raw')
    expect(again.out).toBe(readFileSync(at('schemaless.ndjson'), 'utf8'))
  })
})

describe('an interruption', () => {
  it.each([
    ['export', [at('plain'), at('interrupted.ndjson')]],
    ['repair', [at('plain'), '--to', at('interrupted')]],
    ['edit', [at('plain'), '--delete', '{"key":"user:00003"}', '--to', at('interrupted')]],
    ['import', [at('raw.ndjson'), at('interrupted')]],
    ['restore', [at('plain'), '--to', at('interrupted')]],
  ])('of %s leaves nothing half written', async (command, args) => {
    const before = readdirSync(directory)
    const { status, out } = await holdfastWith((interrupt) => setImmediate(interrupt), [command, ...args])
    expect([status, out]).toEqual([130, ''])
    const made = readdirSync(directory).filter((name) => !before.includes(name))
    expect(made.filter((name) => name !== 'interrupted')).toEqual([])
    if (made.length > 0)
      expect(readdirSync(at('interrupted')).filter((name) => name.endsWith('.manifest'))).toEqual([])
  })
})

describe('wrong use', () => {
  it.each([
    ['no command at all', ['frobnicate']],
    ['an unknown option', ['list', '--frob', 'x']],
    ['a path that is not there', ['list', at('nowhere')]],
    ['an empty path', ['list', '']],
    ['a file to copy to', ['copy', at('plain'), at('a-file.ndjson')]],
    ['a file to import into', ['import', at('a-file.ndjson'), at('a-file.ndjson')]],
    ['a file to measure in', ['bench', at('a-file.ndjson')]],
    ['a directory to measure in that is not there', ['bench', at('nowhere')]],
    ['a page of what is not there', ['ui', at('nowhere')]],
    ['a directory of something else', ['list', tmpdir()]],
    ['a store where checkpoints are wanted', ['list', at('store')]],
    ['an id that is not there', ['inspect', at('plain'), '99']],
    ['an id that is none', ['inspect', at('plain'), 'newest']],
    ['a state of plain bytes', ['scan', at('plain'), '--state', 'totals']],
    ['a state that is not there', ['scan', at('typed'), '--state', 'nope']],
    ['an odd number of digits', ['get', at('plain'), '0x123']],
    ['another form', ['scan', at('plain'), '--show', 'xml']],
    ['a limit that is none', ['scan', at('plain'), '--limit', 'many']],
    ['a file to import that is not there', ['import', at('nowhere.ndjson'), at('never')]],
    ['a directory to import', ['import', directory, at('never')]],
    ['a file to export to in a directory that is not there', ['export', at('plain'), at('nowhere', 'all')]],
    ['a directory to export to', ['export', at('plain'), directory]],
    ['a path through a file', ['list', at('a-file.ndjson', 'x')]],
    ['a name that is not UTF-8', ['list', at('\ufffd')]],
  ])('%s is status 2, with one line that says what', async (_what, args) => {
    const { status, out, err } = await holdfast(...args)
    expect([status, out]).toEqual([2, ''])
    expect(err.trim()).not.toBe('')
    expect(err).not.toMatch(/at Object|E[A-Z]{4,}:/)
  })
})

describe('a folder for temporary files that is not there', () => {
  it.each([
    ['import', [at('a-file.ndjson'), at('never')]],
    ['drill', [at('plain')]],
    ['bench', []],
  ])('ends %s in one line, in words', async (command, args) => {
    vi.stubEnv('TMPDIR', at('nowhere'))
    try {
      const { status, out, err } = await holdfast(command, ...args)
      expect([2, 3]).toContain(status)
      expect([out, err.trim().split('\n').length]).toEqual(['', 1])
      expect(err).toMatch(/nowhere: (no such file or directory|it is gone; check)/)
      expect(err).not.toContain('mkdtemp')
    } finally {
      vi.unstubAllEnvs()
    }
  })
})
