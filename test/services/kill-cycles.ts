import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RunningService } from '../../scripts/services/services.mjs'
import { seededRandom } from '../../src/base/random.js'
import { compileSources } from '../faults/compile-sources.js'
import { compared } from '../support/compared.js'
import { runs } from '../support/long.js'
import { asInOrder, type CountedEvent, type CountedOutput, countOf, eventsOf } from './children/counted.js'

/** `HOLDFAST_KILLS` asks for another number. */
const KILLS = Number(process.env['HOLDFAST_KILLS'] ?? runs(50, 4))
/** A server that was killed may take seconds to come back, and the job as long to find it. */
const KILL_LIMIT_MS = 60_000
/** Longer than what brokers take for a lost connection to one another, shorter than what a client gives up for. */
const STANDS_STILL_MS = 1_500
const EVENTS_PER_KILL = 400
const SEED = 20_261_127
/** Cuts after which a process is killed, at most. */
const MOST_CUTS = 6

/** A system as the killed job uses it. */
export interface KilledSystem {
  service(): RunningService
  /** Puts events where the job reads them. */
  fill(events: readonly CountedEvent[]): Promise<void>
  /** What counts at the sink, in order. */
  outputs(): Promise<readonly unknown[]>
  /** Whether the events of a key come in their order. Default `true`; where entries are claimed anew, they do not. */
  readonly isOrdered?: boolean
}

/** Where the job has its state: in memory, with checkpoints in a folder, or on the server itself. */
export type StateKeeper = 'memory' | 'engine'

/** A job from a system to the same system, with kills of the job, the server, and both: nothing is lost at the sink, and nothing is there twice. */
export function killCycles(name: string, system: KilledSystem, keeper: StateKeeper = 'memory'): void {
  const where = keeper === 'memory' ? '' : ' with its state there'
  describe(`a job on ${name}${where} that is killed`, () => {
    let folder: string
    let sent = 0
    const outputsOf = async () => {
      const outputs = (await system.outputs()) as readonly CountedOutput[]
      return system.isOrdered === false ? asInOrder(outputs) : outputs
    }
    const fill = async () => {
      await system.fill(eventsOf(sent, sent + EVENTS_PER_KILL))
      sent += EVENTS_PER_KILL
    }
    /** Waits for so many cuts. What has nothing to do makes none, and is given more. */
    const moves = async (job: ReturnType<typeof startJob>, cuts: number) => {
      const made = job.cuts(cuts).then(() => true)
      while (!(await Promise.race([made, job.idle().then(() => false)]))) await fill()
    }
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'holdfast-cycles-'))
    })
    afterAll(() => rm(folder, { recursive: true, force: true }))

    it(
      `J3: puts everything out once, whether it, its server or both die (${KILLS} kills)`,
      async () => {
        const script = (await compileSources()).pathOf('test/services/children/counting-job.ts')
        const random = seededRandom(SEED)
        const cycles = { job: 0, server: 0, both: 0 }
        const service = system.service()
        await fill()
        for (let kill = 0; kill < KILLS; kill++) {
          const victim = (['job', 'server', 'both'] as const)[Math.floor(random() * 3)] ?? 'job'
          const job = startJob(script, [name, service.address, folder], keeper)
          await moves(job, 1 + Math.floor(random() * MOST_CUTS))
          if (victim !== 'job') await service.kill()
          if (victim === 'both') job.kill()
          if (victim !== 'job') await service.start()
          await fill()
          // The job whose server has died goes on by itself before it is killed as well.
          if (victim === 'server') await moves(job, 2)
          job.kill()
          await job.ended
          cycles[victim]++
        }
        // It ends with the last event that it is given, so there must be one that no cut has.
        await fill()
        const last = startJob(script, [name, service.address, folder], keeper, sent)
        expect(await last.ended).toBe(0)
        const outputs = await outputsOf()
        const expected = countOf(eventsOf(0, sent))
        const { lost, doubled } = compared(outputs, expected)
        process.stdout.write(
          `${name}${where}: killed ${JSON.stringify(cycles)}, ${sent} events, lost ${lost}, doubled ${doubled}\n`,
        )
        expect(outputs).toEqual(expected)
      },
      (KILLS + 2) * KILL_LIMIT_MS,
    )

    it.skipIf(keeper === 'engine')(
      'J3: goes on where its server stands still for a while, and beside a second process of the same job',
      async () => {
        const script = (await compileSources()).pathOf('test/services/children/counting-job.ts')
        const service = system.service()
        const start = (until?: number) => startJob(script, [name, service.address, folder], keeper, until)
        await fill()
        const job = start()
        await moves(job, 2)
        const pid = service.pid() ?? 0
        process.kill(pid, 'SIGSTOP')
        await sleep(STANDS_STILL_MS)
        process.kill(pid, 'SIGCONT')
        await fill()
        await moves(job, 2)
        // The lease of the checkpoints is the first one's: it lives.
        expect(await start().ended).not.toBe(0)
        await fill()
        await moves(job, 2)
        job.kill()
        await job.ended
        // As above.
        await fill()
        expect(await start(sent).ended).toBe(0)
        expect(await outputsOf()).toEqual(countOf(eventsOf(0, sent)))
      },
      3 * KILL_LIMIT_MS,
    )
  })
}

function startJob(script: string, place: readonly string[], keeper: StateKeeper, until?: number) {
  const child = spawn(process.execPath, [script, ...place, String(until ?? Infinity), keeper], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve))
  let waiting: { left: number; readonly resolve: () => void } | undefined
  let isIdle = false
  let noteIdle = () => {}
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'idle') {
      isIdle = true
      noteIdle()
      return
    }
    if (waiting !== undefined && --waiting.left === 0) waiting.resolve()
  })
  return {
    ended,
    kill: () => void child.kill('SIGKILL'),
    /** Waits until it has nothing to do; what it has said is forgotten then. */
    idle: async () => {
      if (!isIdle)
        await new Promise<void>((resolve) => {
          noteIdle = resolve
        })
      isIdle = false
    },
    /** Waits for so many cuts. A job that ends before has failed. */
    cuts: async (left: number) => {
      const seen = new Promise<string>((resolve) => {
        waiting = { left, resolve: () => resolve('seen') }
      })
      expect(await Promise.race([seen, ended.then((status) => `ended with ${status}`)])).toBe('seen')
    },
  }
}
