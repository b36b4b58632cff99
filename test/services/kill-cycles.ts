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
const KILLS = Number(process.env['HOLDFAST_KILLS'] ?? runs(50, 8))
/** A server that was killed may take seconds to come back, and the job as long to find it. */
const KILL_LIMIT_MS = 60_000
/** Longer than what brokers take for a lost connection to one another, shorter than what a client gives up for. */
const STANDS_STILL_MS = 1_500
const EVENTS_PER_KILL = 300
/** A job at work is killed at most so long after it has made a cut. */
const MOST_MS = 300
/** One that opens what it needs, which takes about so long, is killed within that time. */
const OPENING_MS = 150

/** A system as the killed job uses it. */
export interface KilledSystem {
  service(): RunningService
  /** Puts events where the job reads them. */
  fill(events: readonly CountedEvent[]): Promise<void>
  /** What counts at the sink, in order. */
  outputs(): Promise<readonly unknown[]>
  /** Whether the events of a key come in their order. Default `true`; where entries are claimed anew, they do not. */
  readonly isOrdered?: boolean
  /** Of so many kills one is of the server, and one of both. Default 8; more where the server takes long to come back. */
  readonly killsPerServer?: number
}

/** Where the job has its state: in memory, with checkpoints in a folder, or on the server itself. */
export type StateKeeper = 'memory' | 'engine'

type Victim = 'job' | 'opening' | 'server' | 'both'

/** Who is killed, in an order that is drawn anew for each round. Of a round one is a server, one both, one a job that opens; the others are jobs at work. */
function* victims(kills: number, round: number, random: () => number): Generator<Victim> {
  let left: Victim[] = []
  for (let kill = 0; kill < kills; kill++) {
    if (left.length === 0) {
      const jobs = Array.from({ length: Math.min(round, kills - kill) - 3 }, (): Victim => 'job')
      left = ['server', 'both', 'opening', ...jobs]
    }
    yield left.splice(Math.floor(random() * left.length), 1)[0] ?? 'job'
  }
}

/** By the clock, unless `HOLDFAST_KILLS_SEED` asks for that of another run. */
const seed = () => Number(process.env['HOLDFAST_KILLS_SEED'] ?? Date.now() % 1_000_000_000)

/** A job from a system to the same system, with kills of the job, the server, and both: nothing is lost at the sink, and nothing is there twice. */
export function killCycles(name: string, system: KilledSystem, keeper: StateKeeper = 'memory'): void {
  const { killsPerServer = 8 } = system
  const where = keeper === 'memory' ? '' : ' with its state there'
  describe(`a job on ${name}${where} that is killed`, () => {
    let folder: string
    let script: string
    let sent = 0
    const processes: JobProcess[] = []
    const outputsOf = async () => {
      const outputs = (await system.outputs()) as readonly CountedOutput[]
      return system.isOrdered === false ? asInOrder(outputs) : outputs
    }
    const fill = async () => {
      await system.fill(eventsOf(sent, sent + EVENTS_PER_KILL))
      sent += EVENTS_PER_KILL
    }
    /** A process that has loaded everything, or will have soon. `until`: it ends with this event. */
    const standby = (until?: number) => {
      const made = new JobProcess(script, [name, folder, String(until ?? Infinity), keeper])
      processes.push(made)
      return made
    }
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'holdfast-cycles-'))
      script = (await compileSources()).pathOf('test/services/children/counting-job.ts')
    })
    afterAll(async () => {
      // A test that has failed leaves some.
      await Promise.all(processes.map((each) => each.kill()))
      await rm(folder, { recursive: true, force: true })
    })

    it(
      `J3: puts everything out once, whether it, its server or both die (${KILLS} kills)`,
      async () => {
        const drawn = seed()
        const random = seededRandom(drawn)
        const cycles: Record<Victim, number> = { job: 0, opening: 0, server: 0, both: 0 }
        const service = system.service()
        // The next process is loaded beside the one that works.
        let next = standby()
        for (const victim of victims(KILLS, killsPerServer, random)) {
          const job = next
          next = standby()
          await job.begins(service.address)
          await fill()
          if (victim === 'opening') await sleep(random() * OPENING_MS)
          else {
            await job.hasSeen(sent - EVENTS_PER_KILL)
            await sleep(random() * MOST_MS)
          }
          if (victim === 'server' || victim === 'both') await service.kill()
          if (victim === 'both') await job.kill()
          if (victim === 'server' || victim === 'both') await service.start()
          if (victim === 'server') {
            // The job whose server has died goes on by itself before it is killed as well.
            await fill()
            await job.hasSeen(sent - EVENTS_PER_KILL)
          }
          await job.kill()
          cycles[victim]++
        }
        await next.kill()
        // It ends with the last event that it is given, so there must be one that no cut has.
        await fill()
        const last = standby(sent)
        await last.begins(service.address)
        expect(await last.ended).toBe(0)
        const outputs = await outputsOf()
        const expected = countOf(eventsOf(0, sent))
        const { lost, doubled } = compared(outputs, expected)
        process.stdout.write(
          `${name}${where}: killed ${JSON.stringify(cycles)}, ${sent} events, lost ${lost}, doubled ${doubled} (HOLDFAST_KILLS_SEED=${drawn})\n`,
        )
        expect(outputs).toEqual(expected)
      },
      (KILLS + 2) * KILL_LIMIT_MS,
    )

    it.skipIf(keeper === 'engine')(
      'J3: goes on where its server stands still for a while, and beside a second process of the same job',
      async () => {
        const service = system.service()
        const [job, second] = [standby(), standby()]
        await fill()
        await job.begins(service.address)
        await job.hasSeen(sent - EVENTS_PER_KILL)
        const pid = service.pid() ?? 0
        process.kill(pid, 'SIGSTOP')
        await sleep(STANDS_STILL_MS)
        process.kill(pid, 'SIGCONT')
        await fill()
        await job.hasSeen(sent - EVENTS_PER_KILL)
        // The lease of the checkpoints is the first one's: it lives.
        await second.begins(service.address)
        expect(await second.ended).not.toBe(0)
        await fill()
        await job.hasSeen(sent - EVENTS_PER_KILL)
        await job.kill()
        // As above.
        await fill()
        const last = standby(sent)
        await last.begins(service.address)
        expect(await last.ended).toBe(0)
        expect(await outputsOf()).toEqual(countOf(eventsOf(0, sent)))
      },
      3 * KILL_LIMIT_MS,
    )
  })
}

/** A process of the job. */
class JobProcess {
  readonly ended: Promise<number | null>
  readonly #child
  readonly #loaded: Promise<void>
  #highest = -1
  #news: () => void = () => {}

  constructor(script: string, args: readonly string[]) {
    this.#child = spawn(process.execPath, [script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.ended = new Promise((resolve) => this.#child.on('exit', resolve))
    // One that was killed takes no address any more.
    this.#child.stdin.on('error', () => {})
    let isLoaded = () => {}
    this.#loaded = new Promise((resolve) => {
      isLoaded = resolve
    })
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (line === 'loaded') isLoaded()
      const [, highest] = /^cut (\d+)$/.exec(line) ?? []
      this.#highest = Math.max(this.#highest, Number(highest ?? -1))
      this.#news()
    })
  }

  /** Has it begin on the server of this address, once it is loaded. */
  async begins(address: string): Promise<void> {
    const ended = this.ended.then((status) => `the job has ended with ${status} before it was loaded`)
    const end = await Promise.race([this.#loaded, ended])
    if (end !== undefined) throw new Error(end)
    this.#child.stdin.write(`${address}\n`)
  }

  /** Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.ended
  }

  /** Waits until it has made a cut when it had seen this event. A job that ends before has failed. */
  async hasSeen(event: number): Promise<void> {
    const ended = this.ended.then((status) => `the job has ended with ${status}`)
    while (this.#highest < event) {
      const news = new Promise<undefined>((resolve) => {
        this.#news = () => resolve(undefined)
      })
      const end = await Promise.race([news, ended])
      if (end !== undefined) throw new Error(end)
    }
  }
}
