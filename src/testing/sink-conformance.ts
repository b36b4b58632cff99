import assert from 'node:assert/strict'
import type { JsonValue } from '../base/json.js'
import type { EpochId, PreparedEpoch, Sink, SinkState, SinkWriter } from '../job/sink/sink.js'
import type { StorageSuiteRunner } from './storage-conformance.js'

/** A fresh sink for one test. */
export interface SinkFixture<Output> {
  readonly sink: Sink<Output>
  /** Outputs that differ from each other: the one of each number. */
  output(number: number): Output
  /** What has arrived where outputs go, in order. Of a transactional sink: what counts, once the sink was opened and closed again. */
  read(): Promise<readonly Output[]>
  /**
   * Whether what the sink keeps in the state of the job is as it was in the cut after a crash (`'cut'`), as with checkpoints, or as it was
   * last (`'all'`), as on an engine that keeps its state itself. Default `'cut'`.
   */
  readonly stateAfterCrash?: 'cut' | 'all'
  /**
   * What becomes of outputs that were committed after a cut that a job goes back to: the sink undoes them, or they stay where they went, as with
   * most systems outside; what follows comes behind them. Default `'undone'`.
   */
  readonly committedAfterOlderCut?: 'undone' | 'kept'
  /** Removes everything. */
  dispose(): Promise<void>
}

/** Where a process dies. */
type Step = 'opened' | 'written' | 'prepared' | 'cut' | 'committed'

/**
 * Checks what a job relies on in a {@link Sink}: with crashes before and after each step. `createFixture` is called once per test.
 *
 * @example
 * runSinkConformanceSuite({ describe, it }, 'MySink', () => openMyFixture())
 */
export function runSinkConformanceSuite<Output>(
  runner: StorageSuiteRunner,
  title: string,
  createFixture: () => Promise<SinkFixture<Output>>,
): void {
  const test = (name: string, body: (job: SinkUser<Output>) => Promise<void>) =>
    runner.it(name, async () => {
      const fixture = await createFixture()
      try {
        await body(new SinkUser(fixture))
      } finally {
        await fixture.dispose()
      }
    })
  runner.describe(`${title} keeps the contract of sinks:`, () => {
    test('outputs arrive, once each and in order', async (user) => {
      await user.run(3, 2)
      await user.run(2, 3)
      await user.assertCounts()
    })

    test('J5: an epoch without outputs is prepared and committed', async (user) => {
      await user.run(1, 0)
      await user.run(1, 2)
      await user.run(1, 0)
      await user.assertCounts()
    })

    test('the token is JSON, and committing twice changes nothing', async (user) => {
      await user.run(1, 3)
      const writer = await user.open()
      for (const prepared of user.prepared) await writer.commit(prepared)
      await writer.close()
      await user.assertCounts()
    })

    test('close may be called twice', async (user) => {
      const writer = await user.open()
      await writer.close()
      await writer.close()
    })

    test('a claim opens what the sink itself would open, where it has one', async (user) => {
      await user.run(1, 3)
      await user.claimAndClose()
      user.claims = true
      await user.crash('cut', 2)
      await user.run(2, 2)
      await user.assertCounts()
    })

    test('a claim that was given up before it began takes the sink from nobody', async (user) => {
      await user.giveUpClaimWhileOpen()
      await user.run(1, 2)
      await user.assertCounts()
    })

    for (const step of ['opened', 'written', 'prepared', 'cut', 'committed'] as const) {
      test(`J3: a crash in the first epoch, once it was ${step}`, async (user) => {
        await user.crash(step, 3)
        await user.assertCounts()
        await user.run(2, 2)
        await user.assertCounts()
      })

      test(`J3: a crash in a later epoch, once it was ${step}`, async (user) => {
        await user.run(2, 3)
        await user.crash(step, 4)
        await user.crash(step, 1)
        await user.run(1, 2)
        await user.assertCounts()
      })
    }

    test('J2: after going back to an older cut new outputs are not taken for those that came after it', async (user) => {
      await user.run(1, 2)
      const older = user.save()
      await user.run(2, 3)
      user.goBackTo(older)
      await user.run(1, 4)
      await user.assertCounts()
    })
  })
}

interface Saved {
  readonly prepared: readonly PreparedEpoch[]
  readonly counted: readonly number[]
  readonly state: ReadonlyMap<number, JsonValue>
}

/** What a sink keeps in the state of a job. */
class KeptOutputs implements SinkState {
  entries: Map<number, JsonValue> = new Map()

  put(number: number, output: JsonValue): void {
    this.entries.set(number, JSON.parse(JSON.stringify(output)) as JsonValue)
  }

  read(from: number, until: number): (readonly [number, JsonValue])[] {
    const found = [...this.entries].filter(([number]) => number >= from && number < until)
    return found.sort(([left], [right]) => left - right)
  }

  removeFrom(from: number, until: number): void {
    for (const [number] of this.read(from, until)) this.entries.delete(number)
  }
}

/** A job as its sink sees it. */
class SinkUser<Output> {
  readonly #fixture: SinkFixture<Output>
  /** Whether it opens what a claim resolves. */
  claims = false
  /** What the newest cut names. */
  prepared: readonly PreparedEpoch[] = []
  /** The outputs that count by it. */
  #counted: readonly number[] = []
  readonly #state = new KeptOutputs()
  /** As the newest cut has it. */
  #cutState: ReadonlyMap<number, JsonValue> = new Map()
  #next = 0
  #lineage = 0
  #epoch = 0

  constructor(fixture: SinkFixture<Output>) {
    this.#fixture = fixture
  }

  async open(): Promise<SinkWriter<Output>> {
    if (this.#fixture.stateAfterCrash !== 'all') this.#state.entries = new Map(this.#cutState)
    const { sink } = this.#fixture
    const claimed = this.claims ? await sink.claim?.({}) : undefined
    return await (claimed ?? sink).open({ prepared: this.prepared, state: this.#state })
  }

  /** As a job does whose state cannot be restored. */
  async claimAndClose(): Promise<void> {
    const claimed = await this.#fixture.sink.claim?.({})
    await claimed?.close()
    await claimed?.close()
  }

  async giveUpClaimWhileOpen(): Promise<void> {
    const { sink } = this.#fixture
    const writer = await this.open()
    await this.#epochUpTo('committed', writer, 2)
    if (sink.claim !== undefined)
      await assert.rejects(sink.claim({ signal: AbortSignal.abort() }), { code: 'ABORTED' })
    await this.#epochUpTo('committed', writer, 2)
    await writer.close()
  }

  /** Some whole epochs, in one life of the job. */
  async run(epochs: number, outputsPerEpoch: number): Promise<void> {
    const writer = await this.open()
    for (let i = 0; i < epochs; i++) await this.#epochUpTo('committed', writer, outputsPerEpoch)
    await writer.close()
  }

  /** An epoch that comes only so far: the process dies. What it has open stays open. */
  async crash(step: Step, outputs: number): Promise<void> {
    const writer = await this.open()
    await this.#epochUpTo(step, writer, outputs)
    await writer.close()
  }

  save(): Saved {
    return { prepared: this.prepared, counted: this.#counted, state: this.#cutState }
  }

  goBackTo({ prepared, counted, state }: Saved): void {
    this.#cutState = state
    this.#state.entries = new Map(state)
    this.prepared = prepared
    if (this.#fixture.committedAfterOlderCut !== 'kept') this.#counted = counted
    this.#lineage++
    this.#epoch = 0
  }

  async assertCounts(): Promise<void> {
    const writer = await this.open()
    await writer.close()
    const expected = this.#counted.map((number) => this.#fixture.output(number))
    const found = await this.#fixture.read()
    if (this.#fixture.sink.guarantee === 'transactional') {
      assert.deepEqual(found, expected)
      return
    }
    // An output may have come again, or be one that no cut came after.
    for (const each of expected) {
      assert.ok(
        found.some((other) => JSON.stringify(other) === JSON.stringify(each)),
        `lost: ${JSON.stringify(each)}`,
      )
    }
  }

  async #epochUpTo(step: Step, writer: SinkWriter<Output>, outputs: number): Promise<void> {
    if (step === 'opened') return
    const epoch: EpochId = { lineage: `lineage-${this.#lineage}`, number: this.#epoch }
    const numbers = Array.from({ length: outputs }, (_, i) => this.#next + i)
    // In two parts, as a job does.
    const middle = Math.ceil(outputs / 2)
    const all = numbers.map((number) => this.#fixture.output(number))
    await writer.write(all.slice(0, middle), epoch, 0)
    await writer.write(all.slice(middle), epoch, middle)
    // What a job does again after a crash it need not do alike.
    this.#next += outputs
    if (step === 'written') return
    const token = JSON.parse(JSON.stringify(await writer.prepare(epoch))) as JsonValue
    if (step === 'prepared') return
    this.prepared = [...this.prepared.slice(-1), { epoch, token }]
    this.#cutState = new Map(this.#state.entries)
    this.#counted = [...this.#counted, ...numbers]
    this.#epoch++
    if (step === 'cut') return
    await writer.commit({ epoch, token })
    this.prepared = this.prepared.slice(-1)
  }
}
