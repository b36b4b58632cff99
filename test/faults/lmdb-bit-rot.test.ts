import { spawn } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isStateError } from '../../src/base/errors.js'
import { seededRandom } from '../../src/base/random.js'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../src/testing/manual-clock.js'
import { runs } from '../support/long.js'
import { batchAt, contentAfter } from './children/lmdb-plan.js'
import { type CompiledSources, compileSources } from './compile-sources.js'

const STEPS = 400
const FLIPS = runs(400, 20)
/** A page that names itself as its own child would be walked for ever. */
const LONGEST_READING_MS = 20_000
const DATA_FILE = 'data-1.mdb'

let sources: CompiledSources
let folder: string
let pristine: string

beforeAll(async () => {
  sources = await compileSources()
  folder = await mkdtemp(join(tmpdir(), 'holdfast-rot-'))
  pristine = join(folder, 'pristine')
  const backend = await LmdbStateBackend.open({ path: pristine })
  for (let step = 1; step <= STEPS; step++) backend.writeSync(batchAt(step))
  await backend.close()
})

afterAll(async () => {
  await rm(folder, { recursive: true })
})

async function damagedCopy(name: string, damage: (data: Buffer) => void): Promise<string> {
  const path = join(folder, name)
  await cp(pristine, path, { recursive: true })
  const file = join(path, DATA_FILE)
  const data = await readFile(file)
  damage(data)
  await writeFile(file, data)
  return path
}

function flip(data: Buffer, at: number, bit: number): void {
  data[at] = (data[at] as number) ^ (1 << bit)
}

/** What reading each store came to, in processes that damage may end: words of the child, or how it ended. */
async function readAll(paths: readonly string[]): Promise<Map<string, string>> {
  const outcomes = new Map<string, string>()
  let left = paths
  while (left.length > 0) {
    const script = sources.pathOf('test/faults/children/lmdb-read-all.ts')
    const child = spawn(process.execPath, [script, `${STEPS}`, ...left], {
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: LONGEST_READING_MS,
      killSignal: 'SIGKILL',
    })
    const ended = new Promise<string>((resolve) => {
      child.once('close', (code, signal) => resolve(`ended by ${signal ?? code}`))
    })
    for await (const line of createInterface({ input: child.stdout })) {
      const [kind, path, outcome] = line.split(' ') as [string, string, string]
      if (kind === 'read') outcomes.set(path, outcome)
    }
    const end = await ended
    const next = left.findIndex((path) => !outcomes.has(path))
    if (next === -1) break
    outcomes.set(left[next] as string, end)
    left = left.slice(next + 1)
  }
  return outcomes
}

describe('bit rot', () => {
  it('is what the reader of an undamaged store does not see', async () => {
    expect([...(await readAll([pristine])).values()]).toEqual(['right'])
  })

  it('in any bit of a value, its key or its checksum is CORRUPTION with the key, or the entry is not found', async () => {
    const key = 'left-3'
    const value = contentAfter(STEPS).get(key) as string
    const data = await readFile(join(pristine, DATA_FILE))
    // key, checksum, flags and value, as they lie in the leaf; older versions may lie in pages that are free.
    const pattern = Buffer.from(key)
    const spots: number[] = []
    for (let at = data.indexOf(pattern); at >= 0; at = data.indexOf(pattern, at + 1)) {
      const valueAt = data.indexOf(value, at)
      if (valueAt >= 0 && valueAt - at < 24) spots.push(at)
    }
    expect(spots.length).toBeGreaterThan(0)
    const from = pattern.length
    let corrupt = 0
    for (let offset = from; offset < from + 5 + value.length; offset++) {
      const path = await damagedCopy(`record-${offset}`, (bytes) => {
        for (const spot of spots) flip(bytes, spot + offset, offset % 8)
      })
      const backend = await LmdbStateBackend.open({ path, readOnly: true })
      try {
        backend.getSync(Buffer.from(key))
        expect.unreachable(`byte ${offset} was changed and nobody noticed`)
      } catch (error) {
        if (!isStateError(error, 'CORRUPTION')) throw error
        expect(Buffer.from(error.details.key ?? []).toString()).toBe(key)
        corrupt++
      }
      expect(Buffer.from(backend.getSync(Buffer.from('left-4')) ?? []).toString()).toBe(
        contentAfter(STEPS).get('left-4'),
      )
      await backend.close()
      await rm(path, { recursive: true })
    }
    expect(corrupt).toBe(5 + value.length)
  })

  it('in the expiry index removes nothing before its time', async () => {
    const clock = new ManualClock()
    const options = { path: join(folder, 'expiring'), clock }
    const before = await LmdbStateBackend.open(options)
    const keys = Array.from({ length: 20 }, (_, i) => Buffer.from(`expires ${i}`))
    for (const key of keys) before.putSync(key, key, { ttlMs: 1_000_000 })
    await before.close()
    const data = await readFile(join(options.path, DATA_FILE))
    const time = Buffer.alloc(8)
    time.writeBigUInt64BE(BigInt(clock.now() + 1_000_000))
    let damaged = 0
    for (let at = data.indexOf(time); at >= 0; at = data.indexOf(time, at + 1), damaged++) data[at + 2] = 0
    expect(damaged).toBe(keys.length)
    await writeFile(join(options.path, DATA_FILE), data)

    const after = await LmdbStateBackend.open(options)
    expect(await after.sweep()).toBe(0)
    for (const key of keys) expect(after.getSync(key)).toEqual(new Uint8Array(key))
    expect(await after.verify()).toMatchObject({ ok: false })
    await after.close()
  })

  it('in the name of a database, or of the state, is CORRUPTION on opening, never an empty store', async () => {
    for (const name of ['entries-0', 'expiry-0', 'meta', 'state']) {
      const path = await damagedCopy(`name-${name}`, (data) => {
        for (let at = data.indexOf(name); at >= 0; at = data.indexOf(name, at + 1)) flip(data, at, 1)
      })
      const before = await readFile(join(path, DATA_FILE))
      for (const readOnly of [false, true]) {
        const opening = LmdbStateBackend.open({ path, readOnly })
        await expect(opening, name).rejects.toMatchObject({ code: 'CORRUPTION' })
      }
      expect(before.equals(await readFile(join(path, DATA_FILE)))).toBe(true)
    }
  })

  it('in a page by which LMDB passes over entries makes no checkpoint that quietly has less', async () => {
    // A leaf's header says how long the list of its entries is: the last one of it is not found any more.
    const [headerBytes, listEndAt, pageBytes] = [24, 20, 8_192]
    const path = await damagedCopy('short-leaf', (data) => {
      for (let page = 0; page < data.length; page += pageBytes) {
        const hasEntries = data.subarray(page, page + pageBytes).includes('left-3')
        const listEnd = data.readUInt16LE(page + listEndAt)
        if (hasEntries && listEnd > headerBytes + 2) data.writeUInt16LE(listEnd - 2, page + listEndAt)
      }
    })
    const backend = await LmdbStateBackend.open({ path })
    const storage = new MemoryCheckpointStorage()
    const coordinator = new CheckpointCoordinator(backend, { storage })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      cause: { code: 'CORRUPTION' },
    })
    expect((await storage.list()).filter(({ name }) => name.endsWith('.manifest'))).toEqual([])
    await expect(coordinator.shutdown()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    expect(await backend.verify()).toMatchObject({ ok: false })
    await backend.close()
  })

  it(`in ${FLIPS} places is never a wrong value, and verify() finds it where reading does not`, async () => {
    const random = seededRandom(20)
    const paths: string[] = []
    for (let i = 0; i < FLIPS; i++) {
      paths.push(
        await damagedCopy(`flip-${i}`, (data) => {
          // Half of them in the first bytes of a page, where its structure is.
          const anywhere = Math.floor(random() * data.length)
          const at = i % 2 === 0 ? anywhere : anywhere - (anywhere % 8_192) + Math.floor(random() * 64)
          flip(data, at, Math.floor(random() * 8))
        }),
      )
    }
    const outcomes = await readAll(paths)
    expect(outcomes.size).toBe(FLIPS)
    const tally = new Map<string, number>()
    for (const [path, outcome] of outcomes) {
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1)
      expect(outcome, path).not.toContain('WRONG')
      expect(outcome, path).not.toContain('untyped')
      // Entries that cannot be found, without an error: that takes a whole reading of the store.
      if (!outcome.includes('missing') || outcome.includes('CORRUPTION')) continue
      const report = await LmdbStateBackend.verify(path)
      expect([path, outcome, report.ok]).toEqual([path, outcome, false])
    }
    console.log(Object.fromEntries(tally))
    expect(tally.size).toBeGreaterThan(2)
  })
})
