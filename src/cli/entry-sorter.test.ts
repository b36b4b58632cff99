import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { seededRandom } from '../base/random.js'
import { EntryBlockCursor } from '../index.js'
import type { StoredEntry } from '../view/entries.js'
import { EntrySorter, type SorterSizes } from './entry-sorter.js'

const never = new AbortController().signal

/** Adds entries and takes them out again, as texts. */
async function sorted(entries: readonly StoredEntry[], sizes?: SorterSizes): Promise<string[]> {
  const sorter = new EntrySorter(sizes)
  try {
    for (const entry of entries) sorter.add(entry)
    const found: string[] = []
    for await (const { bytes } of sorter.blocks(never)) {
      const cursor = new EntryBlockCursor(bytes)
      while (cursor.next()) found.push(textOf({ ...entryAt(cursor) }))
    }
    return found
  } finally {
    sorter.close()
  }
}

const entryAt = (cursor: EntryBlockCursor): StoredEntry => ({
  key: cursor.key(),
  value: cursor.value(),
  expiresAtMs: cursor.expiresAtMs,
})

const textOf = ({ key, value, expiresAtMs }: StoredEntry) =>
  `${Buffer.from(key).toString('hex')}=${Buffer.from(value).toString('hex')}@${expiresAtMs}`

/** What is to come out: of each key the entry that came last, in key order. */
function expected(entries: readonly StoredEntry[]): string[] {
  const byKey = new Map(entries.map((entry) => [Buffer.from(entry.key).toString('hex'), entry]))
  return [...byKey.values()].sort((left, right) => Buffer.compare(left.key, right.key)).map(textOf)
}

describe('entries in any order', () => {
  it('come out by key, of each key the last one, however many runs there are', async () => {
    for (const seed of [1, 2]) {
      const random = seededRandom(seed)
      const below = (n: number) => Math.floor(random() * n)
      const bytes = (n: number) => Uint8Array.from({ length: n }, () => below(4) * 85)
      const entries = Array.from({ length: 1_000 }, (_, i) => ({
        // Few enough to come again, in the same run and in others; the empty key, and keys that others begin with, are among them.
        key: bytes(below(6)),
        value: new Uint8Array([...bytes(below(30)), i & 255, i >> 8]),
        expiresAtMs: below(3) === 0 ? 1_800_000_000_000 + i : Infinity,
      }))
      for (const runBytes of [1, 100, 5_000, 1_000_000]) {
        const pieceBytes = Math.min(runBytes, 256)
        expect(await sorted(entries, { runBytes, pieceBytes }), `seed ${seed}`).toEqual(expected(entries))
      }
    }
  })

  it('may be larger than a run, and as large as keys and values can be', async () => {
    const entries = [
      { key: new Uint8Array(2_048).fill(7), value: new Uint8Array(300_000).fill(1), expiresAtMs: 5 },
      { key: Uint8Array.of(1), value: new Uint8Array(200_000).fill(2), expiresAtMs: Infinity },
      { key: Uint8Array.of(3), value: new Uint8Array(0), expiresAtMs: Infinity },
      { key: new Uint8Array(2_048).fill(7), value: new Uint8Array(100_000).fill(3), expiresAtMs: Infinity },
    ]
    expect(await sorted(entries, { runBytes: 100_000, pieceBytes: 1_000 })).toEqual(expected(entries))
    expect(await sorted(entries)).toEqual(expected(entries))
    expect(await sorted([])).toEqual([])
  })

  it('lie in a file without a name, which is gone once it is closed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-sorted-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    // Others sort meanwhile.
    vi.stubEnv('TMPDIR', folder)
    onTestFinished(() => void vi.unstubAllEnvs())
    const sorter = new EntrySorter({ runBytes: 100, pieceBytes: 100 })
    for (let i = 0; i < 50; i++) sorter.add({ key: Uint8Array.of(i), value: NO_BYTES, expiresAtMs: Infinity })
    const open = () =>
      readdirSync('/proc/self/fd').filter((fd) => {
        const file = `/proc/self/fd/${fd}`
        return existsSync(file) && readlinkSync(file).includes('holdfast-sort-')
      })
    const isLinux = existsSync('/proc/self/fd')
    expect([readdirSync(folder), isLinux ? open().length : 1]).toEqual([[], 1])
    sorter.close()
    sorter.close()
    expect(isLinux ? open() : []).toEqual([])
  })

  it('end where somebody interrupts', async () => {
    const sorter = new EntrySorter()
    sorter.add({ key: NO_BYTES, value: NO_BYTES, expiresAtMs: Infinity })
    await expect(sorter.blocks(AbortSignal.abort()).next()).rejects.toThrow('aborted')
    sorter.close()
  })
})

const NO_BYTES = new Uint8Array(0)
