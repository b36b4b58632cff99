import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterAll, beforeAll } from 'vitest'
import { run } from '../../src/cli/run.js'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from '../../src/index.js'
import { LmdbStateBackend } from '../../src/lmdb.js'
import {
  aggregating,
  defineState,
  int64,
  list,
  map,
  none,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
} from '../../src/state.js'

/** What the checkpoints in `typed` and the LMDB store in `store` hold. */
export const placesSchema = defineState({
  key: tuple(utf8, utf8),
  states: {
    totals: aggregating(struct({ count: uint32, tokens: int64 }), (total, tokens: number) => {
      total.count++
      total.tokens += tokens
    }),
    seen: map(utf8, none, { ttl: { afterMs: 3_600_000 } }),
    last: list(utf8),
  },
})

/** Twenty keys, in each of the states; `round` tells one filling from the next. */
export async function fillStates(
  store: StateStore<typeof placesSchema, 'sync'>,
  round: number,
): Promise<void> {
  for (let i = 0; i < 20; i++) {
    const key: [string, string] = [`model${i % 3}`, `tenant${i}`]
    store.totals.add(key, i + round)
    store.seen.put(key, `r${round}`)
    if (i < 2) store.last.append(key, `x${round}`)
  }
}

interface Places {
  readonly directory: string
  /** A path in that directory. */
  readonly at: (...names: string[]) => string
}

/**
 * A directory with what the tests of a file ask the command line about, which is removed behind them:
 * `typed`, three checkpoints of typed state; `plain`, three of 12,000 plain entries; `store`, an LMDB store of typed state;
 * `a-file.ndjson`, an entry to import.
 */
export function commandLinePlaces(): Places {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-cli-'))
  const at = (...names: string[]) => join(directory, ...names)
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  beforeAll(async () => {
    writeFileSync(at('a-file.ndjson'), JSON.stringify({ key: '0x00', value: '0x' }))
    await makeTyped(at('typed'))
    await makePlain(at('plain'))
    const lmdb = await LmdbStateBackend.open({ path: at('store') })
    await fillStates(await StateStore.open(lmdb, placesSchema), 0)
    await lmdb.close()
  })
  return { directory, at }
}

async function makeTyped(path: string): Promise<void> {
  const backend = new MemoryStateBackend()
  const store = await StateStore.open(backend, placesSchema)
  const coordinator = new CheckpointCoordinator(backend, {
    storage: new FileCheckpointStorage(path),
    source: () => ({ offset: 7 }),
  })
  for (const round of [0, 1]) {
    await fillStates(store, round)
    await coordinator.createCheckpoint()
  }
  await coordinator.shutdown()
  await backend.close()
}

async function makePlain(path: string): Promise<void> {
  const backend = new MemoryStateBackend()
  const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(path) })
  for (let i = 0; i < 12_000; i++) {
    backend.putSync(
      Buffer.from(`user:${String(i).padStart(5, '0')}`),
      Buffer.from(`{"n":${i}}`),
      i % 2 ? { ttlMs: 1e9 } : {},
    )
  }
  backend.putSync(Uint8Array.of(0, 255), Uint8Array.of(1, 2, 3))
  await coordinator.createCheckpoint()
  backend.deleteSync(Buffer.from('user:00001'))
  backend.putSync(Buffer.from('user:00002'), Buffer.from('changed'))
  await coordinator.createCheckpoint()
  await coordinator.shutdown()
  await backend.close()
}

export interface Outcome {
  readonly status: number
  readonly out: string
  readonly err: string
  /** Both, in the order in which they were written. */
  readonly all: string
}

/** Runs the command line in this process. */
export const holdfast = (...args: string[]): Promise<Outcome> => holdfastWith(() => {}, args)

/** The same on a terminal of that width. */
export const holdfastOn = (
  columns: number,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> => holdfastWith(() => {}, args, undefined, { columns, env })

interface Seat {
  /** Of the terminal that stdout is. */
  readonly columns: number
  readonly env: NodeJS.ProcessEnv
}

/** The same; `onListening` is given what a signal would call; with `onShown`, stderr is a terminal that tells what it shows. */
export async function holdfastWith(
  onListening: (interrupt: () => void) => void,
  args: readonly string[],
  onShown?: (text: string) => void,
  seat?: Seat,
): Promise<Outcome> {
  const out: Buffer[] = []
  const err: Buffer[] = []
  const all: Buffer[] = []
  const collecting = (into: Buffer[]) =>
    new Writable({
      write: (piece: Buffer, _encoding, done) => {
        into.push(piece)
        all.push(piece)
        if (into === err) onShown?.(piece.toString())
        done()
      },
    }) as unknown as NodeJS.WriteStream
  const status = await run(args, {
    stdout: Object.assign(collecting(out), seat === undefined ? {} : { isTTY: true, columns: seat.columns }),
    stderr: Object.assign(collecting(err), { isTTY: onShown !== undefined, columns: 80 }),
    env: seat?.env ?? {},
    on: (signal, listener) => {
      if (signal === 'SIGINT') onListening(listener)
    },
    exit: (code) => {
      throw new Error(`exit ${code}`)
    },
  })
  const [text, notes, both] = [out, err, all].map((pieces) => Buffer.concat(pieces).toString())
  return { status, out: text ?? '', err: notes ?? '', all: both ?? '' }
}

/** A savepoint of texts, in that directory. */
export async function savepointOf(
  path: string,
  entries: readonly (readonly [string, string])[],
): Promise<void> {
  const backend = new MemoryStateBackend()
  for (const [key, value] of entries) backend.putSync(Buffer.from(key), Buffer.from(value))
  const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(path) })
  await coordinator.createCheckpoint()
  await coordinator.shutdown()
  await backend.close()
}

export const linesOf = ({ out }: Outcome): string[] => out.trimEnd().split('\n')
export const objectsOf = (outcome: Outcome) => linesOf(outcome).map((line) => JSON.parse(line))
