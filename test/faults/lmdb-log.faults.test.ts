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
const LIMIT_MS = runs(1_200_000, 300_000)
const isWrite = ({ name }: FaultCall) => name === 'write'
const storeIn = (base: string) => join(base, 'store')
/** The file that groups go to: few of them are made here. */
const logIn = (base: string) => join(storeIn(base), 'log-2-0')

describe.skipIf(missingForFaults !== undefined)(
  titled('the log of LmdbStateBackend under faults', missingForFaults),
  () => {
    let kit: FaultKit
    let emptyStore: string
    let baseline: FaultRun
    /** Calls until the log is there: making it, with its zeros. */
    let making = 0
    /** Writes among them. */
    let zeros = 0

    beforeAll(async () => {
      kit = await FaultKit.open()
      emptyStore = storeIn(await kit.newFolder())
      await (await LmdbStateBackend.open({ path: emptyStore })).close()
      baseline = await runIn(await kit.newFolder())
      const { calls } = baseline
      making = calls.findIndex(({ name }) => name === 'fsync') + 2
      zeros = calls.slice(0, making).filter(isWrite).length
    })

    afterAll(() => kit?.close())

    /** Each process works with a store that is new and empty. */
    async function runIn(base: string, fault?: Fault, ...modes: string[]): Promise<FaultRun> {
      await rm(storeIn(base), { recursive: true, force: true })
      await cp(emptyStore, storeIn(base), { recursive: true })
      return await kit.runWithFault(SCRIPT, {
        prefix: logIn(base),
        args: [storeIn(base), 'log', ...modes],
        fault,
      })
    }

    it('is made, and written to with these calls', () => {
      expect(baseline).toMatchObject({ exitCode: 0, errorOutput: '' })
      expect(baseline.lines).toContain('log true')
      expect(baseline.lines.filter((line) => line.startsWith('durable'))).toHaveLength(STATIONS)
      const names = baseline.calls.slice(making).map(({ name }) => name)
      expect(new Set(names)).toEqual(new Set(['write', 'unlink']))
      // One write for each station that is not a replacement; before the first one, the log may be just about to begin.
      expect(names.filter((name) => name === 'write').length).toBeGreaterThanOrEqual(STATIONS - 2)
    })

    for (const { errno, repeat } of [
      { errno: 'EIO', repeat: false },
      { errno: 'ENOSPC', repeat: true },
    ] as const) {
      const title = `keeps the engine's promises after ${errno} ${repeat ? 'for ever ' : ''}at any call`
      const skipped = repeat ? leftToLongRuns : undefined
      it.skipIf(skipped !== undefined)(titled(title, skipped), { timeout: LIMIT_MS }, async () => {
        const stride = runs(1, 3)
        const cycles = await forEveryCall(kit, {
          lanes: 1,
          stride,
          faultAt: (at) => ({ action: 'fail', at: making + at, errno, repeat }),
          run: (base, fault) => runIn(base, fault),
          verify: async (run, base) => {
            expect(run).toMatchObject({ exitCode: 0, errorOutput: '', signal: null })
            expect(run.lines.at(-1)).toBe('done')
            // A log that cannot be removed on closing is told by close() alone.
            expect(run.lines.some((line) => /^(failed|not closed)/.test(line))).toBe(run.fired)
            if (run.fired) await expectStation(run, storeIn(base))
          },
        })
        expect(cycles).toBeGreaterThanOrEqual((STATIONS - 2) / stride)
      })
    }

    it('goes on without a log where none can be made', { timeout: LIMIT_MS }, async () => {
      for (let at = 1; at < making; at += runs(397, 1_500)) {
        const fault: Fault = { action: 'fail', at, errno: 'ENOSPC', repeat: false }
        const base = await kit.newFolder()
        const run = await runIn(base, fault)
        await verifying(run, fault, async () => {
          expect(run).toMatchObject({ fired: true, exitCode: 0, errorOutput: '' })
          // What there was to unlink was nothing, and is so with an error.
          expect(run.lines.some((line) => line.startsWith('failed'))).toBe(false)
          expect(run.lines).toContain(`durable ${STATIONS}`)
          await expectStation(run, storeIn(base))
        })
      }
    })

    it('gives a disk up that does not answer, in bounded time, and stays its owner', {
      timeout: LIMIT_MS,
    }, async () => {
      const writes = baseline.calls.slice(making).filter(isWrite).length
      for (let at = 1; at <= writes; at += runs(1, 100)) {
        const fault: Fault = { action: 'stall', at: making + at }
        const base = await kit.newFolder()
        const run = await runIn(base, fault, 'leave')
        await verifying(run, fault, async () => {
          expect(run).toMatchObject({ exitCode: 0, fired: true })
          expect(run.lines.at(-2)).toContain('does not answer')
          await expectStation(run, storeIn(base))
        })
      }
    })

    it('gives a disk up that does not answer while the log is removed', { timeout: LIMIT_MS }, async () => {
      const { length } = baseline.calls.slice(making)
      // A run may have a write less: its first group is made just before or behind the log.
      for (let at = length + 1; ; at--) {
        const fault: Fault = { action: 'stall', at: making + at }
        const base = await kit.newFolder()
        const run = await runIn(base, fault, 'leave')
        if (run.firedAt?.name !== 'unlink' && at > length - 2) continue
        await verifying(run, fault, async () => {
          expect(run.firedAt).toMatchObject({ name: 'unlink' })
          expect(run).toMatchObject({ exitCode: 0, fired: true })
          expect(run.lines.at(-2)).toContain('does not answer')
          await expectStation(run, storeIn(base))
        })
        return
      }
    })

    const kills: {
      readonly how: string
      readonly faultAt: (at: number) => Fault
      readonly made: () => number
    }[] = [
      { how: 'killed before any call', faultAt: (at) => ({ action: 'kill', at }), made: () => making },
      {
        how: 'killed in any write',
        faultAt: (at) => ({ action: 'torn', at, bytes: 100 }),
        made: () => zeros,
      },
    ]
    for (const { how, faultAt, made } of kills) {
      it(`holds what was durable, and nothing by halves, when ${how}`, { timeout: LIMIT_MS }, async () => {
        let killed = 0
        // Some fall before the log is there; then every one.
        for (let at = 1; at < made(); at += runs(250, 2_000)) killed += await killAt(faultAt(at))
        for (let at = made() + 1; ; at += runs(1, 3)) {
          const fired = await killAt(faultAt(at))
          killed += fired
          if (fired === 0) break
        }
        expect(killed).toBeGreaterThanOrEqual(runs(STATIONS, 3))
        console.log(`${killed} kills`)
      })
    }

    async function killAt(fault: Fault): Promise<0 | 1> {
      const base = await kit.newFolder()
      const run = await runIn(base, fault)
      await verifying(run, fault, async () => {
        expect(run.signal).toBe(run.fired ? 'SIGKILL' : null)
        if (run.fired) await expectStation(run, storeIn(base))
      })
      await rm(base, { recursive: true })
      return run.fired ? 1 : 0
    }

    it.skipIf(leftToLongRuns !== undefined)(
      titled('keeps its promises after any write that takes a part of what it is given', leftToLongRuns),
      { timeout: LIMIT_MS },
      async () => {
        await forEveryCall(kit, {
          lanes: 1,
          faultAt: (at) => ({ action: 'short', at: zeros + at, bytes: 100, repeat: false }),
          run: (base, fault) => runIn(base, fault),
          verify: async (run, base) => {
            expect(run).toMatchObject({ exitCode: 0, errorOutput: '' })
            await expectStation(run, storeIn(base))
          },
        })
      },
    )
  },
)

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
