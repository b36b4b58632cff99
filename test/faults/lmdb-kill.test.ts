import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seededRandom } from '../../src/base/random.js'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { runs } from '../support/long.js'
import { changeAt, STEP_KEY } from './children/lmdb-plan.js'
import { type CompiledSources, compileSources } from './compile-sources.js'

const CYCLES = runs(120, 4)
const LANES = 2
/** A writer is killed some time after so many of its writes were durable: on a slow machine it lives for as many, only longer. */
const MOST_ACKNOWLEDGED = 8
const LONGEST_WAIT_MS = 20
/**
 * In some cycles the writer compacts the store, which takes longer: kills are to fall before, into and after it. Where none came
 * after it, a last one does.
 */
const COMPACT_EVERY = runs(8, 2)
const LONGEST_COMPACTING_LIFE_MS = 1_000

let sources: CompiledSources
let folder: string

beforeAll(async () => {
  sources = await compileSources()
  folder = await mkdtemp(join(tmpdir(), 'holdfast-kill-'))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

/** What one store must hold, followed from cycle to cycle. */
class Lane {
  readonly path: string
  cycles = 0
  durableChecked = 0
  stepsLost = 0
  readonly #random: () => number
  readonly #modes: readonly string[]
  readonly #model = new Map<string, string>()
  #step = 0
  #durable = 0
  #begun = 0

  constructor(path: string, seed: number, hasLog: boolean) {
    this.path = path
    this.#modes = hasLog ? ['log'] : []
    this.#random = seededRandom(seed)
  }

  /** Starts a writer, kills it at some moment after it has said what it found and what is durable, and checks that. */
  async cycle(): Promise<void> {
    const flushEvery = [1, 16, 1_000][this.cycles % 3]
    const isExtra = this.cycles >= CYCLES / LANES
    const compacts = isExtra || this.cycles % COMPACT_EVERY === COMPACT_EVERY - 1
    const acknowledged = 1 + Math.floor(this.#random() * MOST_ACKNOWLEDGED)
    const waitMs = compacts && !isExtra ? LONGEST_COMPACTING_LIFE_MS : LONGEST_WAIT_MS
    const script = sources.pathOf('test/faults/children/lmdb-writer.ts')
    const args = [script, this.path, `${flushEvery}`, ...this.#modes, ...(compacts ? ['compact'] : [])]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let errors = ''
    child.stderr.on('data', (chunk) => {
      errors += chunk
    })
    const lines = createInterface({ input: child.stdout })
    const ended = new Promise<NodeJS.Signals | null>((resolve) => {
      child.on('close', (_, signal) => resolve(signal))
    })
    let durable = 0
    let found: readonly (readonly [string, string])[] | undefined
    for await (const line of lines) {
      const kind = line.slice(0, line.indexOf(' '))
      const value = JSON.parse(line.slice(kind.length + 1)) as unknown
      if (kind === 'found') {
        found = value as [string, string][]
        this.check(found)
      } else if (kind === 'begun') this.#begun = value as number
      else if (kind === 'durable') {
        durable++
        this.#durable = Math.max(this.#durable, value as number)
      }
      const isTime = isExtra ? kind === 'compacted' : kind === 'durable' && durable === acknowledged
      if (isTime) killLater(child, this.#random() * waitMs)
    }
    assert.deepEqual([await ended, errors], ['SIGKILL', ''])
    assert.ok(found !== undefined, 'the writer said what it found')
    this.cycles++
    this.durableChecked += durable
  }

  get hasCompacted(): boolean {
    return !existsSync(join(this.path, 'data-1.mdb'))
  }

  /** The content is that of a step between the last one that was acknowledged and the last one that was begun. */
  check(found: readonly (readonly [string, string])[]): void {
    const content = new Map(found)
    const step = Number(content.get(STEP_KEY) ?? 0)
    assert.ok(step >= this.#durable, `step ${this.#durable} was durable, ${step} is there`)
    assert.ok(step <= this.#begun, `step ${this.#begun} was begun, ${step} is there`)
    this.stepsLost += this.#begun - step
    while (this.#step < step) {
      for (const [key, value] of changeAt(++this.#step)) {
        if (value === undefined) this.#model.delete(key)
        else this.#model.set(key, value)
      }
    }
    assert.deepEqual(content, this.#model)
    this.#begun = step
  }
}

function killLater(child: ChildProcess, afterMs: number): void {
  setTimeout(() => child.kill('SIGKILL'), afterMs)
}

describe('a writer that is killed again and again', () => {
  it(`keeps what was durable, and a prefix of the rest, over ${CYCLES} cycles`, async () => {
    const lanes = Array.from(
      { length: LANES },
      (_, i) => new Lane(join(folder, `lane-${i}`), 7 + i, i % 2 === 1),
    )
    await Promise.all(
      lanes.map(async (lane) => {
        // A compaction gives way to writes now and then, but not always.
        while (lane.cycles < CYCLES / LANES || (!lane.hasCompacted && lane.cycles < (4 * CYCLES) / LANES)) {
          await lane.cycle()
        }
      }),
    )
    for (const lane of lanes) {
      const backend = await LmdbStateBackend.open({ path: lane.path })
      const content = [...backend.scanSync()].map(
        ([key, value]) => [Buffer.from(key).toString(), Buffer.from(value).toString()] as const,
      )
      lane.check(content)
      const files = (await readdir(lane.path)).filter((name) => name.endsWith('.mdb'))
      expect(files).toHaveLength(1)
      // Otherwise no kill came after a compaction.
      expect(files).not.toEqual(['data-1.mdb'])
      expect(await backend.verify()).toMatchObject({ ok: true, entries: content.length })
      await backend.close()
    }
    const sum = (of: (lane: Lane) => number) => lanes.reduce((total, lane) => total + of(lane), 0)
    expect(sum(({ cycles }) => cycles)).toBeGreaterThanOrEqual(CYCLES)
    expect(sum(({ durableChecked }) => durableChecked)).toBeGreaterThan(CYCLES)
    // Otherwise the kills came too late to prove anything.
    expect(sum(({ stepsLost }) => stepsLost)).toBeGreaterThan(0)
    console.log(
      `${sum(({ cycles }) => cycles)} cycles, ${sum(({ durableChecked }) => durableChecked)} acknowledgements checked`,
    )
  })
})
