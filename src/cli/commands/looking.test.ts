import { readdirSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  commandLinePlaces,
  holdfast,
  holdfastOn,
  linesOf,
  objectsOf,
  savepointOf,
} from '../../../test/support/command-line.js'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from '../../index.js'

const { at } = commandLinePlaces()

describe('commands that look', () => {
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

  it('looks at the machine and the directory', async () => {
    const { status, out } = await holdfast('doctor', at('typed'))
    expect(out).toContain('checkpoints: 3; the newest, chk-0000000003')
    expect(out).toContain('lease: let go by process')
    expect((await holdfast('doctor', at('store'))).out).toMatch(/store: \d+ entries/)
    // A machine whose temporary files lie in memory has a finding.
    expect(status).toBe(out.includes('problem') ? 1 : 0)
  })
})

describe('what is shown', () => {
  it('cuts what a terminal has no room for, by the columns that characters take, and nothing elsewhere', async () => {
    const name = '東京のテナント'
    const text = `${name}🙂`.repeat(6)
    await savepointOf(at('wide'), [[`key ${name}`, text]])
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
    await savepointOf(at('long'), [['long', 'x'.repeat(30_000)]])
    const { out } = await holdfast('scan', at('long'))
    expect([out.length < 21_000, out.includes(`${'x'.repeat(9_999)}…`)]).toEqual([true, true])
    expect((await holdfast('get', at('long'), 'long')).out).toHaveLength(30_001)
  })

  it('has colours on a terminal, unless NO_COLOR is there and not empty, or it is a dumb one', async () => {
    const isColoured = async (env: NodeJS.ProcessEnv) =>
      (await holdfastOn(80, ['list', at('plain')], env)).out.includes('\u001b[')
    expect([await isColoured({}), await isColoured({ NO_COLOR: '' })]).toEqual([true, true])
    expect(await isColoured({ NO_COLOR: '1' })).toBe(false)
    expect([await isColoured({ TERM: 'xterm' }), await isColoured({ TERM: 'dumb' })]).toEqual([true, false])
  })
})
