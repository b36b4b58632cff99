// A store that version 1 of the format once wrote, committed as files: it must open and read for ever. And the bytes of
// docs/format/lmdb-store.md, written by hand from that page.
// HOLDFAST_WRITE_FIXTURES=1 writes the store anew: only before a format is released.

import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from 'lmdb'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { seededRandom } from '../src/base/random.js'
import { LmdbStateBackend } from '../src/lmdb/lmdb-state-backend.js'
import { KeyScratch } from '../src/lmdb/store/environment.js'
import { checkRecord, RecordWriter, recordExpiry, recordPart } from '../src/lmdb/store/record.js'
import { decodeStoreState, encodeStoreState } from '../src/lmdb/store/store-state.js'
import type { LmdbCompression, LmdbStateBackendOptions } from '../src/lmdb/types.js'
import { ManualClock } from '../src/testing/manual-clock.js'
import { blocksOf, bytesOf, entry, sortedEntries, type TestEntry } from './support/checkpoints.js'

const fixture = fileURLToPath(new URL('./fixtures/lmdb-store-v1/', import.meta.url))
/** What a copy of a closed store needs: the lock table and the lease belong to the place. */
const FILES = ['holdfast-lmdb.json', 'data-1.mdb']
const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex')

function noise(length: number): Uint8Array {
  const random = seededRandom(length)
  return Uint8Array.from({ length }, () => Math.floor(random() * 256))
}

/** Everything that an entry may be: short and long, compressible and not, expiring and not. */
function fixtureEntries(): TestEntry[] {
  const counters = Array.from({ length: 24 }, (_, i) =>
    entry(`counter/${String(i).padStart(2, '0')}`, `${i * i}`),
  )
  const sessions = Array.from({ length: 6 }, (_, i) =>
    entry(`session/${i}`, `open ${i}`, START_MS + 1_000 * (i + 1)),
  )
  return sortedEntries([
    { key: new Uint8Array(0), value: bytesOf('the empty key'), expiresAtMs: Infinity },
    { key: Uint8Array.of(0), value: new Uint8Array(0), expiresAtMs: Infinity },
    ...counters,
    ...sessions,
    entry('rewritten', 'new'),
    entry('text', 'to be or not to be '.repeat(200)),
    entry('text that expires', 'to be or not to be '.repeat(20), Date.UTC(2100, 0, 1)),
    { key: bytesOf('noise'), value: noise(300), expiresAtMs: Infinity },
    { key: bytesOf('noise of more than a page'), value: noise(9_000), expiresAtMs: Infinity },
    { key: new Uint8Array(2_048).fill(0xff), value: new Uint8Array(5_000).fill(7), expiresAtMs: Infinity },
  ])
}

/** A store with a past: filled, replaced as a whole, cleared, filled again, changed, opened three times. */
async function makeStore(path: string): Promise<void> {
  const clock = new ManualClock(START_MS - 60_000)
  const settings = { path, clock, sweepIntervalMs: Infinity, flushIntervalMs: Infinity }
  const withBackend = async (
    compression: LmdbCompression,
    work: (backend: LmdbStateBackend) => Promise<void>,
  ) => {
    const backend = await LmdbStateBackend.open({ ...settings, compression })
    await work(backend)
    await backend.close()
  }
  await withBackend('none', async (backend) => {
    for (let i = 0; i < 40; i++) backend.putSync(bytesOf(`first/${i}`), bytesOf('of generation 0'))
    await backend.flush()
    async function* restored() {
      yield* blocksOf([entry('a', 'restored'), entry('b', 'restored', START_MS + 5)])
    }
    await backend.replaceAll(restored())
  })
  await withBackend('lz4', async (backend) => {
    backend.putSync(bytesOf('a'), bytesOf('overwritten'))
    await backend.flush()
    await backend.clear()
    clock.set(START_MS)
    for (const { key, value, expiresAtMs } of fixtureEntries()) {
      backend.putSync(key, value as Uint8Array, { ttlMs: expiresAtMs - START_MS })
    }
    backend.putSync(bytesOf('rewritten'), bytesOf('old'), { ttlMs: 1_000 })
    backend.putSync(bytesOf('deleted'), bytesOf('old'), { ttlMs: 1_000 })
  })
  await withBackend('lz4', async (backend) => {
    backend.putSync(bytesOf('rewritten'), bytesOf('new'))
    backend.deleteSync(bytesOf('deleted'))
  })
}

let folder: string
let path: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-fixture-'))
  path = join(folder, 'store')
})

afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

function copyStore(from: string, to: string): void {
  mkdirSync(to, { recursive: true })
  for (const name of FILES) cpSync(join(from, name), join(to, name))
}

async function expectEntries(options: Partial<LmdbStateBackendOptions> = {}): Promise<void> {
  const clock = new ManualClock(START_MS)
  const settings = { sweepIntervalMs: Infinity, ...options }
  const backend = await LmdbStateBackend.open({ path, clock, ...settings })
  const entries = fixtureEntries()
  const found = Array.from(backend.scanSync(), ([key, value]) => [hex(key), hex(value)])
  expect(found).toEqual(entries.map(({ key, value }) => [hex(key), hex(value)]))
  for (const { key, value } of entries) expect(hex(backend.getSync(key))).toBe(hex(value))
  expect(await backend.count()).toBe(entries.length)
  expect(await backend.verify()).toMatchObject({ ok: true, entries: 38, expiring: 7, problems: [] })
  const deadlines = new Set(entries.map(({ expiresAtMs }) => expiresAtMs).filter(Number.isFinite))
  expect(deadlines.size).toBe(7)
  for (const deadlineMs of [...deadlines].sort((left, right) => left - right)) {
    const doomed = entries.filter(({ expiresAtMs }) => expiresAtMs === deadlineMs)
    clock.set(deadlineMs - 1)
    for (const { key } of doomed) expect(backend.containsSync(key)).toBe(true)
    clock.set(deadlineMs)
    for (const { key } of doomed) expect(backend.containsSync(key)).toBe(false)
  }
  await backend.close()
}

/** Every pair of every database, by nothing but the package and the page that specifies the format. */
async function everythingIn(directory: string): Promise<{ readonly [database: string]: string[][] }> {
  const binary = { encoding: 'binary', keyEncoding: 'binary' } as const
  const root = open<Buffer, Buffer>({
    path: join(directory, 'data-1.mdb'),
    ...binary,
    noSubdir: true,
    readOnly: true,
    pageSize: 8_192,
  })
  const found: { [database: string]: string[][] } = {}
  for (const name of ['meta', 'entries-0', 'expiry-0', 'entries-1', 'expiry-1']) {
    const pairs = root.openDB<Buffer, Buffer>({ name, ...binary }).getRange({ start: Buffer.of(0) })
    found[name] = Array.from(pairs, ({ key, value }) => [hex(key), hex(value)])
  }
  await root.close()
  return found
}

describe.runIf(process.env['HOLDFAST_WRITE_FIXTURES'] === '1')('writing the fixture', () => {
  it('writes it', async () => {
    await makeStore(path)
    rmSync(fixture, { recursive: true, force: true })
    copyStore(path, fixture)
    expect((await everythingIn(path))['entries-1']).toHaveLength(fixtureEntries().length)
  })
})

describe('a store of format version 1', () => {
  it('opens and reads as it was written', async () => {
    copyStore(fixture, path)
    await expectEntries()
  })

  it('opens for reading only', async () => {
    copyStore(fixture, path)
    await expectEntries({ readOnly: true })
  })

  it('is swept, written to and opened again', async () => {
    copyStore(fixture, path)
    const clock = new ManualClock(START_MS + 3_000)
    const backend = await LmdbStateBackend.open({ path, clock, sweepIntervalMs: Infinity })
    expect(await backend.sweep()).toBe(3)
    backend.putSync(bytesOf('session/5'), bytesOf('refreshed'), { ttlMs: 60_000 })
    await backend.close()
    const again = await LmdbStateBackend.open({ path, clock, sweepIntervalMs: Infinity })
    expect(again.stats().entries).toBe(fixtureEntries().length - 3)
    expect(await again.verify()).toMatchObject({ ok: true, expiring: 4 })
    await again.close()
  })

  it('remembers its time, so that a clock set back revives nothing', async () => {
    copyStore(fixture, path)
    const clock = new ManualClock(0)
    const backend = await LmdbStateBackend.open({ path, clock, sweepIntervalMs: Infinity })
    expect(backend.containsSync(bytesOf('session/0'))).toBe(true)
    clock.advance(1_000)
    expect(backend.containsSync(bytesOf('session/0'))).toBe(false)
    await backend.close()
  })

  it('is still written the same, pair by pair', async () => {
    const copy = join(folder, 'copy')
    copyStore(fixture, copy)
    await makeStore(path)
    const [then, now] = [await everythingIn(copy), await everythingIn(path)]
    expect(now).toEqual(then)
    const state = Buffer.from(then['meta']?.[0]?.[1] ?? '', 'hex')
    expect(decodeStoreState(state)).toEqual({
      format: 1,
      generation: 1,
      clockMs: START_MS,
      flushSequence: 5,
    })
    expect(then['entries-0']).toEqual([])
  })
})

/** The examples of the page: what stands there under the same words. */
const RUN = 'a'.repeat(200)
const EXPIRES_MS = 1_767_323_046_678
const records: [title: string, key: string, value: string, expiresAtMs: number, bytes: string][] = [
  ['nothing', '', '', Infinity, '8def02d2 00'],
  ['a value', 'k', 'v', Infinity, 'da29a502 00 76'],
  ['a value that expires', 'session', 'open', EXPIRES_MS, '3dea6972 01 00603199cab77942 6f70656e'],
  ['a compressed value', 'run', RUN, Infinity, 'a10594b8 02 c8000000 1f610100ae60616161616161'],
  [
    'a compressed value that expires',
    'run',
    RUN,
    EXPIRES_MS,
    '115145e0 03 00603199cab77942 c8000000 1f610100ae60616161616161',
  ],
]
const plain = (spaced: string) => spaced.replaceAll(' ', '')

function encode(
  compression: LmdbCompression,
  key: Uint8Array,
  value: Uint8Array,
  expiresAtMs: number,
): string {
  const writer = new RecordWriter(compression)
  return hex(
    writer.encode({
      bytes: Buffer.concat([key, value]),
      keyStart: 0,
      keyLength: key.length,
      valueStart: key.length,
      valueLength: value.length,
      expiresAtMs,
    }),
  )
}

describe('the bytes of format version 1', () => {
  it.each(records)('are those of the page for a record of %s', (_, key, value, expiresAtMs, bytes) => {
    expect(encode('lz4', bytesOf(key), bytesOf(value), expiresAtMs)).toBe(plain(bytes))
    const record = Buffer.from(plain(bytes), 'hex')
    checkRecord(record, bytesOf(key))
    expect(recordExpiry(record)).toBe(expiresAtMs)
    expect(hex(recordPart(record, bytesOf(key)))).toBe(hex(bytesOf(value)))
  })

  it('may be compressed by another writer in another way', () => {
    const record = Buffer.from(plain('69d2c784 02 c8000000 1f610100af506161616161'), 'hex')
    checkRecord(record, bytesOf('run'))
    expect(hex(recordPart(record, bytesOf('run')))).toBe(hex(bytesOf(RUN)))
  })

  it('are plain for values too short to compress, and for those that compression does not make smaller', () => {
    const short = new Uint8Array(127)
    expect(encode('lz4', bytesOf('k'), short, Infinity)).toBe(encode('none', bytesOf('k'), short, Infinity))
    expect(encode('lz4', bytesOf('k'), noise(300), Infinity)).toBe(
      encode('none', bytesOf('k'), noise(300), Infinity),
    )
  })

  it('are those of the page for keys of entries and of the expiry index', () => {
    const keys = new KeyScratch()
    const session = bytesOf('session')
    expect(hex(keys.entry(session, 0, session.length))).toBe(plain('01 73657373696f6e'))
    expect(hex(keys.entry(session, 0, 0))).toBe('01')
    const indexKey = keys.expiry(EXPIRES_MS, session, 0, session.length)
    expect(hex(indexKey)).toBe(plain('0000019b7ca99316 73657373696f6e'))
  })

  it('are those of the page for the state of the store', () => {
    const state = { format: 1, generation: 3, clockMs: 1_767_323_045_678, flushSequence: 42 } as const
    const json = '{"format":1,"generation":3,"clockMs":1767323045678,"flushSequence":42}'
    const record = Buffer.concat([Buffer.from('9a1f1416', 'hex'), Buffer.from(json)])
    expect(hex(encodeStoreState(state))).toBe(hex(record))
    expect(decodeStoreState(record)).toEqual(state)
  })

  it.each(records)('are damage when any of them changes: a record of %s', (_, key, _value, _at, bytes) => {
    const record = Buffer.from(plain(bytes), 'hex')
    for (let at = 0; at < record.length; at++) {
      const flipped = Buffer.from(record)
      flipped[at] = (flipped[at] as number) ^ 0x10
      expect(() => checkRecord(flipped, bytesOf(key))).toThrow('checksum')
    }
    for (let end = 0; end < record.length; end++) {
      expect(() => checkRecord(record.subarray(0, end), bytesOf(key))).toThrow('is damaged')
    }
    expect(() => checkRecord(record, bytesOf(`${key}!`))).toThrow('checksum')
  })
})
