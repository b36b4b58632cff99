import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  CheckpointCoordinator,
  FileCheckpointStorage,
  MemoryStateBackend,
  type SyncStateBackend,
} from '../../index.js'
import { fileError } from '../../view/file-failure.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'
import { countText, durationText } from '../units.js'
import { countFrom } from './scan.js'

interface BenchOptions {
  readonly entries: string
  readonly seconds: string
}

/** What one step did, and how long that took. */
interface Measured {
  readonly engine: string
  readonly step: string
  readonly entries: number
  readonly ms: number
}

const VALUE_BYTES = 100
/** More would take more of the disk than anybody expects of a look at it. */
const MAX_ENTRIES = 5_000_000
/** Operations between two looks at the clock. */
const CHUNK = 500

/** Measures both engines, and checkpoints, on the disk of a directory; within bounds of time and space, and leaves nothing there. */
export async function bench(
  { terminal, signal }: CommandContext,
  directory: string | undefined,
  options: BenchOptions,
): Promise<number> {
  const entries = countFrom('--entries', options.entries)
  const seconds = countFrom('--seconds', options.seconds)
  if (entries < 1 || entries > MAX_ENTRIES)
    throw new UsageError(`--entries takes 1 to ${countText(MAX_ENTRIES)}; not ${options.entries}`)
  if (seconds < 1)
    throw new UsageError(`--seconds takes a whole number of at least 1; not ${options.seconds}`)
  const where = directory ?? tmpdir()
  const scratch = await mkdtemp(join(where, '.holdfast-bench-')).catch((error: unknown) => {
    throw fileError(where, error)
  })
  try {
    const measured: Measured[] = []
    const progress = await terminal.progress('measuring', STEPS.memory + STEPS.lmdb)
    const bounds = { entries, limitMs: seconds * 1_000, signal }
    const { LmdbStateBackend } = await import('../../lmdb.js')
    for (const engine of ['memory', 'lmdb'] as const) {
      const backend =
        engine === 'memory'
          ? new MemoryStateBackend()
          : await LmdbStateBackend.open({ path: join(scratch, 'store') })
      try {
        for await (const each of steps(engine, backend, join(scratch, `checkpoints-${engine}`), bounds)) {
          measured.push(each)
          progress.advance(measured.length)
        }
      } finally {
        await backend.close()
      }
    }
    progress.end()
    if (terminal.json)
      for (const each of measured) await terminal.object({ ...each, ms: Math.round(each.ms) })
    else
      await terminal.table(
        ['ENGINE', 'STEP', 'ENTRIES', 'TOOK', 'IN A SECOND'],
        measured.map(({ engine, step, entries: count, ms }) => [
          engine,
          step,
          countText(count),
          durationText(ms),
          countText(Math.round((count * 1_000) / Math.max(ms, 0.001))),
        ]),
      )
    return ExitStatus.ok
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

interface Bounds {
  readonly entries: number
  readonly limitMs: number
  readonly signal: AbortSignal
}

/** Puts, flush (on LMDB), gets, scan, checkpoint, restore. */
const STEPS = { memory: 5, lmdb: 6 } as const

async function* steps(
  engine: string,
  backend: SyncStateBackend,
  checkpoints: string,
  bounds: Bounds,
): AsyncGenerator<Measured, void, undefined> {
  const { signal } = bounds
  const keys = new KeysInTurn()
  const put = await repeated(bounds, (i) => backend.putSync(keys.at(i), VALUE))
  yield { engine, step: 'put', ...put }
  const within = { ...bounds, entries: put.entries }
  // Where nothing is durable, there is nothing to measure.
  if (backend.supports.durable)
    yield { engine, step: 'flush', ...(await timed(put.entries, () => backend.flush())) }
  // A large odd step goes through all of them in an order that no cache foresees.
  yield {
    engine,
    step: 'get',
    ...(await repeated(within, (i) => backend.getSync(keys.at((i * 7_919) % put.entries)))),
  }
  const scan = backend.scanSync()
  yield { engine, step: 'scan', ...(await repeated(within, () => scan.next())) }
  scan.return?.()
  const storage = new FileCheckpointStorage(checkpoints)
  const coordinator = new CheckpointCoordinator(backend, { storage })
  try {
    const make = () => coordinator.createCheckpoint({ signal })
    yield { engine, step: 'checkpoint', ...(await timed(put.entries, make)) }
    const restore = () => coordinator.restoreLatest({ signal })
    yield { engine, step: 'restore', ...(await timed(put.entries, restore)) }
  } finally {
    await coordinator.shutdown()
  }
}

/** Does it for each number below `entries`, until the time is over; other work has its turns between. */
async function repeated({ entries, limitMs, signal }: Bounds, work: (i: number) => void) {
  const beganAtMs = performance.now()
  let done = 0
  let ms = 0
  while (done < entries && ms < limitMs) {
    const end = Math.min(entries, done + CHUNK)
    const chunkAtMs = performance.now()
    for (; done < end; done++) work(done)
    ms += performance.now() - chunkAtMs
    if (done % (CHUNK * 20) !== 0) continue
    await nextTurn()
    signal.throwIfAborted()
    if (performance.now() - beganAtMs > 2 * limitMs) break
  }
  return { entries: done, ms }
}

async function timed(entries: number, work: () => Promise<unknown>) {
  const beganAtMs = performance.now()
  await work()
  return { entries, ms: performance.now() - beganAtMs }
}

const VALUE: Uint8Array = new Uint8Array(VALUE_BYTES).fill(0x2a)

/** Keys as they are often: text with a number in it. */
class KeysInTurn {
  readonly #key = Buffer.from('user:0000000000')

  /** Valid until the next one. */
  at(i: number): Uint8Array {
    let rest = i
    for (let digit = this.#key.length - 1; digit > 4; digit--) {
      this.#key[digit] = 0x30 + (rest % 10)
      rest = Math.floor(rest / 10)
    }
    return this.#key
  }
}
