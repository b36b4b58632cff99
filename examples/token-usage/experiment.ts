import { randomUUID } from 'node:crypto'
import type { BackendName } from './backend-names.js'
import type { EventSource } from './events.js'
import { InputError } from './input-error.js'
import { type BucketPlace, isStateServer, openState, requireAnswers, stateAddress } from './keepers.js'
import { planKills } from './kill-plan.js'
import type { Progress } from './progress.js'
import type { RunResult, WorkerMessage, WorkerTask } from './protocol.js'
import { randomFrom } from './random.js'
import { runWorker } from './run-worker.js'
import { fillStream } from './server-source.js'
import type { ServerPlace } from './servers.js'
import { openSource, type SourceSpec } from './source.js'
import { judge, type Kill, type Verdict } from './verdict.js'
import type { WorkingDirectory } from './working-directory.js'

const BATCH_SIZE = 1_000
/** The run to be killed makes about so many checkpoints, and reports its progress so often. */
const CHECKPOINTS_PER_RUN = 25
const BATCHES_PER_RUN = 500
const SHORTEST_SAVE_MS = 20
const LONGEST_SAVE_MS = 10_000

export interface ExperimentOptions {
  readonly source: SourceSpec
  /** By way of which the requests come; absent: straight from the source. */
  readonly server?: Omit<ServerPlace, 'stream'>
  readonly backend: BackendName
  /** Where its server is. */
  readonly backendAddress?: string
  /** Where checkpoints go; absent: into the directory. */
  readonly storage?: BucketPlace
  readonly kills: number
  readonly seedKill: number
  /** How long the run to be killed should take in seconds, kills aside. 0: as fast as it goes. */
  readonly paceSeconds: number
  /** From one checkpoint to the next. Default: a twenty-fifth of the pace. */
  readonly checkpointEveryMs?: number
}

export interface ExperimentResult {
  readonly source: string
  readonly uninterrupted: RunResult
  readonly killed: RunResult
  readonly kills: readonly Kill[]
  readonly verdict: Verdict
}

/** Runs the job once without interruption and once with kills, each in a process of its own, and compares. */
export class Experiment {
  readonly #options: ExperimentOptions
  readonly #directory: WorkingDirectory
  readonly #progress: Progress
  readonly #signal: AbortSignal
  /** What is put on servers is named after it. */
  readonly #id: string = `token-usage-${randomUUID()}`
  readonly #stateNames: string[] = []
  #source: SourceSpec

  constructor(
    options: ExperimentOptions,
    directory: WorkingDirectory,
    progress: Progress,
    signal: AbortSignal,
  ) {
    this.#options = options
    this.#source = options.source
    this.#directory = directory
    this.#progress = progress
    this.#signal = signal
  }

  async run(): Promise<ExperimentResult> {
    // Opened here as well as in the workers: whatever is wrong with it is said before anything else.
    const requests = await openSource(this.#source)
    const { server, backend, backendAddress, storage } = this.#options
    await requireAnswers(isStateServer(backend) ? backend : undefined, backendAddress, storage)
    const filled = server === undefined ? undefined : await this.#fill(requests, server)
    const { description, details } = filled?.source ?? requests
    const { path, kept } = this.#directory
    this.#progress.note(`requests: ${description}`)
    for (const detail of details) this.#progress.note(`  ${detail}`)
    if (isStateServer(backend))
      this.#progress.note(`state: on ${backend}, as ${this.#id} (emptied at the end)`)
    else if (storage === undefined)
      this.#progress.note(`checkpoints: ${path}${kept ? '' : ' (removed at the end)'}`)
    else this.#progress.note(`checkpoints: in bucket ${storage.bucket}, under ${this.#id} (they stay there)`)
    try {
      const uninterrupted = await this.#runUninterrupted()
      if (uninterrupted.events === 0) throw new InputError(nothingToDo(uninterrupted.skippedLines))
      const { killed, kills } = await this.#runWithKills(uninterrupted.events)
      const verdict = judge(uninterrupted, killed, kills)
      return { source: description, uninterrupted, killed, kills, verdict }
    } finally {
      this.#progress.close()
      await filled?.remove()
      await this.#emptyState().catch((error: Error) => {
        this.#progress.note(`the state on the server was not emptied: ${error.message}`)
      })
    }
  }

  async #fill(requests: EventSource, server: Omit<ServerPlace, 'stream'>) {
    const progress = this.#progress
    progress.begin(`that fills ${server.server}`)
    try {
      const onProgress = (fraction: number, events: number) => progress.advance(fraction, events)
      const filled = await fillStream(requests, server, { signal: this.#signal, onProgress })
      this.#source = { kind: 'server', ...filled.source }
      progress.end(`done: ${count(filled.source.events)} requests`)
      return filled
    } catch (error) {
      progress.close()
      throw error
    }
  }

  async #runUninterrupted(): Promise<RunResult> {
    const task = await this.#task('uninterrupted', {
      saveEveryMs: this.#saveEveryMs,
      batchSize: BATCH_SIZE,
      eventsPerSecond: null,
    })
    this.#progress.begin('without interruption')
    const { result } = await runWorker(task, {
      signal: this.#signal,
      onMessage: (message) => this.#show(message),
    })
    if (result === undefined) throw new Error('a run without kills has no result')
    this.#progress.end(`done: ${count(result.events)} requests in ${count(result.windows)} windows`)
    return result
  }

  async #runWithKills(totalEvents: number): Promise<{ killed: RunResult; kills: Kill[] }> {
    const { seedKill, paceSeconds } = this.#options
    const task = await this.#task('killed', {
      saveEveryMs: this.#saveEveryMs,
      batchSize: Math.min(BATCH_SIZE, Math.ceil(totalEvents / BATCHES_PER_RUN)),
      eventsPerSecond: paceSeconds > 0 ? totalEvents / paceSeconds : null,
    })
    const plan = planKills(randomFrom(seedKill), this.#options.kills, totalEvents)
    const kills: Kill[] = []
    for (;;) {
      const kill = plan[kills.length]
      this.#progress.begin(kills.length === 0 ? 'to be killed' : `after kill ${kills.length}`)
      let checkpointEvents = 0
      const run = await runWorker(
        kill === undefined ? task : { ...task, waitForKillAt: kill.latestAtEvents },
        {
          ...(kill !== undefined && { kill }),
          signal: this.#signal,
          onMessage: (message) => {
            if (message.type === 'checkpoint') checkpointEvents = message.events
            this.#show(message)
          },
        },
      )
      const { restored } = run.started
      const before = kills.at(-1)
      if (before !== undefined && restored !== undefined) kills[kills.length - 1] = { ...before, restored }
      if (run.result !== undefined) {
        this.#progress.end(
          `done: ${count(run.result.events)} requests in ${count(run.result.windows)} windows`,
        )
        return { killed: run.result, kills }
      }
      this.#progress.end(`killed with SIGKILL: it had reported ${count(run.events)} requests`)
      kills.push({ atEvents: run.events, checkpointEvents })
    }
  }

  async #task(
    name: string,
    pace: Pick<WorkerTask, 'saveEveryMs' | 'batchSize' | 'eventsPerSecond'>,
  ): Promise<WorkerTask> {
    const { backend, backendAddress, storage } = this.#options
    const named = `${this.#id}-${name}`
    this.#stateNames.push(named)
    return {
      source: this.#source,
      backend,
      ...(backendAddress !== undefined && { backendAddress }),
      ...(storage !== undefined && { storage }),
      name: named,
      directory: await this.#directory.forRun(name),
      ...pace,
    }
  }

  async #emptyState(): Promise<void> {
    const { backend, backendAddress } = this.#options
    if (!isStateServer(backend)) return
    for (const name of this.#stateNames) {
      await using state = await openState(backend, stateAddress(backend, backendAddress), name)
      await state.backend.clear()
    }
  }

  get #saveEveryMs(): number {
    const { paceSeconds, checkpointEveryMs } = this.#options
    return (
      checkpointEveryMs ??
      Math.max(SHORTEST_SAVE_MS, Math.min(LONGEST_SAVE_MS, (paceSeconds * 1000) / CHECKPOINTS_PER_RUN))
    )
  }

  #show(message: WorkerMessage): void {
    if (message.type === 'progress') this.#progress.advance(message.fraction, message.events)
    if (message.type === 'checkpoint') this.#progress.checkpoint()
    if (message.type === 'started' && message.restored !== undefined) {
      const { checkpointId, events, durationMs } = message.restored
      this.#progress.note(
        `restored ${checkpointId}: as of request ${count(events)}, in ${durationMs.toFixed(0)} ms`,
      )
    }
  }
}

function nothingToDo(skippedLines: number): string {
  const skipped = skippedLines > 0 ? ` but ${count(skippedLines)} broken lines` : ''
  return `there are no requests in the input${skipped}; name another file with --input`
}

function count(number: number): string {
  return number.toLocaleString('en-US')
}
