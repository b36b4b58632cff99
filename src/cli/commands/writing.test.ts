import { execFile, execFileSync } from 'node:child_process'
import { cpSync, lstatSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { parse } from 'csv-parse/sync'
import { parquetReadObjects } from 'hyparquet'
import { describe, expect, it } from 'vitest'
import {
  commandLinePlaces,
  holdfast,
  holdfastWith,
  linesOf,
  objectsOf,
  placesSchema,
} from '../../../test/support/command-line.js'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from '../../index.js'
import { LmdbStateBackend } from '../../lmdb.js'
import { StateStore } from '../../state.js'

const { directory, at } = commandLinePlaces()

describe('commands that write', () => {
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

  it('imports of entries with one key the last one, and says how many others there were', async () => {
    const line = (value: string) => JSON.stringify({ key: '0x61', value })
    writeFileSync(at('twice.ndjson'), ['0x01', '0x02', '0x03'].map(line).join('\n'))
    const imported = await holdfast('--json', 'import', at('twice.ndjson'), at('twice'))
    expect(objectsOf(imported)[0]).toMatchObject({ entryCount: 1, replaced: 2 })
    expect(imported.err).toContain('2 entries have the key of a later one, which counts')
    expect((await holdfast('export', at('twice'), '--raw')).out).toBe(`${line('0x03')}\n`)
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
    const store = await StateStore.open(backend, placesSchema)
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
    [
      'a field too many',
      '{"state":"totals","key":["model1","tenant1"],"value":{"count":1,"tokens":1,"extra":1}}',
    ],
    ['an end that has been', '{"key":"a","value":"x","expiresAt":"2001-01-01T00:00:00Z"}'],
    [
      'an end of a state that has been',
      '{"state":"totals","key":["model1","tenant1"],"value":{"count":1,"tokens":1},"expiresAt":"2001-01-01"}',
    ],
    ['no JSON', 'count=1'],
    ['an end that is no time', '{"key":"a","value":"x","expiresAt":"2001"}'],
    [
      'a key of a map in what is none',
      '{"state":"totals","key":["model1","tenant1"],"mapKey":"r1","value":{"count":1,"tokens":1}}',
    ],
    ['an end of life under another name', '{"key":"a","value":"x","expires":"2030-01-01T00:00:00Z"}'],
  ])('refuses to edit %s, and makes nothing', async (_what, put) => {
    const outcome = await holdfast('edit', at('typed'), '--put', put, '--to', at('refused'))
    expect([outcome.status, outcome.err.split('\n').length]).toEqual([2, 2])
    expect(() => readdirSync(at('refused'))).toThrow('ENOENT')
  })

  it.each([
    // Its elements would stay, behind bounds that are gone.
    ['a list', '{"state":"last","key":["model1","tenant1"]}', 'is a list, which only a program changes'],
    [
      'an element of a list',
      '{"state":"last","key":["model1","tenant1"],"place":0}',
      'is a list, which only a program changes',
    ],
    [
      'a key of a map in what is none',
      '{"state":"totals","key":["model1","tenant1"],"mapKey":"r1"}',
      'only a map has a mapKey',
    ],
    ['a key with a name that is none', '{"key":"a","map_key":"r1"}', 'has "map_key", which is not one of'],
  ])('refuses to delete %s, and makes nothing', async (_what, gone, reason) => {
    const outcome = await holdfast('edit', at('typed'), '--delete', gone, '--to', at('refused'))
    expect([outcome.status, outcome.err]).toEqual([2, expect.stringContaining(reason)])
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
    expect((await StateStore.open(store, placesSchema)).totals.get(['model1', 'tenant1'])).toEqual({
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
      { id: null, entryCount: 67, expired: 0, replaced: 0 },
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
