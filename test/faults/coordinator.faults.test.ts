import { existsSync } from 'node:fs'
import { readdir, readFile, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { parseManifest } from '../../src/checkpoint/format/manifest.js'
import { sequenceOf } from '../../src/checkpoint/format/object-names.js'
import type { CheckpointMetadata } from '../../src/checkpoint/types.js'
import { CheckpointWorker } from '../../src/checkpoint/worker/checkpoint-worker.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { FileCheckpointStorage } from '../../src/storage/file-checkpoint-storage.js'
import { runs } from '../support/long.js'
import { advance, stateAt, stateOf } from './children/counted-state.js'
import { forEveryCall, strides, verifying } from './every-call.js'
import type { Fault, FaultRun } from './fault.js'
import { FaultKit, missingForFaults, titled } from './fault-kit.js'

const SCRIPT = 'test/faults/children/make-checkpoints.ts'

/** In a quick run faults come at some calls only. Odd, and no divisor of what repeats: all kinds of calls have their turn. */
const STRIDE = runs(1, 127)
const WRITE_STRIDE = runs(1, 13)

/** What is left of a write when the process is killed in it. */
const TORN_BYTES: readonly number[] = runs([1, 100], [100])

/** Every call of a job is a job of its own: what is a minute on a quiet machine is several on a busy one. */
const LIMIT_MS = runs(1_200_000, 300_000)

/** Of the jobs in this process, none of which is shut down. */
const worker = new CheckpointWorker()

/** What the coordinator logs where the last owner's lease stays behind. */
const NOT_RELEASED = 'warned could not release the lease'

describe.skipIf(missingForFaults !== undefined)(
  titled('CheckpointCoordinator under faults', missingForFaults),
  () => {
    let kit: FaultKit
    let baseline: FaultRun

    beforeAll(async () => {
      kit = await FaultKit.open()
      const base = await kit.newFolder()
      baseline = await kit.runWithFault(SCRIPT, { prefix: base, args: [directoryIn(base)] })
    })

    afterAll(async () => {
      await worker.close()
      await kit?.close()
    })

    /** For faults that kill: a process per call. */
    function killAtEveryCall(stride: number, faultAt: (at: number) => Fault): Promise<number> {
      return forEveryCall(kit, {
        lanes: runs(2, 1),
        faultAt,
        stride,
        run: (prefix, fault) => kit.runWithFault(SCRIPT, { prefix, args: [directoryIn(prefix)], fault }),
        verify: async (run, base) => {
          expect(run.signal).toBe(run.fired ? 'SIGKILL' : null)
          await recovered(run, directoryIn(base))
        },
      })
    }

    async function recovered(run: FaultRun, directory: string): Promise<void> {
      await expectRecovered(run, directory)
      await rm(directory, { recursive: true })
    }

    /**
     * For faults that do not: one process. Where it could not release its lease, it stays the owner as long as it
     * lives, so what it left there is verified after its end. Returns also how many such there were.
     */
    async function failAtEveryCall(
      faultAt: (at: number) => Fault,
      verify: (run: FaultRun) => void,
    ): Promise<{ readonly cycles: number; readonly unreleased: number }> {
      const session = await kit.openSession(SCRIPT, kit.folder)
      const unreleased: { readonly run: FaultRun; readonly fault: Fault; readonly directory: string }[] = []
      const counting = forEveryCall(kit, {
        lanes: 1,
        faultAt,
        stride: STRIDE,
        run: async (base, fault) => {
          const run = await session.run([directoryIn(base)], fault)
          if (run.lines.includes(NOT_RELEASED)) unreleased.push({ run, fault, directory: directoryIn(base) })
          return run
        },
        verify: async (run, base) => {
          expect(run).toMatchObject({ exitCode: 0, errorOutput: '' })
          expect(run.lines.at(-1)).toBe('done')
          verify(run)
          if (!run.lines.includes(NOT_RELEASED)) await recovered(run, directoryIn(base))
        },
      })
      await counting.catch(() => undefined)
      const errorOutput = await session.close()
      const cycles = await counting
      for (const { run, fault, directory } of unreleased) {
        await verifying(run, fault, () => recovered(run, directory))
      }
      // Among other things, Node warns here of files that were left open.
      expect(errorOutput).toBe('')
      return { cycles, unreleased: unreleased.length }
    }

    it('makes three checkpoints and a final one, and keeps two, when nothing fails', async () => {
      expect(baseline).toMatchObject({ exitCode: 0, fired: false, errorOutput: '' })
      const id = (sequence: number) => `chk-${String(sequence).padStart(10, '0')}`
      const made = [1, 2, 3].flatMap((n) => [`started ${id(n)}`, `acknowledged ${id(n)} ${n * 20}`])
      expect(baseline.lines).toEqual([...made, `started ${id(4)}`, 'shut-down 80', 'done'])
      const linked = baseline.calls.filter(({ name }) => name === 'link').map(({ path }) => basename(path))
      const objects = [1, 2, 3, 4].flatMap((n) => [`${id(n)}.base.segment`, `${id(n)}.manifest`])
      // Whether a segment has all or what changed is the engine's to say.
      const asBases = linked.map((name) => name.replace('.delta.', '.base.'))
      expect(asBases.filter((name) => name.startsWith('chk-'))).toEqual(objects)
      // Each one is counted before it is named, and noted after it is published.
      const renamed = baseline.calls.filter(({ name }) => name.startsWith('rename'))
      expect(renamed.filter(({ path }) => basename(path) === 'sequence')).toHaveLength(8)
    })

    it(
      'restores what was acknowledged, or newer, when killed at any call',
      async () => {
        const cycles = await killAtEveryCall(STRIDE, (at) => ({ action: 'kill', at }))
        expect(cycles).toBe(strides(baseline.calls.length, STRIDE))
        expect(cycles).toBeGreaterThan(strides(100, STRIDE))
      },
      LIMIT_MS,
    )

    it(
      'restores what was acknowledged, or newer, when killed inside any write',
      async () => {
        let total = 0
        for (const bytes of TORN_BYTES) {
          total += await killAtEveryCall(WRITE_STRIDE, (at) => ({ action: 'torn', at, bytes }))
        }
        const writes = baseline.calls.filter((call) => call.name === 'write').length
        expect(total).toBe(TORN_BYTES.length * strides(writes, WRITE_STRIDE))
        expect(total).toBeGreaterThan(TORN_BYTES.length * strides(10, WRITE_STRIDE))
      },
      LIMIT_MS,
    )

    for (const repeat of [false, true]) {
      const title = repeat
        ? 'reports a fault that lasts from any call on, keeps what it had, and goes on once it is gone'
        : 'reports a fault of any one call, leaves no half of a checkpoint, and goes on'
      it(
        `${title} (EIO, ENOSPC)`,
        async () => {
          const counts = await Promise.all(
            (['EIO', 'ENOSPC'] as const).map((errno) =>
              failAtEveryCall(
                (at) => ({ action: 'fail', at, errno, repeat }),
                (run) => {
                  expectReported(run, errno, repeat)
                  expectKept(run, repeat)
                },
              ),
            ),
          )
          for (const { cycles, unreleased } of counts) {
            expect(cycles).toBe(strides(baseline.calls.length, STRIDE))
            // This rare path was taken, too.
            if (STRIDE === 1) expect(unreleased).toBeGreaterThan(0)
          }
        },
        LIMIT_MS,
      )
    }
  },
)

/** Where the script works: a directory that it has to create. */
function directoryIn(base: string): string {
  return join(base, 'checkpoints')
}

interface Acknowledged {
  readonly id: string
  readonly position: number
}

function acknowledged(run: Pick<FaultRun, 'lines'>): Acknowledged[] {
  return said(run, 'acknowledged').map(([id = '', position]) => ({ id, position: Number(position) }))
}

function found(run: FaultRun): number[] {
  return said(run, 'found').map(([position]) => Number(position))
}

function said({ lines }: Pick<FaultRun, 'lines'>, verb: string): string[][] {
  return lines.map((line) => line.split(' ')).flatMap(([first, ...rest]) => (first === verb ? [rest] : []))
}

/** No fault passes in silence: the step fails with the system's error behind it, or there is a warning. */
function expectReported(run: FaultRun, errno: string, lasting: boolean): void {
  const failures = said(run, 'failed')
  for (const [step, code, ...message] of failures) {
    expect(code).toBe(step === 'restore' ? 'RESTORE_FAILED' : 'CHECKPOINT_FAILED')
    expect(message.join(' ')).toContain(errno)
  }
  const reported = failures.length + said(run, 'warned').length > 0
  if (!run.fired) expect(reported).toBe(false)
  else if (!reported) expect(!lasting && isHarmless(run), 'a fault passed in silence').toBe(true)
}

/** Faults that need no report, where they happen once. */
function isHarmless({ firedAt }: FaultRun): boolean {
  if (firedAt === undefined) return false
  const name = basename(firedAt.path)
  // A temporary name that stays after its object was published is discarded later.
  return firedAt.name === 'unlink' && name.startsWith('.tmp-')
}

/** Right after a failure, what was there before is there; what failed is not, unless it could not be taken back. */
function expectKept(run: FaultRun, lasting: boolean): void {
  const failedAt = run.lines.findIndex((line) => line.startsWith('failed '))
  if (failedAt !== -1) {
    const before = acknowledged({ lines: run.lines.slice(0, failedAt) }).at(-1)?.position ?? 0
    const [position] = found(run)
    if (lasting) expect(position).toBeGreaterThanOrEqual(before)
    else expect(position).toBe(before)
  }
  expect(acknowledged(run).map(({ position }) => position)).toEqual([20, 40, 60])
}

/** The next owner gets in, restores what was promised, and goes on from there. */
async function expectRecovered(run: FaultRun, directory: string): Promise<void> {
  const names = existsSync(directory) ? await readdir(directory) : []
  const usedIds = [...said(run, 'started').flat(), ...names.flatMap((name) => /^chk-\d+/.exec(name) ?? [])]
  const job = new NextJob(directory)
  const restored = await job.restore()
  expect(await job.state()).toBe(stateAt(job.position))
  expect(job.skipped).toEqual([])
  expectPromised(run, restored, names)
  // What retention has to keep is listed.
  const promised = acknowledged(run)
  const listed = await job.verifiedIds()
  expect(listed.length).toBeGreaterThanOrEqual(Math.min(2, promised.length))
  expect(listed).toEqual(expect.arrayContaining(promised.slice(-1).map(({ id }) => id)))

  const made = await job.advanceAndCheckpoint()
  expect(usedIds).not.toContain(made.id)
  expect(usedIds.every((id) => id < made.id)).toBe(true)
  await expectNoGarbage(directory)
  await job.end()

  const last = new NextJob(directory)
  expect((await last.restore())?.id).toBe(made.id)
  expect(await last.state()).toBe(stateAt(job.position))
  await last.end()
}

function expectPromised(run: FaultRun, restored: CheckpointMetadata | undefined, names: string[]): void {
  const newest = acknowledged(run).at(-1)
  if (restored === undefined) {
    expect(newest).toBeUndefined()
    expect(names.filter((name) => name.endsWith('.manifest'))).toEqual([])
    return
  }
  const position = Number(restored.source)
  expect(position).toBeGreaterThanOrEqual(newest?.position ?? 20)
  if (position === newest?.position) expect(restored.id).toBe(newest.id)
}

/** Two checkpoints with the segments they name; the sequence; one lease. */
async function expectNoGarbage(directory: string): Promise<void> {
  const names = await readdir(directory)
  const manifests = names.filter((name) => name.endsWith('.manifest'))
  expect([1, 2]).toContain(manifests.length)
  const segments = new Set<string>()
  for (const name of manifests) {
    const bytes = await readFile(join(directory, name))
    const { manifest } = parseManifest(bytes, sequenceOf(name.replace('.manifest', '')) as number)
    for (const segment of manifest.segments) segments.add(segment.name)
  }
  const rest = names.filter((name) => !name.startsWith('.lease-'))
  expect(rest.sort()).toEqual([...manifests, ...segments, 'sequence'].sort())
  expect(names.length - rest.length).toBe(1)
}

/** A job as the script's, in this process. It leaves nobody's files alone for a grace period. */
class NextJob {
  readonly skipped: string[] = []
  readonly #backend = new MemoryStateBackend({ sweepIntervalMs: Number.POSITIVE_INFINITY })
  readonly #coordinator: CheckpointCoordinator
  #position = 0

  constructor(directory: string) {
    this.#coordinator = new CheckpointCoordinator(this.#backend, {
      storage: new FileCheckpointStorage(directory),
      source: () => this.#position,
      maxCheckpoints: 2,
      graceMs: 0,
      worker,
    })
    this.#coordinator.on('skipped', ({ id, reason }) => this.skipped.push(`${id} ${reason}`))
  }

  get position(): number {
    return this.#position
  }

  async restore(): Promise<CheckpointMetadata | undefined> {
    const restored = await this.#coordinator.restoreLatest()
    this.#position = Number(restored?.source ?? 0)
    return restored
  }

  state(): Promise<string> {
    return stateOf(this.#backend)
  }

  /** The ids of what is listed, every one of them verified. */
  async verifiedIds(): Promise<string[]> {
    const listed = await this.#coordinator.listCheckpoints()
    for (const { id } of listed) await this.#coordinator.verify(id)
    return listed.map(({ id }) => id)
  }

  async advanceAndCheckpoint(): Promise<CheckpointMetadata> {
    advance(this.#backend, this.#position, this.#position + 7)
    this.#position += 7
    return await this.#coordinator.createCheckpoint()
  }

  /** Without a shutdown, which would make one more checkpoint: the directory is not used again. */
  async end(): Promise<void> {
    await this.#backend.close()
  }
}
