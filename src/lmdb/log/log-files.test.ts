// The files of a log: what was written is read, and what a crash or damage has left of it is never something else.

import fs, {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { letFileTimePass } from '../../../test/support/file-time.js'
import { modelRuns, runs } from '../../../test/support/long.js'
import { systemClock } from '../../base/clock.js'
import { nextTurn } from '../../base/slices.js'
import { HashLog } from '../../log/hash-log.js'
import { randomHashKey } from '../../log/index/key-hash.js'
import { latestAddresses } from '../../log/order/latest-versions.js'
import { SegmentTable } from '../../log/segment-table.js'
import { lockFileOf } from '../store/data-file.js'
import { tellsChanges } from '../store/directory-watch.js'
import { StoreDirectory } from '../store/store-directory.js'
import { encodeEnd, encodeGroup, FIRST_GROUP_AT, type GroupPart, groupBytes } from './log-format.js'
import type { LogIdentity } from './log-identity.js'
import { type LogEnd, LogReader } from './log-reader.js'
import { LogWriter } from './log-writer.js'

interface Entry {
  readonly key: string
  /** Undefined: removed. */
  readonly value: string | undefined
  readonly expiresAtMs: number
}

const FILE_BYTES = 16 * 1024 * 1024

let folder: string
let directory: StoreDirectory
let log: LogIdentity
let writer: LogWriter
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  directory = await StoreDirectory.open(join(folder, 'store'), {
    readOnly: false,
    waitForOwnerMs: 0,
    takeOver: false,
    commitTimeoutMs: 30_000,
  })
  log = { id: directory.leaseMark.nonce, token: directory.leaseMark.token }
  const { path, dataPath, leaseMark: lease } = directory
  writer = new LogWriter({ directory: path, log, fileBytes: FILE_BYTES, lease, dataPath })
})
afterEach(async () => {
  vi.restoreAllMocks()
  writer.close()
  await directory.release()
  await rm(folder, { recursive: true })
})

function partOf(entries: readonly Entry[]): GroupPart {
  const held = new HashLog({
    maxBytes: Infinity,
    hashKey: randomHashKey(),
    now: () => 0,
    besideBytes: () => 0,
    covers: true,
    onExpired: () => {},
  })
  for (const { key, value, expiresAtMs } of entries) {
    const address = held.seek(Buffer.from(key), 0, Buffer.byteLength(key))
    if (value === undefined) held.remove(address)
    else held.write(address, Buffer.from(value), 0, Buffer.byteLength(value), expiresAtMs)
  }
  return { entries: held.entries, addresses: latestAddresses(SegmentTable.attach(held.share())) }
}

function append(
  sequence: number,
  entries: readonly Entry[],
  { cleared = false, dataPath = directory.dataPath } = {},
): void {
  const parts = [partOf(entries)]
  const group = Buffer.alloc(groupBytes(parts))
  encodeGroup(group, sequence, { parts, cleared, clockMs: sequence * 10, commits: 3 })
  writer.append({ group, dataPath })
}

function change(number: number, firstSequence: number): void {
  writer.change({ end: encodeEnd(firstSequence), number, firstSequence, dataPath: directory.dataPath })
}

const one = (sequence: number): Entry[] => [
  { key: `k${sequence}`, value: `v${sequence}`, expiresAtMs: Infinity },
]
/** The last change of any directory is an hour ago. */
function settle(): void {
  letFileTimePass(directory.path)
  const nowMs = Date.now() + 3_600_000
  vi.spyOn(systemClock, 'now').mockImplementation(() => nowMs)
}

const fileOf = (place: number, at = directory.path) => join(at, `log-${log.token}-${place}`)

interface Read extends LogEnd {
  readonly groups: { readonly sequence: number; readonly cleared: boolean; readonly entries: Entry[] }[]
}

function read(after: number | undefined, strictly = true, at = directory.path): Read {
  const reader = new LogReader(at, log)
  try {
    return readWith(reader, after, strictly)
  } finally {
    reader.close()
  }
}

function readWith(reader: LogReader, after: number | undefined, strictly: boolean): Read {
  const groups: Read['groups'] = []
  const end = reader.read(after, strictly, (group, what) => {
    expect(group).toMatchObject({ clockMs: group.sequence * 10, commits: 3, ends: false })
    const entries: Entry[] = []
    const part = (start: number, length: number) => group.bytes.toString('utf8', start, start + length)
    while (group.next(what)) {
      const value = group.tombstone ? undefined : part(group.valueStart, group.valueLength)
      entries.push({ key: part(group.keyStart, group.keyLength), value, expiresAtMs: group.expiresAtMs })
    }
    groups.push({ sequence: group.sequence, cleared: group.cleared, entries })
    return true
  })
  return { ...end, groups }
}

/** Of a file: where its groups begin, and behind the last one. */
function placesIn(path: string): number[] {
  const bytes = readFileSync(path)
  const places = [FIRST_GROUP_AT]
  for (let at = FIRST_GROUP_AT; bytes.readUInt32LE(at) !== 0; at = places.at(-1) as number) {
    places.push(at + Math.ceil((48 + bytes.readUInt32LE(at + 8)) / 8) * 8)
  }
  return places
}

function overwrite(path: string, position: number, bytes: Buffer): void {
  const descriptor = openSync(path, 'r+')
  writeSync(descriptor, bytes, 0, bytes.length, position)
  closeSync(descriptor)
}

const entryArbitrary = fc.record({
  key: fc.string({ maxLength: 40 }),
  value: fc.option(fc.string({ maxLength: 200 }), { nil: undefined }),
  expires: fc.option(fc.integer({ min: 1, max: 2 ** 50 }), { nil: Infinity }),
})

describe('the files of a log', () => {
  it('give back whatever was written, above any group', () => {
    let sequence = 0
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.uniqueArray(entryArbitrary, { selector: ({ key }) => key, maxLength: 20 }),
            fc.boolean(),
          ),
          { minLength: 1, maxLength: 5 },
        ),
        (groups) => {
          const before = sequence
          for (const [entries, cleared] of groups) {
            append(
              ++sequence,
              entries.map(({ key, value, expires }) => ({ key, value, expiresAtMs: expires })),
              { cleared },
            )
          }
          const found = read(before)
          expect(found).toMatchObject({ sequence, gap: undefined })
          const byKey = (a: Entry, b: Entry) => (a.key < b.key ? -1 : 1)
          expect(found.groups.map((group) => ({ ...group, entries: group.entries.toSorted(byKey) }))).toEqual(
            groups.map(([entries, cleared], i) => ({
              sequence: before + i + 1,
              cleared,
              entries: entries
                .map(({ key, value, expires }) => ({
                  key,
                  value,
                  expiresAtMs: value === undefined ? Infinity : expires,
                }))
                .toSorted(byKey),
            })),
          )
        },
      ),
      { numRuns: modelRuns(200, 12) },
    )
  })

  it('give all but the last group where a crash has cut that off anywhere', () => {
    for (let sequence = 1; sequence <= 3; sequence++) append(sequence, one(sequence))
    const [, , third, end] = placesIn(fileOf(0)) as [number, number, number, number]
    const whole = readFileSync(fileOf(0))
    for (let cut = third; cut < end; cut += runs(1, 41)) {
      // What the disk has not taken is zeros, or a block of it came before those in front of it.
      for (const [from, until] of [
        [cut, end],
        [third, cut],
      ] as const) {
        overwrite(fileOf(0), third, whole.subarray(third, end))
        overwrite(fileOf(0), from, Buffer.alloc(until - from))
        const { sequence, gap } = read(0)
        expect(gap).toBeUndefined()
        // What fills a group up is zeros, too.
        expect(sequence).toBe(readFileSync(fileOf(0)).equals(whole) ? 3 : 2)
      }
    }
  })

  it('tell of any bit that has changed in a group which others follow, and never give another content', () => {
    for (let sequence = 1; sequence <= 4; sequence++) append(sequence, one(sequence))
    const places = placesIn(fileOf(0))
    const whole = readFileSync(fileOf(0))
    const last = places.at(-2) as number
    const end = places.at(-1) as number
    const expected = read(0).groups
    for (let position = FIRST_GROUP_AT; position < end; position += runs(1, 71)) {
      const bit = 1 << (position % 8)
      overwrite(fileOf(0), position, Buffer.of((whole[position] as number) ^ bit))
      const { groups, gap } = read(0)
      expect(groups).toEqual(expected.slice(0, groups.length))
      if (groups.length < 4 && position < last) expect(gap, `${position}`).toBeDefined()
      overwrite(fileOf(0), position, Buffer.of(whole[position] as number))
    }
    expect(read(0).groups).toEqual(expected)
  })

  it('tell of a hole, and of a log that begins after what is asked for or ends before', () => {
    for (let sequence = 1; sequence <= 4; sequence++) append(sequence, one(sequence))
    expect(read(6).gap).toBe('it ends with group 4, before 6')
    expect(read(4)).toMatchObject({ sequence: 4, gap: undefined, groups: [] })
    const [, second, third] = placesIn(fileOf(0)) as [number, number, number]
    overwrite(fileOf(0), second, Buffer.alloc(third - second))
    expect(read(0).gap).toBe('group 2 is damaged')
  })

  it('are read in time where a group that is torn holds what looks like a great many groups', () => {
    const value = Buffer.alloc(3_000_000)
    for (let at = 0; at < value.length; at += 16) {
      // Magic, checksum, length and flags.
      for (const [i, field] of [0x67_6c_66_68, 1, 1_000_000, 1].entries())
        value.writeUInt32LE(field, at + 4 * i)
    }
    append(1, one(1))
    append(2, [{ key: 'aligned8', value: value.toString('latin1'), expiresAtMs: Infinity }])
    const [, second] = placesIn(fileOf(0)) as number[]
    overwrite(fileOf(0), (second as number) + 4, Buffer.alloc(4))
    expect(read(0)).toMatchObject({ sequence: 1, gap: undefined })
  })

  it('may end one group before the one that the tree holds, wherever that one was to be written', () => {
    const asHeld = (sequence: number) => ({ sequence, gap: undefined, groups: [] })
    for (const strictly of [true, false]) expect(read(1, strictly)).toMatchObject(asHeld(1))
    for (let sequence = 1; sequence <= 4; sequence++) append(sequence, one(sequence))
    for (const strictly of [true, false]) expect(read(5, strictly)).toMatchObject(asHeld(5))
    change(2, 5)
    for (const strictly of [true, false]) expect(read(5, strictly)).toMatchObject(asHeld(5))
    const [, , , , end] = placesIn(fileOf(0)) as number[]
    overwrite(fileOf(0), end as number, Buffer.alloc(48))
    for (const strictly of [true, false]) expect(read(5, strictly)).toMatchObject(asHeld(5))
    append(5, one(5))
    append(6, one(6))
    overwrite(fileOf(1), FIRST_GROUP_AT, Buffer.alloc(48))
    expect(read(5).gap).toBe('group 5 is damaged')
  })

  it('are written to no more after a write has failed', () => {
    append(1, one(1))
    renameSync(fileOf(1), `${fileOf(1)}-elsewhere`)
    const goOn = () => change(2, 2)
    expect(goOn).toThrow(expect.objectContaining({ code: 'STORAGE_ERROR' }))
    renameSync(`${fileOf(1)}-elsewhere`, fileOf(1))
    expect(() => append(2, one(2))).toThrow(expect.objectContaining({ code: 'STORAGE_ERROR' }))
    expect(goOn).toThrow(expect.objectContaining({ code: 'STORAGE_ERROR' }))
    expect(read(0)).toMatchObject({ sequence: 1, gap: undefined })
  })

  it('are not written to where the lease is gone', () => {
    append(1, one(1))
    const lease = join(directory.path, '.lease-0000000001')
    renameSync(lease, `${lease}-elsewhere`)
    const before = readFileSync(fileOf(0))
    expect(() => append(2, one(2))).toThrow(expect.objectContaining({ code: 'FENCED' }))
    expect(readFileSync(fileOf(0)).equals(before)).toBe(true)
    renameSync(`${lease}-elsewhere`, lease)
  })

  it('are not written to where the lease goes before it is looked at, whenever a group is announced', () => {
    append(1, one(1))
    const lease = join(directory.path, '.lease-0000000001')
    const before = readFileSync(fileOf(0))
    const take = () => renameSync(lease, `${lease}-elsewhere`)
    writer.getReady()
    writer.endReadiness()
    take()
    writer.getReady()
    expect(() => append(2, one(2))).toThrow(expect.objectContaining({ code: 'FENCED' }))
    expect(readFileSync(fileOf(0)).equals(before)).toBe(true)
    renameSync(`${lease}-elsewhere`, lease)
  })

  it.each<[string, () => void]>([
    ['after it was looked at ahead of the group', () => writer.getReady()],
    [
      'after the file has changed, though it was looked at before',
      () => {
        writer.getReady()
        change(2, 2)
      },
    ],
  ])('hold nothing that is acknowledged where the lease goes %s', (_when, prepare) => {
    append(1, one(1))
    prepare()
    const lease = join(directory.path, '.lease-0000000001')
    renameSync(lease, `${lease}-elsewhere`)
    expect(() => append(2, one(2))).toThrow(expect.objectContaining({ code: 'FENCED' }))
    renameSync(`${lease}-elsewhere`, lease)
  })

  describe.each<[string, () => unknown]>([
    ['at once', () => undefined],
    // From then on the directory alone is looked at, beside the lease, where that is enough.
    ['when the directory has long been as it is', settle],
  ])('%s', (_when, happen) => {
    it.each<[string, () => string]>([
      ['the data file', () => directory.dataPath],
      ['the directory', () => directory.path],
      ['a file of the log', () => fileOf(1)],
    ])('hold nothing that is acknowledged where %s is gone', (_name, pathOf) => {
      happen()
      append(1, one(1))
      append(2, one(2))
      const path = pathOf()
      renameSync(path, `${path}-elsewhere`)
      expect(() => append(3, one(3))).toThrow(expect.objectContaining({ code: 'STORAGE_ERROR' }))
      renameSync(`${path}-elsewhere`, path)
    })

    it('hold nothing that is acknowledged where another file takes the place of the one that is written', () => {
      happen()
      append(1, one(1))
      append(2, one(2))
      copyFileSync(fileOf(0), join(folder, 'copy'))
      renameSync(join(folder, 'copy'), fileOf(0))
      expect(() => append(3, one(3))).toThrow(expect.objectContaining({ code: 'STORAGE_ERROR' }))
    })

    it('nor where the store is compacted into another data file before that is seen', () => {
      happen()
      append(1, one(1))
      copyFileSync(fileOf(0), join(folder, 'copy'))
      renameSync(join(folder, 'copy'), fileOf(0))
      const compacted = join(directory.path, 'data-2.mdb')
      for (const path of [compacted, lockFileOf(compacted)]) writeFileSync(path, '')
      expect(() => append(2, one(2), { dataPath: compacted })).toThrow(
        expect.objectContaining({ code: 'STORAGE_ERROR' }),
      )
    })
  })

  it.skipIf(!tellsChanges(tmpdir()))(
    'are not looked at between two writes while no name changes: the next one would have a time to record',
    () => {
      settle()
      append(1, one(1))
      const looks = vi.spyOn(fs, 'lstatSync')
      syncBuiltinESMExports()
      try {
        for (let sequence = 2; sequence < 12; sequence++) append(sequence, one(sequence))
        const lease = join(directory.path, '.lease-0000000001')
        expect(new Set(looks.mock.calls.map(([path]) => path))).toEqual(new Set([lease]))
      } finally {
        looks.mockRestore()
        syncBuiltinESMExports()
      }
    },
  )

  it('are gone before another log may begin, which may have the same names', async () => {
    await directory.beginLog(log)
    const end = { isOver: false }
    const ended = directory.endLog().finally(() => {
      end.isOver = true
    })
    while (!end.isOver && !directory.isWithoutLog) await nextTurn()
    expect(directory.isWithoutLog).toBe(true)
    expect([fileOf(0), fileOf(1)].filter((path) => existsSync(path))).toEqual([])
    await ended
  })

  it('go on in the other file, again and again, and an earlier use of a file is nothing', () => {
    const reader = new LogReader(directory.path, log)
    let sequence = 0
    for (let number = 2; number < 7; number++) {
      for (let i = 0; i < 70; i++) append(++sequence, one(sequence))
      change(number, sequence + 1)
      expect(read(sequence)).toMatchObject({ sequence, gap: undefined, groups: [] })
      append(++sequence, one(sequence))
      const above = sequence - 40
      for (const found of [read(above), readWith(reader, above, false)]) {
        expect(found).toMatchObject({ sequence, gap: undefined })
        expect(found.groups.map((group) => group.sequence)).toEqual(
          Array.from({ length: 40 }, (_, i) => above + i + 1),
        )
      }
      expect(readWith(reader, sequence, false).groups).toEqual([])
    }
    expect(read(0).gap).toMatch(/^it begins with group/)
    reader.close()
  })

  it('tell where the file that goes on is missing, or the end of the one before it', () => {
    for (let sequence = 1; sequence <= 2; sequence++) append(sequence, one(sequence))
    change(2, 3)
    // A crash may have come between the header of the new file and the end of the old one.
    const [, , end] = placesIn(fileOf(0)) as [number, number, number]
    const copy = join(folder, 'copy')
    cpSync(directory.path, copy, { recursive: true })
    overwrite(fileOf(0, copy), end, Buffer.alloc(48))
    expect(read(0, true, copy)).toMatchObject({ sequence: 2, gap: undefined })
    append(3, one(3))
    cpSync(directory.path, copy, { recursive: true })
    overwrite(fileOf(0, copy), end, Buffer.alloc(48))
    expect(read(0, true, copy).gap).toBe('group 3 is missing or damaged')
    overwrite(fileOf(1), 0, Buffer.alloc(8))
    expect(read(0).gap).toBe('the file that goes on from group 2 is missing')
  })

  it('are nothing where they are of another log, and refused where a newer version has written them', () => {
    append(1, one(1))
    const reader = new LogReader(directory.path, { ...log, id: 'another' })
    expect(reader.read(0, true, () => true).gap).toBe('no file of it is whole')
    reader.close()
    overwrite(fileOf(0), 8, Buffer.of(2))
    expect(() => read(0)).toThrow(expect.objectContaining({ code: 'INCOMPATIBLE' }))
  })

  it('have their length from the beginning, and may be read beside the one who writes', () => {
    expect(readFileSync(fileOf(0)).length).toBe(FILE_BYTES)
    const reader = new LogReader(directory.path, log)
    for (let sequence = 1; sequence <= 200; sequence++) {
      append(sequence, one(sequence))
      expect(readWith(reader, sequence - 1, false).groups).toEqual([
        { sequence, cleared: false, entries: one(sequence) },
      ])
      if (sequence % 50 === 0) expect(readWith(reader, 3, false).groups).toHaveLength(sequence - 3)
    }
    reader.close()
  })

  it('tell where one of them, or both, has been cut off anywhere, also behind the last group, or is missing', () => {
    append(1, one(1))
    append(2, one(2))
    const [, second, end] = placesIn(fileOf(0)) as [number, number, number]
    for (const place of [0, 1]) {
      const whole = readFileSync(fileOf(place))
      for (const cut of [0, 50, FIRST_GROUP_AT, second, second + 60, end, FILE_BYTES - 1, FILE_BYTES + 1]) {
        truncateSync(fileOf(place), cut)
        const lengths = place === 0 ? [cut, FILE_BYTES] : [FILE_BYTES, cut]
        const gap = `its files have ${lengths.join(' and ')} bytes, which is not how they were made`
        for (const strictly of [true, false])
          expect(read(0, strictly)).toEqual({ sequence: 0, gap, groups: [] })
        writeFileSync(fileOf(place), whole)
      }
      renameSync(fileOf(place), `${fileOf(place)}-elsewhere`)
      for (const strictly of [true, false]) {
        expect(read(0, strictly).gap).toBe(`log-${log.token}-${place} is missing`)
      }
      renameSync(`${fileOf(place)}-elsewhere`, fileOf(place))
    }
    expect(read(0)).toMatchObject({ sequence: 2, gap: undefined })
    for (const place of [0, 1]) truncateSync(fileOf(place), end)
    for (const strictly of [true, false]) expect(read(0, strictly).gap).toMatch(/not how they were made$/)
  })
})
