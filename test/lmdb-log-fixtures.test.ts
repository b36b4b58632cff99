// A store with a log before its tree (docs/format/lmdb-store.md, section 12), as a crash once left it, committed as files: it must open and
// read for ever. And a group's bytes, put together here from that page.
// HOLDFAST_WRITE_FIXTURES=1 writes the store anew: only before a format is released.

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { crc32 } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../src/lmdb/lmdb-state-backend.js'
import { ManualClock } from '../src/testing/manual-clock.js'
import { asAfterCrash, hasLog, logBegun } from './support/logged-stores.js'

const fixture = fileURLToPath(new URL('./fixtures/lmdb-store-v2-log/', import.meta.url))
const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
const FIRST_GROUP_AT = 4_096
const HEADER_BYTES = 48
/** The first version made no others. */
const LOG_FILE_BYTES = 16 * 1024 * 1024
const bytes = (text: string) => Buffer.from(text)
const text = (value: Uint8Array) => Buffer.from(value).toString()
const EXPECTED: readonly (readonly [string, string])[] = [
  ['', 'the empty key'],
  ['both', 'of the log'],
  ['first', 'durable'],
  ['log', 'x'.repeat(300)],
  ['session', 'open'],
  ['tree', 'of the tree'],
]

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-fixture-'))
  path = join(folder, 'store')
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

function contentOf(backend: LmdbStateBackend): [string, string][] {
  return [...backend.scanSync()].map(([key, value]) => [text(key), text(value)])
}

/** Behind the last group of a file. */
function endOfGroups(log: Buffer): number {
  let at = FIRST_GROUP_AT
  while (log.readUInt32LE(at) === 0x676c6668)
    at += Math.ceil((HEADER_BYTES + log.readUInt32LE(at + 8)) / 8) * 8
  return at
}

describe.runIf(process.env['HOLDFAST_WRITE_FIXTURES'] === '1')('writing the fixture', () => {
  it('writes it', async () => {
    const clock = new ManualClock(START_MS)
    const backend = await LmdbStateBackend.open({ path, clock, log: true, flushIntervalMs: Infinity })
    await logBegun(backend, path)
    await backend.clear()
    backend.putSync(bytes('tree'), bytes('of the tree'))
    backend.putSync(bytes('both'), bytes('of the tree'))
    backend.putSync(bytes('removed'), bytes('of the tree'))
    backend.putSync(bytes('first'), bytes('durable'))
    // Which has all of it committed.
    await backend.verify()
    await backend.put(bytes('both'), bytes('of the log'), { durable: true })
    await backend.put(bytes(''), bytes('the empty key'), { durable: true })
    backend.putSync(bytes('session'), bytes('open'), { ttlMs: 1_000 })
    await backend.put(bytes('log'), bytes('x'.repeat(300)), { durable: true })
    await backend.delete(bytes('removed'), { durable: true })
    const crashed = await asAfterCrash(path, join(folder, 'crashed'))
    await backend.close()
    // What lies behind the groups is zeros.
    truncateSync(join(crashed, 'log-1-0'), endOfGroups(readFileSync(join(crashed, 'log-1-0'))))
    truncateSync(join(crashed, 'log-1-1'), FIRST_GROUP_AT)
    rmSync(fixture, { recursive: true, force: true })
    cpSync(crashed, fixture, { recursive: true })
    expect(hasLog(fixture)).toBe(true)
  })
})

/** With the log's files as long as they were made: of the zeros behind the groups, none are committed. */
function copyStore(): void {
  mkdirSync(path, { recursive: true })
  cpSync(fixture, path, { recursive: true })
  for (const place of [0, 1]) truncateSync(join(path, `log-1-${place}`), LOG_FILE_BYTES)
}

describe('a store of format version 2, which has a log', () => {
  it.each([false, true])('opens and reads as it was written (readOnly: %s)', async (readOnly) => {
    copyStore()
    const clock = new ManualClock(START_MS)
    const backend = await LmdbStateBackend.open({ path, clock, readOnly, sweepIntervalMs: Infinity })
    expect(contentOf(backend)).toEqual(EXPECTED)
    expect(await backend.count()).toBe(EXPECTED.length)
    clock.advance(1_000)
    expect(contentOf(backend)).toEqual(EXPECTED.filter(([key]) => key !== 'session'))
    await backend.close()
    expect(hasLog(path)).toBe(readOnly)
  })

  it('verifies, and not with a byte changed in its midst', async () => {
    copyStore()
    expect(await LmdbStateBackend.verify(path)).toMatchObject({ ok: true })
    const log = readFileSync(join(path, 'log-1-0'))
    log[FIRST_GROUP_AT + HEADER_BYTES] = 0xff
    writeFileSync(join(path, 'log-1-0'), log)
    expect(await LmdbStateBackend.verify(path)).toMatchObject({ ok: false, problems: [{ what: 'log' }] })
    await expect(LmdbStateBackend.open({ path })).rejects.toMatchObject({ code: 'CORRUPTION' })
  })

  it('may be gone on with by whoever knows the format', async () => {
    copyStore()
    const log = readFileSync(join(path, 'log-1-0'))
    let sequence = 0
    const end = endOfGroups(log)
    for (let at = FIRST_GROUP_AT; at < end; ) {
      sequence = Number(log.readBigUInt64LE(at + 16))
      at += Math.ceil((HEADER_BYTES + log.readUInt32LE(at + 8)) / 8) * 8
    }
    const body = Buffer.alloc(8 + 1 + 2)
    body.writeUInt16LE(1, 0)
    body.writeUInt32LE(2, 4)
    body.write('zhi', 8)
    const group = Buffer.alloc(Math.ceil((HEADER_BYTES + body.length) / 8) * 8)
    group.writeUInt32LE(0x676c6668, 0)
    group.writeUInt32LE(body.length, 8)
    group.writeBigUInt64LE(BigInt(sequence + 1), 16)
    group.writeDoubleLE(START_MS + 5, 24)
    group.writeUInt32LE(1, 40)
    body.copy(group, HEADER_BYTES)
    const salt = log.readUInt32LE(32)
    group.writeUInt32LE(crc32(group.subarray(8, HEADER_BYTES + body.length), salt), 4)
    group.copy(log, end)
    writeFileSync(join(path, 'log-1-0'), log)
    const backend = await LmdbStateBackend.open({
      path,
      clock: new ManualClock(0),
      sweepIntervalMs: Infinity,
    })
    expect(contentOf(backend)).toEqual([...EXPECTED, ['z', 'hi']])
    await backend.close()
  })
})
