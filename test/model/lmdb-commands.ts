// What happens to a persistent store beside reads and writes: it is closed and opened again, its process dies, it is
// compacted, the clock is another one when it comes back.

import { join } from 'node:path'
import fc from 'fast-check'
import type { EntryBlock } from '../../src/backend/entry-block.js'
import { EntryBlockCursor } from '../../src/backend/entry-block.js'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import type { LmdbStateBackendOptions } from '../../src/lmdb/types.js'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import { copyOfStore } from '../support/logged-stores.js'
import { afterRestore, type CommandKind, kind, save, streamOf } from './commands.js'
import { onBoth, outcomeOf, same, type World, wholeContent } from './world.js'

/** Where each store is, and how it was opened. */
export class StoresUnderTest {
  readonly #folder: string
  readonly #opened = new WeakMap<object, LmdbStateBackendOptions>()
  #made = 0

  constructor(folder: string) {
    this.#folder = folder
  }

  newPath(): string {
    return join(this.#folder, `store-${++this.#made}`)
  }

  async open(options: LmdbStateBackendOptions): Promise<LmdbStateBackend> {
    const backend = await LmdbStateBackend.open(options)
    this.#opened.set(backend, options)
    return backend
  }

  optionsOf(backend: object): LmdbStateBackendOptions {
    return this.#opened.get(backend) as LmdbStateBackendOptions
  }
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text))

export function lmdbKinds(stores: StoresUnderTest): CommandKind[] {
  const jump = fc.constantFrom(0, 0, 1, 50, 400, 86_400_000, -1, -400, -86_400_000)
  const restarts = [
    kind('reopen', jump, async (world, jumpMs) => {
      const { engine } = world
      await engine.close()
      await goOnWith(world, jumpMs, () => stores.open(stores.optionsOf(engine)))
    }),
    kind(
      'crash',
      fc.record({ jumpMs: jump, lostWrites: fc.nat({ max: 3 }) }),
      async (world, { jumpMs, lostWrites }) => {
        const { engine } = world
        // The store knows no later time than that of its last commit.
        await onBoth(world, (backend) => backend.put(bytes('last'), bytes('durable')))
        await onBoth(world, (backend) => backend.flush())
        const options = stores.optionsOf(engine)
        const path = copyOfStore(options.path, stores.newPath())
        for (let i = 0; i < lostWrites; i++) await engine.put(bytes(`lost ${i}`), bytes('lost'))
        await engine.close()
        await goOnWith(world, jumpMs, () => stores.open({ ...options, path }))
      },
    ),
  ]
  return [
    // As often as other commands that change everything: what follows them is worth as much.
    ...restarts,
    ...restarts,
    ...restarts,
    kind('compact', fc.constant(undefined), (world) => (world.engine as LmdbStateBackend).compact()),
    kind('putDurable', fc.constantFrom('a', 'b', 'many 3'), (world, key) =>
      onBoth(world, (backend) =>
        (backend as LmdbStateBackend).put(bytes(key), bytes('durable'), {
          ...(isLmdb(backend) && { durable: true }),
        }),
      ),
    ),
    kind('verify', fc.constant(undefined), async ({ engine }) => {
      same((await (engine as LmdbStateBackend).verify()).problems, [], 'problems')
    }),
  ]
}

function isLmdb(backend: object): boolean {
  return backend instanceof LmdbStateBackend
}

/** Snapshots and scans of a backend that was closed are closed. */
async function expectEnded({ snapshots, scans }: World): Promise<void> {
  const closed = { code: 'CLOSED' }
  for (const { model, engine } of snapshots.splice(0)) {
    same(await outcomeOf(() => engine.get(bytes('a'))), closed)
    same(await outcomeOf(() => wholeContent(engine)), closed)
    await Promise.all([model.close(), engine.close()])
  }
  for (const { model, engine } of scans.splice(0)) {
    const end = await outcomeOf(() => engine.next())
    if ('value' in end) same((end.value as IteratorResult<unknown>).done, true, 'the end of a scan')
    else same(end, closed)
    await model.return?.()
  }
}

/**
 * While the store is closed, the clock becomes another one. From then on the store that was opened again is the engine, and
 * a model of the same content and time stands beside it.
 */
async function goOnWith(world: World, jumpMs: number, open: () => Promise<LmdbStateBackend>): Promise<void> {
  await expectEnded(world)
  const { blocks, clockMs } = await save(world.model, undefined)
  const { ttlMs, clock } = world
  await world.model.close()
  if (jumpMs !== 0) clock.set(clock.now() + jumpMs)
  const engine = await open()
  world.engine = engine
  world.model = new ModelStateBackend({ clock, ...(ttlMs !== undefined && { ttlMs }) })
  // A store without anything that expires need not know the time.
  const seenMs = blocks.some(expires) ? clockMs : await engineTime(engine)
  await world.model.replaceAll(streamOf(blocks), { clockMs: seenMs })
  await afterRestore(world)
  await onBoth(world, wholeContent)
}

async function engineTime(engine: LmdbStateBackend): Promise<number> {
  await using snapshot = await engine.snapshot()
  return snapshot.takenAtMs
}

function expires(block: EntryBlock): boolean {
  const cursor = new EntryBlockCursor(block.bytes)
  while (cursor.next()) if (cursor.expiresAtMs !== Infinity) return true
  return false
}
