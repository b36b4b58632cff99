import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as zlib from 'node:zlib'
import { parse } from 'csv-parse/sync'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  commandLinePlaces,
  fillStates,
  holdfast,
  objectsOf,
  placesSchema,
} from '../../../test/support/command-line.js'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from '../../index.js'
import { recordOf } from '../../state/schema/describe.js'
import { EntryEncoder, hexOf, SCHEMA_KEY, StateStore } from '../../state.js'

const { at } = commandLinePlaces()

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

  it('of a store is told without what only helps checkpoints, and a newer version is no damage', async () => {
    const identity = 'holdfast-lmdb.json'
    const place = (name: string, change: (text: string) => string) => {
      cpSync(at('store'), at(name), { recursive: true })
      writeFileSync(at(name, identity), change(readFileSync(at(name, identity), 'utf8')))
      return at(name)
    }
    const torn = await holdfast(
      'count',
      place('torn-store', (text) => text.slice(0, 40)),
    )
    expect([torn.status, torn.err]).toEqual([1, expect.stringContaining('of checkpoints, holdfast repair')])
    const newer = place('newer-store', (text) => text.replace(/"format": \d+/, '"format": 99'))
    const examined = await holdfast('doctor', newer)
    expect([examined.status, examined.out]).toEqual([
      1,
      expect.stringContaining('use the version of holdfast'),
    ])
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
      const path = fileURLToPath(new URL('../../../test/fixtures/checkpoint-v1-zstd', import.meta.url))
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
  const key = hexOf(
    new EntryEncoder(recordOf(placesSchema)).keyOf({ state: 'totals', key: ['model1', 'tenant1'] }),
  )

  beforeAll(async () => {
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, {
      storage: new FileCheckpointStorage(at('undecodable')),
    })
    await fillStates(await StateStore.open(backend, placesSchema), 0)
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
