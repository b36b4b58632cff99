import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../lmdb-state-backend.js'
import { STORE_PAGE_BYTES } from './data-file.js'
import { misplacedPages } from './page-places.js'
import { StoreDirectory } from './store-directory.js'

const bytes = (text: string) => Buffer.from(text)
const pageOf = (file: Buffer, page: number) =>
  file.subarray(page * STORE_PAGE_BYTES, (page + 1) * STORE_PAGE_BYTES)

/** Calls back for each of the pages while a change of it is in the file. */
async function withEach(
  path: string,
  pages: readonly number[],
  change: (page: Buffer, number: number) => void,
  look: (page: number) => void,
): Promise<void> {
  const whole = await readFile(path)
  const file = await open(path, 'r+')
  for (const number of pages) {
    const page = pageOf(whole, number)
    const changed = Buffer.from(page)
    change(changed, number)
    await file.write(changed, 0, STORE_PAGE_BYTES, number * STORE_PAGE_BYTES)
    look(number)
    await file.write(page, 0, STORE_PAGE_BYTES, number * STORE_PAGE_BYTES)
  }
  await file.close()
}

describe('a page that lies where another one belongs', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-pages-'))
  })
  afterAll(async () => {
    await rm(folder, { recursive: true })
  })

  async function write(path: string, put: (backend: LmdbStateBackend) => void): Promise<string> {
    const backend = await LmdbStateBackend.open({ path })
    put(backend)
    await backend.close()
    return await StoreDirectory.dataPathIn(path)
  }

  it('is found when a store is verified, though all that is read is in order: it has an older value', async () => {
    const path = join(folder, 'older')
    await write(path, (backend) => backend.putSync(bytes('key'), bytes('older value')))
    const dataPath = await write(path, (backend) => backend.putSync(bytes('key'), bytes('newer value')))
    const whole = await readFile(dataPath)
    const placeOf = (text: string) => Math.floor(whole.indexOf(text) / STORE_PAGE_BYTES)
    const [older, newer] = [placeOf('older value'), placeOf('newer value')]
    expect(await LmdbStateBackend.verify(path)).toMatchObject({ ok: true, entries: 1, problems: [] })
    const file = await open(dataPath, 'r+')
    await file.write(pageOf(whole, older), 0, STORE_PAGE_BYTES, newer * STORE_PAGE_BYTES)
    await file.close()
    expect(await LmdbStateBackend.verify(path)).toMatchObject({
      ok: false,
      problems: [{ what: `page ${newer}`, reason: `holds page ${older}, which does not belong there` }],
    })
  })

  it('is found wherever the trees name it: branches, leaves, the first of a large value, free pages and the meta pages', async () => {
    const path = join(folder, 'large')
    const puts = (seed: number) => (backend: LmdbStateBackend) => {
      for (let i = seed; i < 1_000; i += 1 + seed)
        backend.putSync(bytes(`key ${i}`.padEnd(200)), Buffer.alloc(100, seed), { ttlMs: 1_000_000 })
      for (let i = 0; i < 5; i++) backend.putSync(bytes(`large ${i}`), Buffer.alloc(30_000, seed))
    }
    for (const seed of [0, 1, 2]) await write(path, puts(seed))
    const dataPath = await StoreDirectory.dataPathIn(path)
    const whole = await readFile(dataPath)
    let named = 0
    expect(misplacedPages(dataPath, () => named++)).toEqual([])
    expect(named).toBeGreaterThan(50)
    let found = 0
    const pages = Array.from({ length: whole.length / STORE_PAGE_BYTES }, (_, page) => page)
    const rename = (page: Buffer, number: number) => page.writeBigUInt64LE(BigInt(number + 1))
    await withEach(dataPath, pages, rename, (page) => {
      const misplaced = misplacedPages(dataPath, () => {})
      if (misplaced.length === 0) return
      found++
      expect(misplaced).toEqual([{ page, reason: `holds page ${page + 1}, which does not belong there` }])
    })
    expect(found).toBe(named + 2)
  })

  it.each([
    ['of another kind', (page: Buffer) => page.writeUInt16LE(0x08, 18), /is of another kind/],
    [
      'with a number beyond the last page',
      (page: Buffer) => page.writeUInt16LE(0xffff, 24 + page.readUInt16LE(24)),
      /is named, and the last page is/,
    ],
    [
      'with a node beyond its end',
      (page: Buffer) => page.writeUInt16LE(0xffff, 24),
      /names what is not within it/,
    ],
  ])('is told of where it is one %s', async (_, damage, reason) => {
    const path = join(folder, 'large')
    const dataPath = await StoreDirectory.dataPathIn(path)
    const whole = await readFile(dataPath)
    const reasons: string[] = []
    const branches = Array.from({ length: whole.length / STORE_PAGE_BYTES }, (_page, page) => page).filter(
      (page) => page > 1 && pageOf(whole, page).readUInt16LE(18) === 0x01,
    )
    await withEach(dataPath, branches, damage, () => {
      reasons.push(...misplacedPages(dataPath, () => {}).map((misplaced) => misplaced.reason))
    })
    expect(reasons).toContainEqual(expect.stringMatching(reason))
  })
})
