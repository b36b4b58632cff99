import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { leftToLongRuns, runs } from '../support/long.js'
import { contentAt, STATIONS, textOf } from './children/lmdb-stations.js'
import { forEveryCall, verifying } from './every-call.js'
import type { Fault, FaultCall, FaultRun } from './fault.js'
import { FaultKit, missingForFaults, titled } from './fault-kit.js'

const SCRIPT = 'test/faults/children/lmdb-commits.ts'
/** In a quick run faults come at some calls only. */
const STRIDE = runs(2, 211)
/** Each lane makes a run without a fault at its end. */
const LANES = runs(2, 1)
/** Each call is two processes: what is a minute on a quiet machine is several on a busy one. */
const LIMIT_MS = runs(1_200_000, 300_000)
const storeIn = (base: string) => join(base, 'store')
const LARGE_SCRIPT = 'test/faults/children/large-values.ts'
const LMDB_SAYS = /Write error: .*? size \d+|mdb_page_spill .*error \d+\n/g
const isWrite = ({ name }: FaultCall) => name === 'write'
/** The store's data alone: what its directory and its lease do under faults is proved where they are. */
const dataIn = (base: string) => join(storeIn(base), 'data-1.mdb')

describe.skipIf(missingForFaults !== undefined)(
  titled('LmdbStateBackend under faults', missingForFaults),
  () => {
    let kit: FaultKit
    let baseline: FaultRun
    /** The calls of a script that finds a store which is new and empty. */
    let calls: readonly FaultCall[]

    beforeAll(async () => {
      kit = await FaultKit.open()
      emptyStore = storeIn(await kit.newFolder())
      await (await LmdbStateBackend.open({ path: emptyStore })).close()
      const base = await kit.newFolder()
      const options = { prefix: dataIn(base), args: [storeIn(base)] }
      baseline = await kit.runWithFault(SCRIPT, options)
      await createdIn(base)
      calls = (await kit.runWithFault(SCRIPT, options)).calls
    })

    afterAll(() => kit?.close())

    it('commits with these calls', () => {
      expect(baseline).toMatchObject({ exitCode: 0, errorOutput: '' })
      expect(baseline.lines.filter((line) => line.startsWith('durable'))).toHaveLength(STATIONS)
      const names = baseline.calls.map(({ name }) => name)
      expect(new Set(names)).toEqual(new Set(['unlink', 'create', 'open', 'write', 'fdatasync']))
      // A commit is at least one write of pages, their fdatasync, and a write of the page that names them.
      expect(names.filter((name) => name === 'fdatasync').length).toBeGreaterThan(STATIONS)
    })

    const failures = [
      { errno: 'EIO', repeat: false },
      { errno: 'EIO', repeat: true },
      { errno: 'ENOSPC', repeat: true },
      { errno: 'EDQUOT', repeat: false },
    ] as const
    for (const { errno, repeat } of failures) {
      const title = `keeps its promises after ${errno} ${repeat ? 'for ever ' : ''}at any call`
      const skipped = errno === (repeat ? 'ENOSPC' : 'EIO') ? undefined : leftToLongRuns
      it.skipIf(skipped !== undefined)(titled(title, skipped), { timeout: LIMIT_MS }, async () => {
        await expectPromisesKept(
          (at) => ({ action: 'fail', at, errno, repeat }),
          errno === 'EDQUOT' ? 3 : STRIDE,
        )
      })
    }

    it.skipIf(leftToLongRuns !== undefined)(
      titled('keeps its promises after any write that takes a part of what it is given', leftToLongRuns),
      { timeout: LIMIT_MS },
      async () => {
        await expectPromisesKept((at) => ({ action: 'short', at, bytes: 100, repeat: false }), 2)
      },
    )

    /** Each process works with a store that is new and empty. */
    async function expectPromisesKept(faultAt: (at: number) => Fault, stride: number): Promise<void> {
      // Writes alone count for the fault, or what comes from the first of them on.
      const opening = faultAt(1).action === 'short' ? 0 : calls.findIndex(isWrite)
      let died = 0
      let damaged = 0
      const cycles = await forEveryCall(kit, {
        lanes: LANES,
        stride,
        faultAt: (at) => faultAt(opening + at),
        run: async (base, fault) => {
          await createdIn(base)
          return await kit.runWithFault(SCRIPT, { prefix: dataIn(base), args: [storeIn(base)], fault })
        },
        verify: async (run, base) => {
          if (run.signal !== null) {
            expectDeathOfDamage(run)
            died++
          } else {
            expect(run.exitCode, run.errorOutput).toBe(0)
            // LMDB itself says there which write has failed.
            expect(run.errorOutput.replaceAll(LMDB_SAYS, '')).toBe('')
            expect(run.lines.at(-1)).toBe('done')
            // The last commit is that of the time, on closing: nobody but close() can tell.
            expect(run.lines.some((line) => /^(failed|not closed)/.test(line))).toBe(run.fired)
            if (run.lines.includes('memory damaged')) damaged++
          }
          if (run.fired) await expectStation(run, storeIn(base))
          await rm(base, { recursive: true })
        },
      })
      expect(cycles).toBeGreaterThan((2 * STATIONS) / stride)
      console.log(`${cycles} commits failed, ${damaged} told of damage, ${died} processes died`)
    }

    const alone = leftToLongRuns === undefined ? '' : ` (${leftToLongRuns})`
    it.skipIf(leftToLongRuns !== undefined)(
      `tells where LMDB has damaged the memory of the process, if that lives on, and then no store of it writes${alone}`,
      async () => {
        const outcomes = await outcomesOfWrites((base) => largeValues(base, 12 << 20))
        const told = outcomes.filter((lines) => lines.includes('flush memory damaged'))
        const died = outcomes.filter((lines) => lines.at(-1) === 'begun')
        expect(told.length + died.length).toBeGreaterThan(0)
        for (const lines of told) {
          // Damaged memory may end the process at any later step.
          const steps = ['begun', ...DAMAGED_STEPS.map((step) => `${step} memory damaged`), 'done']
          expect(lines).toEqual(steps.slice(0, lines.length))
        }
      },
    )

    /** What the script says when a write of its large values fails, for each of these writes. */
    async function outcomesOfWrites(
      argsIn: (base: string) => readonly string[],
    ): Promise<readonly (readonly string[])[]> {
      const runIn = async (base: string, fault?: Fault) => {
        await createdIn(base)
        return await kit.runWithFault(LARGE_SCRIPT, { prefix: dataIn(base), args: argsIn(base), fault })
      }
      const healthy = await runIn(await kit.newFolder())
      expect(healthy.lines.at(-1), healthy.errorOutput).toBe('done')
      // A commit ends with a sync and the page that names it; after that of the large values, there is one on closing.
      const syncs = healthy.calls.flatMap(({ name }, i) => (name === 'fdatasync' ? [i] : []))
      const outcomes: (readonly string[])[] = []
      const before = (syncs.at(-3) as number) + 2
      for (let at = before + 1; at <= (syncs.at(-2) as number); at++) {
        const base = await kit.newFolder()
        const fault: Fault = { action: 'fail', at, errno: 'EIO', repeat: false }
        const run = await runIn(base, fault)
        await verifying(run, fault, async () => {
          expect(run).toMatchObject({ fired: true, firedAt: { name: 'write' } })
          if (run.signal === null) expect(run.lines.at(-1)).toBe('done')
          else expectDeathOfDamage(run)
        })
        for (const [path, key] of [
          [storeIn(base), 'small'],
          [join(base, 'other'), 'other'],
        ] as const) {
          const backend = await LmdbStateBackend.open({ path })
          expect([...backend.scanSync()].map(([found]) => textOf(found))).toContain(key)
          expect(await backend.count()).toBeLessThanOrEqual(2)
          await backend.close()
        }
        outcomes.push(run.lines)
        // One that was told of it is enough in a quick run.
        if (runs(false, run.lines.includes('flush memory damaged'))) break
        await rm(base, { recursive: true })
      }
      return outcomes
    }

    it('gives a disk up that does not answer, in bounded time, and stays its owner', {
      timeout: LIMIT_MS,
    }, async () => {
      const base = await kit.newFolder()
      const prefix = dataIn(base)
      const args = [storeIn(base), 'leave']
      let stalled = 0
      for (let at = calls.findIndex(isWrite) + 1; at <= calls.length; at += runs(6, 300)) {
        await createdIn(base)
        const fault: Fault = { action: 'stall', at }
        const run = await kit.runWithFault(SCRIPT, { prefix, args, fault })
        // How many calls a commit makes depends on what has gathered by then: this run may make fewer than the first one did.
        if (!run.fired && stalled > 0) break
        stalled++
        await verifying(run, fault, async () => {
          expect(run).toMatchObject({ exitCode: 0, fired: true })
          expect(run.lines.at(-2)).toContain('does not answer')
          await expectStation(run, storeIn(base))
        })
      }
    })

    const kills: { readonly how: string; readonly faultAt: (at: number) => Fault }[] = [
      { how: 'killed before any call', faultAt: (at) => ({ action: 'kill', at }) },
      { how: 'killed in any write', faultAt: (at) => ({ action: 'torn', at, bytes: 100 }) },
    ]
    for (const { how, faultAt } of kills) {
      it(`holds what was durable, and nothing by halves, when ${how}`, { timeout: LIMIT_MS }, async () => {
        const cycles = await forEveryCall(kit, {
          lanes: LANES,
          stride: STRIDE,
          faultAt,
          run: (base, fault) =>
            kit.runWithFault(SCRIPT, { prefix: dataIn(base), args: [storeIn(base)], fault }),
          verify: async (run, base) => {
            expect(run.signal).toBe(run.fired ? 'SIGKILL' : null)
            if (run.fired) await expectStation(run, storeIn(base))
            await rm(base, { recursive: true })
          },
        })
        expect(cycles).toBeGreaterThan((3 * STATIONS) / STRIDE)
        console.log(`${cycles} kills`)
      })
    }
  },
)

const DAMAGED_STEPS = ['flush', 'put', 'other store', 'new store', 'close', 'close other']

/** What the script of large values is told. */
function largeValues(base: string, valueBytes: number): string[] {
  return [storeIn(base), join(base, 'other'), join(base, 'new'), `${valueBytes}`]
}

/** The system's allocator has ended the process after LMDB's package has told of a page that was not written. */
function expectDeathOfDamage({ signal, errorOutput, firedAt }: FaultRun): void {
  expect(['SIGABRT', 'SIGSEGV', 'SIGBUS']).toContain(signal)
  expect(errorOutput).toContain('Write error')
  expect(firedAt?.name).toBe('write')
}

/** The files of a new, empty store: to open one starts a thread, and there are hundreds of runs. */
let emptyStore: string

/** A new, empty store: LMDB's package can crash where it cannot *create* one, so no fault is injected there. */
async function createdIn(base: string): Promise<void> {
  await rm(storeIn(base), { recursive: true, force: true })
  await cp(emptyStore, storeIn(base), { recursive: true })
}

/** The store is at a station between the last that was durable and the last that was begun. */
async function expectStation(run: FaultRun, path: string): Promise<void> {
  const last = (kind: string) => run.lines.findLast((line) => line.startsWith(kind))?.split(' ')[1] ?? 0
  const backend = await LmdbStateBackend.open({ path })
  const found = new Map([...backend.scanSync()].map(([key, value]) => [textOf(key), textOf(value)]))
  const station = Number(found.get('station') ?? 0)
  expect(station).toBeGreaterThanOrEqual(Number(last('durable')))
  expect(station).toBeLessThanOrEqual(Number(last('begun')))
  // What a run that was not killed puts in the end.
  found.delete('after')
  expect(found).toEqual(contentAt(station))
  await backend.close()
}
