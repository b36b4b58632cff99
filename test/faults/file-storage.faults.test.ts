import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FileCheckpointStorage } from '../../src/storage/file-checkpoint-storage.js'
import { runs } from '../support/long.js'
import { contentOf } from './children/object-content.js'
import { forEveryCall, strides } from './every-call.js'
import type { Fault, FaultRun } from './fault.js'
import { FaultKit, missingForFaults, titled } from './fault-kit.js'

const SCRIPT = 'test/faults/children/publish-objects.ts'
/** In a quick run faults come at some calls only: kills at fewer, as each takes a process. */
const KILL_STRIDE = runs(1, 47)
const STRIDE = runs(1, 37)
/** What is left of a write when the process is killed in it. */
const TORN_BYTES: readonly number[] = runs([0, 1, 100], [0, 100])

describe.skipIf(missingForFaults !== undefined)(
  titled('FileCheckpointStorage under faults', missingForFaults),
  () => {
    let kit: FaultKit
    let baseline: FaultRun

    beforeAll(async () => {
      kit = await FaultKit.open()
      const base = await kit.newFolder()
      baseline = await kit.runWithFault(SCRIPT, { prefix: base, args: [directoryIn(base)] })
    })

    afterAll(() => kit?.close())

    /** For faults that kill: a process per call. */
    function killAtEveryCall(faultAt: (at: number) => Fault, verify: Verify): Promise<number> {
      return forEveryCall(kit, {
        lanes: runs(2, 1),
        faultAt,
        stride: KILL_STRIDE,
        run: (prefix, fault) => kit.runWithFault(SCRIPT, { prefix, args: [directoryIn(prefix)], fault }),
        verify: (run, base) => verify(run, directoryIn(base)),
      })
    }

    /** For faults that do not: one process, in which every attempt has to clean up after itself. */
    async function failAtEveryCall(faultAt: (at: number) => Fault, verify: Verify): Promise<number> {
      const session = await kit.openSession(SCRIPT, kit.folder)
      const counting = forEveryCall(kit, {
        lanes: 1,
        faultAt,
        stride: STRIDE,
        run: (base, fault) => session.run([directoryIn(base)], fault),
        verify: (run, base) => verify(run, directoryIn(base)),
      })
      await counting.catch(() => undefined)
      const errorOutput = await session.close()
      const cycles = await counting
      // Among other things, Node warns here of files that were left open.
      expect(errorOutput).toBe('')
      return cycles
    }

    it('makes every call of the publish protocol, in its order, before it acknowledges', () => {
      expect(baseline).toMatchObject({ exitCode: 0, fired: false, errorOutput: '' })
      const shape = baseline.calls.map((call) => `${call.name} ${kindOf(call.path)}`)
      const publishing = (name: string, writes: number) => [
        'create temporary',
        ...Array<string>(writes).fill('write temporary'),
        'fsync temporary',
        name,
      ]
      const durable = ['open directory', 'fsync directory']
      const linked = (name: string, writes: number) => [
        ...publishing(`link ${name}`, writes),
        'unlink temporary',
        ...durable,
      ]
      const replaced = (name: string) => [...publishing(`rename ${name}`, 1), ...durable]
      const objects = ['first', 'second'].flatMap((name) => [...linked(name, 3), ...replaced('latest')])
      // Besides, readers open lease files; that is not part of the protocol.
      const changes = shape.filter((call) => call !== 'open lease')
      expect(changes).toEqual([
        // A new directory, durable in each directory above it; later ones find it.
        'mkdir directory',
        'mkdir deep',
        'mkdir directory',
        'open deep',
        'fsync deep',
        'open base',
        'fsync base',
        ...linked('lease', 1),
        ...objects,
        'unlink first',
        ...durable,
        ...replaced('lease'),
      ])
    })

    it('loses nothing that was acknowledged when killed at any call', async () => {
      const cycles = await killAtEveryCall(
        (at) => ({ action: 'kill', at }),
        async (result, directory) => {
          expect(result.signal).toBe(result.fired ? 'SIGKILL' : null)
          await expectConsistent(result, directory)
          await expectRecovered(directory)
        },
      )
      expect(cycles).toBe(strides(baseline.calls.length, KILL_STRIDE))
      expect(cycles).toBeGreaterThan(strides(40, KILL_STRIDE))
    })

    it('publishes no torn object when killed inside any write', async () => {
      let total = 0
      for (const bytes of TORN_BYTES) {
        total += await killAtEveryCall(
          (at) => ({ action: 'torn', at, bytes }),
          async (result, directory) => {
            expect(result.signal).toBe(result.fired ? 'SIGKILL' : null)
            await expectConsistent(result, directory)
            await expectRecovered(directory)
          },
        )
      }
      const writes = baseline.calls.filter((call) => call.name === 'write').length
      expect(total).toBe(TORN_BYTES.length * strides(writes, KILL_STRIDE))
      expect(total).toBeGreaterThanOrEqual(TORN_BYTES.length * strides(7, KILL_STRIDE))
    })

    for (const errno of ['EIO', 'ENOSPC'] as const) {
      it(`rejects with STORAGE_ERROR at any call that fails once with ${errno}, and then goes on`, async () => {
        const cycles = await failAtEveryCall(
          (at) => ({ action: 'fail', at, errno, repeat: false }),
          async (result, directory) => {
            expect(result).toMatchObject({ exitCode: 0, errorOutput: '' })
            const failed = result.lines.find((line) => line.startsWith('failed '))
            // Removing a temporary name after its object was published may fail: the object is there.
            const harmless = result.firedAt?.name === 'unlink' && kindOf(result.firedAt.path) === 'temporary'
            expect(failed !== undefined).toBe(result.fired && !harmless)
            if (failed !== undefined) {
              expect(failed).toContain(errno)
              expect(failed).toContain(`file:${directory}: `)
              expectNotListed(result)
            }
            await expectConsistent(result, directory)
            await expectRecovered(directory)
          },
        )
        expect(cycles).toBe(strides(baseline.calls.length, STRIDE))
      })

      it(`rejects with STORAGE_ERROR from any call on that ${errno} stays, and goes on once it is gone`, async () => {
        const cycles = await failAtEveryCall(
          (at) => ({ action: 'fail', at, errno, repeat: true }),
          async (result, directory) => {
            expect(result).toMatchObject({ exitCode: 0, errorOutput: '' })
            expect(result.lines.some((line) => line.startsWith('failed '))).toBe(result.fired)
            await expectConsistent(result, directory)
            await expectRecovered(directory)
          },
        )
        expect(cycles).toBe(strides(baseline.calls.length, STRIDE))
      })
    }

    it('completes every write that was taken only in part, which Node reports without an error', async () => {
      const cycles = await failAtEveryCall(
        (at) => ({ action: 'full', at, bytes: 100 }),
        async (result, directory) => {
          expect(result).toMatchObject({ exitCode: 0, errorOutput: '' })
          expect(result.lines.some((line) => line.startsWith('failed '))).toBe(false)
          await expectConsistent(result, directory)
        },
      )
      expect(cycles).toBe(strides(baseline.calls.filter((call) => call.name === 'write').length, STRIDE))
    })

    it('rejects with STORAGE_ERROR when a write takes nothing and reports no error', async () => {
      const cycles = await failAtEveryCall(
        (at) => ({ action: 'short', at, bytes: 0, repeat: true }),
        async (result, directory) => {
          expect(result.exitCode).toBe(0)
          expect(result.lines.some((line) => line.startsWith('failed '))).toBe(result.fired)
          await expectConsistent(result, directory)
        },
      )
      expect(cycles).toBe(strides(baseline.calls.filter((call) => call.name === 'write').length, STRIDE))
    })
  },
)

type Verify = (run: FaultRun, directory: string) => Promise<void>

/** Where the script works: two levels that it has to create. */
function directoryIn(base: string): string {
  return join(base, 'deep', 'checkpoints')
}

function kindOf(path: string): string {
  const name = basename(path)
  if (name.startsWith('.tmp-')) return 'temporary'
  if (name.startsWith('.lease-')) return 'lease'
  if (name.startsWith('run-')) return 'base'
  return name === 'checkpoints' ? 'directory' : name
}

/** What was acknowledged is there with its bytes; what is listed is whole, and was at least begun. */
async function expectConsistent(run: FaultRun, directory: string): Promise<void> {
  const said = (verb: string) =>
    run.lines.flatMap((line) => (line.startsWith(`${verb} `) ? [line.slice(verb.length + 1)] : []))
  const storage = new FileCheckpointStorage(directory)
  const listed = new Set((await storage.list()).map((object) => object.name))
  const removing = new Set(said('removing'))

  for (const name of said('published')) if (!removing.has(name)) expect(listed).toContain(name)
  for (const name of said('removed')) expect(listed).not.toContain(name)
  for (const name of listed) {
    if (name === 'latest') continue
    expect(['first', 'second', 'third', 'fourth']).toContain(name)
    expect(holds(await storage.read(name, 10_000), name), name).toBe(true)
  }

  const replaced = said('replaced').at(-1)
  const latest = await storage.read('latest', 10_000)
  if (replaced !== undefined) expect(latest).toBeDefined()
  if (latest === undefined) return
  // The last replacement acknowledged, or one begun after it.
  const allowed = new Set([
    ...said('replacing').slice(said('replacing').lastIndexOf(replaced ?? '')),
    replaced,
  ])
  const held = [...allowed].find(
    (name) => name !== undefined && Buffer.compare(latest, contentOf(name)) === 0,
  )
  expect(held, 'latest holds one whole version').toBeDefined()
}

/** Compared as bytes: an assertion on arrays of this length costs more than a run. */
function holds(bytes: Uint8Array | undefined, name: string): boolean {
  return bytes !== undefined && Buffer.compare(bytes, contentOf(name)) === 0
}

/** A lasting fault may leave a whole object that was not acknowledged; one that failed once leaves none. */
function expectNotListed(run: FaultRun): void {
  const listed =
    run.lines
      .find((line) => line.startsWith('listed'))
      ?.split(' ')
      .slice(1) ?? []
  const failedAt = run.lines.findIndex((line) => line.startsWith('failed '))
  for (const name of ['first', 'second']) {
    const published = run.lines.indexOf(`published ${name}`)
    if (published === -1 || published > failedAt) expect(listed).not.toContain(name)
  }
}

/** The next owner gets in, finds no garbage once it has cleaned up, and publishes. */
async function expectRecovered(directory: string): Promise<void> {
  const storage = new FileCheckpointStorage(directory)
  const lease = await storage.acquire()
  await lease.discardUncommitted(0)
  const writer = await lease.create('next')
  await writer.write(contentOf('next'))
  await lease.check()
  await writer.commit()
  expect(holds(await storage.read('next', 10_000), 'next')).toBe(true)
  expect((await readdir(directory)).filter((name) => name.startsWith('.tmp-'))).toEqual([])
  expect((await readdir(directory)).filter((name) => name.startsWith('.lease-'))).toHaveLength(1)
  await lease.release()
}
