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
import { asInOrder, type CountedEvent, type CountedOutput, countOf, eventsOf } from './children/counted.js'

/** `HOLDFAST_KILLS` asks for another number. */
const KILLS = Number(process.env['HOLDFAST_KILLS'] ?? 50)
/** A server that was killed may take seconds to come back, and the job as long to find it. */
const KILL_LIMIT_MS = 60_000
/** Longer than what brokers take for a lost connection to one another, shorter than what a client gives up for. */
const STANDS_STILL_MS = 1_500
/** What a job takes longer for than it is left at work. */
const EVENTS_PER_KILL = 80
/** Jobs at work are killed at most so long after they have made a cut. */
const MOST_MS = 120
/** Those that open what they need, which takes about so long, are killed within that time. */
const OPENING_MS = 150

/** A process that dies within a second spends a fifth of its time on optimizing what it is about to do. */
const FOR_A_SHORT_LIFE = ['--no-opt']

/** What a killed job reads and writes. */
export interface KilledPair {
  /** Of the job in `children/counting-systems.ts`. */
  readonly name: string
  /** Puts events where the job reads them. */
  fill(events: readonly CountedEvent[]): Promise<void>
  /** What counts at the sink, in order. */
  outputs(): Promise<readonly unknown[]>
  /** Whether the events of a key come in their order. Default `true`; where entries are claimed anew, they do not. */
  readonly isOrdered?: boolean
  /** Where the job has its state: in memory, with checkpoints in a folder, or on the server itself. Default `'memory'`. */
  readonly keeper?: 'memory' | 'engine'
}

/** A server, and the jobs on it, which are killed together. */
export interface KilledSystem {
  readonly name: string
  service(): RunningService
  readonly pairs: readonly KilledPair[]
  /** Of so many kills one is of the server, and one of both. Default 8; more where the server takes long to come back. */
  readonly killsPerServer?: number
}

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

/**
 * Jobs from a system to the same system, with kills of their process, the server, and both: nothing is lost at the sinks, and nothing is there
 * twice. The jobs are in one process: it is its start that takes longest, and where each of them is when it dies is left to chance all the same.
 */
export function killCycles({ name, service, pairs, killsPerServer = 8 }: KilledSystem): void {
  describe(`jobs on ${name} that are killed`, () => {
    let folder: string
    let script: string
    let sent = 0
    const processes: JobProcess[] = []
    const fill = async (filled: readonly KilledPair[]) => {
      const events = eventsOf(sent, sent + EVENTS_PER_KILL)
      await Promise.all(filled.map((pair) => pair.fill(events)))
      sent += EVENTS_PER_KILL
    }
    const outputsOf = async (pair: KilledPair) => {
      const outputs = (await pair.outputs()) as readonly CountedOutput[]
      return pair.isOrdered === false ? asInOrder(outputs) : outputs
    }
    /** A process that has loaded everything, or will have soon. `until`: it ends with this event. */
    const standby = (jobs: readonly KilledPair[], until = Infinity) => {
      const names = jobs.map((pair) => pair.name)
      const made = new JobProcess(script, folder, until, names)
      processes.push(made)
      return made
    }
    const begin = (job: JobProcess) => job.begins(service().address, sent)
    /** Waits until all jobs have made a cut with the first of the events that were put there last. */
    const areAtWork = (job: JobProcess) => job.hasSeen(sent - EVENTS_PER_KILL)
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
      `J3: put everything out once, whether they, their server or both die (${KILLS} kills of ${pairs.map((pair) => pair.name).join(', ')})`,
      async () => {
        const drawn = seed()
        const random = seededRandom(drawn)
        const cycles: Record<Victim, number> = { job: 0, opening: 0, server: 0, both: 0 }
        const server = service()
        const midway = pairs.map(() => 0)
        // The next process is loaded beside the one that works.
        let next = standby(pairs)
        for (const victim of victims(KILLS, killsPerServer, random)) {
          const job = next
          next = standby(pairs)
          await begin(job)
          if (victim === 'opening') {
            await fill(pairs)
            await sleep(random() * OPENING_MS)
          } else {
            await job.isOpen()
            await fill(pairs)
            await areAtWork(job)
            await sleep(random() * MOST_MS)
          }
          if (victim === 'server' || victim === 'both') await server.kill()
          if (victim === 'both') await job.kill()
          if (victim === 'server' || victim === 'both') await server.start()
          if (victim === 'server') {
            // Jobs whose server has died go on by themselves before they are killed as well.
            await fill(pairs)
            await areAtWork(job)
          }
          await job.kill()
          for (const place of pairs.keys())
            if (job.highest(place) < sent - 1) midway[place] = (midway[place] ?? 0) + 1
          cycles[victim]++
        }
        await next.kill()
        // It ends with the last event that it is given, so there must be one that no cut has.
        await fill(pairs)
        const last = standby(pairs, sent)
        await begin(last)
        expect(await last.ended).toBe(0)
        const expected = countOf(eventsOf(0, sent))
        for (const [place, pair] of pairs.entries()) {
          const outputs = await outputsOf(pair)
          const { lost, doubled } = compared(outputs, expected)
          process.stdout.write(
            `${pair.name}: killed ${JSON.stringify(cycles)}, ${midway[place]} times at work, ${sent} events, lost ${lost}, doubled ${doubled} (HOLDFAST_KILLS_SEED=${drawn})\n`,
          )
          expect(outputs).toEqual(expected)
        }
      },
      (KILLS + 2) * KILL_LIMIT_MS,
    )

    it(
      'J3: go on where their server stands still for a while, and beside a second process of the same job',
      async () => {
        // Of a state on the server, the second one would be the owner.
        const own = pairs.filter(({ keeper }) => keeper !== 'engine')
        const job = standby(own)
        const seconds = own.map((pair) => standby([pair]))
        await begin(job)
        await fill(own)
        await areAtWork(job)
        const pid = service().pid() ?? 0
        process.kill(pid, 'SIGSTOP')
        await sleep(STANDS_STILL_MS)
        process.kill(pid, 'SIGCONT')
        await fill(own)
        await areAtWork(job)
        // The lease of the checkpoints is the first one's: it lives.
        for (const second of seconds) {
          await begin(second)
          expect(await second.ended).not.toBe(0)
        }
        await fill(own)
        await areAtWork(job)
        await job.kill()
        // As above.
        await fill(own)
        const last = standby(own, sent)
        await begin(last)
        expect(await last.ended).toBe(0)
        const expected = countOf(eventsOf(0, sent))
        for (const pair of own) expect(await outputsOf(pair)).toEqual(expected)
      },
      3 * KILL_LIMIT_MS,
    )
  })
}

/** A process with jobs. */
class JobProcess {
  readonly ended: Promise<number | null>
  readonly #child
  readonly #loaded: Promise<void>
  readonly #opened: Promise<void>
  /** Of each job, what its last cut has seen. */
  readonly #highest: number[]
  #news: () => void = () => {}

  constructor(script: string, folder: string, until: number, names: readonly string[]) {
    const args = [...FOR_A_SHORT_LIFE, script, folder, String(until), ...names]
    this.#child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.ended = new Promise((resolve) => this.#child.on('exit', resolve))
    // One that was killed takes no address any more.
    this.#child.stdin.on('error', () => {})
    this.#highest = names.map(() => -1)
    const lines = createInterface({ input: this.#child.stdout })
    const said = (wanted: string) =>
      new Promise<void>((resolve) => lines.on('line', (line) => line === wanted && resolve()))
    this.#loaded = said('loaded')
    this.#opened = said('opened')
    lines.on('line', (line) => {
      const [, place, highest] = /^cut (\d+) (-?\d+)$/.exec(line) ?? []
      if (place === undefined) return
      this.#highest[Number(place)] = Number(highest)
      this.#news()
    })
  }

  /** What the last cut of a job has seen that this has heard of. */
  highest(place: number): number {
    return this.#highest[place] ?? -1
  }

  /** Has its jobs begin on the server of this address, where so many events are, once it is loaded. */
  async begins(address: string, events: number): Promise<void> {
    await this.#unlessEnded(this.#loaded)
    this.#child.stdin.write(`${address} ${events}\n`)
  }

  /** Waits until its jobs are open. */
  async isOpen(): Promise<void> {
    await this.#unlessEnded(this.#opened)
  }

  /** Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.ended
  }

  /** Waits until each of its jobs has made a cut when it had seen this event. */
  async hasSeen(event: number): Promise<void> {
    while (this.#highest.some((highest) => highest < event)) {
      const news = new Promise<void>((resolve) => {
        this.#news = resolve
      })
      await this.#unlessEnded(news)
    }
  }

  /** Jobs that end before have failed. */
  async #unlessEnded(awaited: Promise<void>): Promise<void> {
    const ended = this.ended.then((status) => `the jobs have ended with ${status}`)
    const end = await Promise.race([awaited, ended])
    if (end !== undefined) throw new Error(end)
  }
}
