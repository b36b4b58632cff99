import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { runs } from '../support/long.js'
import { contentAt, STATIONS, textOf } from './children/lmdb-stations.js'
import { forEveryCall, verifying } from './every-call.js'
import type { Fault, FaultCall, FaultRun } from './fault.js'
import { FaultKit, missingForFaults, titled } from './fault-kit.js'

const SCRIPT = 'test/faults/children/lmdb-commits.ts'
/** In a quick run faults come at some calls only. */
const STRIDE = runs(1, 41)
const storeIn = (base: string) => join(base, 'store')
const LMDB_SAYS = /Write error: .*? size \d+|mdb_page_spill .*error \d+\n/g
const isWrite = ({ name }: FaultCall) => name === 'write'
/** The store's data alone: what its directory and its lease do under faults is proved where they are. */
const dataIn = (base: string) => join(storeIn(base), 'data-1.mdb')

describe.skipIf(missingForFaults !== undefined)(
  titled('LmdbStateBackend under faults', missingForFaults),
  () => {
    let kit: FaultKit
    let baseline: FaultRun

    beforeAll(async () => {
      kit = await FaultKit.open()
      const base = await kit.newFolder()
      baseline = await kit.runWithFault(SCRIPT, { prefix: dataIn(base), args: [storeIn(base)] })
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
    ] as const
    for (const { errno, repeat } of failures) {
      it(`keeps its promises after ${errno} ${repeat ? 'for ever ' : ''}at any call`, {
        timeout: 240_000,
      }, async () => {
        // One process, and always the same directory: what a failure leaves behind in it would show.
        const base = await kit.newFolder()
        const session = await kit.openSession(SCRIPT, dataIn(base))
        await createdIn(base)
        const opening = (await session.run([storeIn(base)], undefined)).calls.findIndex(isWrite)
        let poisoned = 0
        const cycles = await forEveryCall(kit, {
          lanes: 1,
          stride: STRIDE,
          faultAt: (at) => ({ action: 'fail', at: opening + at, errno, repeat }),
          run: async (_, fault) => {
            await createdIn(base)
            return await session.run([storeIn(base)], fault)
          },
          verify: async (run) => {
            expect(run).toMatchObject({ exitCode: 0, errorOutput: '' })
            expect(run.lines.at(-1)).toBe('done')
            // The last commit is that of the time, on closing: nobody but close() can tell.
            expect(run.lines.some((line) => /^(failed|not closed)/.test(line))).toBe(run.fired)
            if (run.fired) poisoned++
          },
        })
        // LMDB itself says there which write has failed.
        expect((await session.close()).replaceAll(LMDB_SAYS, '')).toBe('')
        expect(poisoned).toBeGreaterThan((2 * STATIONS) / STRIDE)
        console.log(`${cycles} calls, ${poisoned} commits failed`)
      })
    }

    it('gives a disk up that does not answer, in bounded time, and stays its owner', {
      timeout: 120_000,
    }, async () => {
      const base = await kit.newFolder()
      const prefix = dataIn(base)
      const args = [storeIn(base), 'leave']
      await createdIn(base)
      const { calls } = await kit.runWithFault(SCRIPT, { prefix, args })
      let stalled = 0
      for (let at = calls.findIndex(isWrite) + 1; at <= calls.length; at += runs(6, 150)) {
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
      it(`holds what was durable, and nothing by halves, when ${how}`, { timeout: 240_000 }, async () => {
        const cycles = await forEveryCall(kit, {
          lanes: 2,
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

/** A new, empty store: LMDB's package can crash where it cannot *create* one, so no fault is injected there. */
async function createdIn(base: string): Promise<void> {
  await rm(storeIn(base), { recursive: true, force: true })
  await (await LmdbStateBackend.open({ path: storeIn(base) })).close()
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
