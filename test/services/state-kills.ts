// A process that writes to a store is killed at random moments, or its server, or both; or it is stopped until somebody else has its store.

import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import type { StateBackend } from '../../src/backend/state-backend.js'
import { seededRandom } from '../../src/base/random.js'
import { compileSources } from '../faults/compile-sources.js'
import { runs } from '../support/long.js'
import { bytes, contentBehind, lastOf } from './children/numbered-batches.js'
import { contentsOf } from './random-batches.js'

/** `HOLDFAST_KILLS` asks for another number. */
const KILLS = Number(process.env['HOLDFAST_KILLS'] ?? runs(50, 4))
const STOPS = Math.ceil(KILLS / 4)
const KILL_LIMIT_MS = 60_000
const SEED = 20_261_129
/** A process is killed when so many batches were acknowledged, at most, and so long after that. */
const MOST_BATCHES = 150
const MOST_MS = 15

/** Opens a store as another owner. */
export type OpenStore = (
  address: string,
  name: string,
) => Promise<{ backend: StateBackend; close(): Promise<void> }>

/** Writes until it is killed. */
class Writer {
  readonly #child: ChildProcess
  readonly ended: Promise<unknown>
  acknowledged = 0
  last = ''
  #hasEnded = false
  #news: () => void = () => {}

  constructor(script: string, args: readonly string[]) {
    const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.last = line
      const [, n] = /^acknowledged (\d+)$/.exec(line) ?? []
      this.acknowledged = Math.max(this.acknowledged, Number(n ?? 0))
      this.#news()
    })
    // What it has said is heard first: 'close' comes behind the end of its output.
    this.ended = new Promise((resolve) => {
      child.on('close', () => {
        this.#hasEnded = true
        this.#news()
        resolve(undefined)
      })
    })
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Resolves once this batch was acknowledged. */
  async reaches(n: number): Promise<void> {
    while (this.acknowledged < n) {
      if (this.#hasEnded) throw new Error(`the writer has ended: ${this.last}`)
      await new Promise<void>((resolve) => {
        this.#news = resolve
      })
    }
  }
}

export function stateSurvivesKills(system: string, engine: 'redis' | 'postgres', open: OpenStore): void {
  describe(`a writer of state on ${system}`, () => {
    let service: RunningService
    let script: string
    beforeAll(async () => {
      service = await startService(system)
      script = (await compileSources()).pathOf('test/services/children/state-writer.ts')
    })
    afterAll(() => service?.stop())

    /** What the store holds is what so many batches come to: these are all that were acknowledged, and those that were under way or not. */
    async function checked(name: string, acknowledged: number): Promise<number> {
      const { backend, close } = await open(service.address, name)
      const content = await contentsOf(backend)
      const last = lastOf(content)
      expect(last).toBeGreaterThanOrEqual(acknowledged)
      expect(content).toEqual(contentBehind(last))
      expect(backend.stats().entries).toBe(content.length)
      await close()
      return last
    }

    it(
      `has written what was acknowledged, each batch wholly and once, whether it, its server or both die (${KILLS} kills)`,
      async () => {
        const random = seededRandom(SEED)
        const killed = { writer: 0, server: 0, both: 0 }
        const name = 'killed'
        let last = 0
        let acknowledged = 0
        for (let kill = 0; kill < KILLS; kill++) {
          const writer = new Writer(script, [engine, service.address, name])
          await writer.reaches(last + 1 + Math.floor(random() * MOST_BATCHES))
          await new Promise((resolve) => setTimeout(resolve, Math.floor(random() * MOST_MS)))
          const victim =
            (['writer', 'server', 'both'] as const)[kill % 4 === 1 ? 1 : kill % 4 === 3 ? 2 : 0] ?? 'writer'
          if (victim !== 'writer') await service.kill()
          if (victim === 'both') writer.signal('SIGKILL')
          if (victim !== 'writer') await service.start()
          // One whose server has died goes on by itself before it is killed as well.
          if (victim === 'server') await writer.reaches(writer.acknowledged + 20)
          writer.signal('SIGKILL')
          await writer.ended
          killed[victim]++
          acknowledged += writer.acknowledged - last
          last = await checked(name, writer.acknowledged)
        }
        process.stdout.write(
          `${system}: killed ${JSON.stringify(killed)}, ${acknowledged} batches acknowledged, ${last} in the store; none lost, none twice, none in parts\n`,
        )
      },
      KILLS * KILL_LIMIT_MS,
    )

    it(
      `that was stopped until another has its store is FENCED when it goes on, and changes nothing (${STOPS} stops)`,
      async () => {
        const random = seededRandom(SEED)
        for (let stop = 0; stop < STOPS; stop++) {
          const name = `stopped ${stop}`.replace(' ', '-')
          const writer = new Writer(script, [engine, service.address, name])
          await writer.reaches(1 + Math.floor(random() * MOST_BATCHES))
          writer.signal('SIGSTOP')
          const last = await checked(name, writer.acknowledged)
          const heir = await open(service.address, name)
          await heir.backend.put(bytes('heir'), bytes('1'))
          writer.signal('SIGCONT')
          await writer.ended
          expect(writer.last).toBe('FENCED')
          // What it was told before it was stopped was heard late.
          expect(writer.acknowledged).toBeLessThanOrEqual(last)
          const content = await contentsOf(heir.backend)
          expect(content.filter(([key]) => key !== 'heir')).toEqual(contentBehind(last))
          expect(content).toHaveLength(contentBehind(last).length + 1)
          await heir.close()
        }
        process.stdout.write(`${system}: ${STOPS} writers stopped and fenced, nothing damaged\n`)
      },
      STOPS * KILL_LIMIT_MS,
    )
  })
}
