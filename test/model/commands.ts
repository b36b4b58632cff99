// The kinds of commands that a random sequence is drawn from, and their parameters.

import fc from 'fast-check'
import { expect } from 'vitest'
import type { EntryBlock } from '../../src/backend/entry-block.js'
import { type InPlaceBackend, isInPlaceBackend } from '../../src/backend/state-backend.js'
import type { KeyRange, ScanRange } from '../../src/backend/types.js'
import { WriteBatch } from '../../src/backend/write-batch.js'
import { isStateError } from '../../src/base/errors.js'
import { Slot } from '../../src/base/slot.js'
import {
  compareStats,
  type ModeledBackend,
  onBoth,
  outcomeOf,
  same,
  sweepBoth,
  syncOf,
  type World,
  wholeContent,
} from './world.js'

type Run = (world: World) => Promise<void>
export type CommandKind = fc.Arbitrary<fc.AsyncCommand<World, World>>

class BackendCommand implements fc.AsyncCommand<World, World> {
  readonly #title: string
  readonly #run: Run

  constructor(title: string, run: Run) {
    this.#title = title
    this.#run = run
  }

  /** Commands on snapshots that are not open do nothing: no command ever needs to be left out. */
  check(): boolean {
    return true
  }

  async run(world: World): Promise<void> {
    await this.#run(world)
    compareStats(world)
  }

  toString(): string {
    return this.#title
  }
}

/** A kind of command: how to draw its parameters, and what it does with them. */
export function kind<Parameters>(
  name: string,
  parameters: fc.Arbitrary<Parameters>,
  run: (world: World, parameters: Parameters) => Promise<void>,
): fc.Arbitrary<fc.AsyncCommand<World, World>> {
  return parameters.map(
    (drawn) => new BackendCommand(`${name}(${fc.stringify(drawn)})`, (world) => run(world, drawn)),
  )
}

/** Few keys, so that commands meet: the corners of the order, and one long one. */
const KEYS = ['', 'a', 'a\0', 'a\xff', 'ab', 'b', '\x7f', '\x80', '\xff', '\xff\xff', 'k'.repeat(300)]
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'))

const key = fc.constantFrom(...KEYS)
const index = fc.nat({ max: 3 })
/** Sizes on both sides of every rounding, so that updates fit in place, just do not, and grow by far. */
const value = fc.record({
  length: fc.constantFrom(0, 1, 7, 8, 9, 16, 40, 41, 300, 5_000),
  fill: fc.nat({ max: 255 }),
})
const valueBytes = ({ length, fill }: { length: number; fill: number }): Uint8Array =>
  new Uint8Array(length).fill(fill)
const ttl = fc.constantFrom(undefined, undefined, 1, 50, 400, 2_500, 100_000, Infinity)
const ttlOptions = (ttlMs: number | undefined): { ttlMs?: number } => (ttlMs === undefined ? {} : { ttlMs })
const bound = fc.option(fc.constantFrom(...KEYS, 'a\x01', '\x90'), { nil: undefined, freq: 2 })
const range = fc.record({
  prefix: bound,
  gt: bound,
  gte: bound,
  lt: bound,
  lte: bound,
  reverse: fc.boolean(),
  limit: fc.constantFrom(undefined, undefined, 0, 1, 3, Infinity),
})

function rangeOf(
  drawn: {
    readonly [Name in 'prefix' | 'gt' | 'gte' | 'lt' | 'lte']: string | undefined
  } & { readonly reverse: boolean; readonly limit: number | undefined },
): ScanRange {
  const { reverse, limit, ...bounds } = drawn
  const set = Object.entries(bounds).filter(([, text]) => text !== undefined)
  const asBytes = Object.fromEntries(set.map(([name, text]) => [name, bytesOf(text as string)]))
  return { ...asBytes, reverse, ...(limit !== undefined && { limit }) }
}

function keysOf(drawn: Parameters<typeof rangeOf>[0]): KeyRange {
  const { reverse: _, limit: __, signal: ___, ...keys } = rangeOf(drawn)
  return keys
}

const operation = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('put' as const), key, value, ttl }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('deleteRange' as const), range }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('expectWhatIs' as const), key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('expectAbsent' as const), key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('expectValue' as const), key, value }) },
)

/** The batch that some operations make. What an `expectWhatIs` expects is what the model holds, without counting. */
async function batchOf(world: World, operations: readonly fcValue<typeof operation>[]): Promise<WriteBatch> {
  const batch = new WriteBatch()
  for (const drawn of operations) {
    if (drawn.kind === 'deleteRange') {
      batch.deleteRange(keysOf(drawn.range))
      continue
    }
    const at = bytesOf(drawn.key)
    if (drawn.kind === 'put') batch.put(at, valueBytes(drawn.value), ttlOptions(drawn.ttl))
    else if (drawn.kind === 'delete') batch.delete(at)
    else if (drawn.kind === 'expectValue') batch.expect(at, valueBytes(drawn.value))
    else if (drawn.kind === 'expectAbsent') batch.expect(at, undefined)
    else batch.expect(at, [...world.model.scanSync({ gte: at, lte: at })][0]?.[1])
  }
  return batch
}

type fcValue<A> = A extends fc.Arbitrary<infer Drawn> ? Drawn : never

const repeated = <T>(times: number, kinds: T[]): T[] => Array.from({ length: times }, () => kinds).flat()

/** All kinds, the usual ones several times: they are drawn with equal chances. */
export function commandKinds(): CommandKind[] {
  const looked = async (backend: ModeledBackend) => {
    const snapshot = await backend.snapshot()
    await snapshot.close()
    return snapshot.takenAtMs
  }
  return [
    ...repeated(16, writes()),
    ...repeated(3, reads()),
    ...repeated(5, time(looked)),
    ...repeated(5, openThings()),
    ...wholesale(),
    ...replacing(),
  ]
}

/** Those for engines without snapshots, whose scans see no instant and whose content nothing replaces. */
export function plainCommandKinds(): CommandKind[] {
  return [
    ...repeated(16, writes()),
    ...repeated(3, reads()),
    ...repeated(
      5,
      time((backend) => backend.count()),
    ),
    ...wholesale(),
  ]
}

function writes(): CommandKind[] {
  const face = (sync: boolean) => (sync ? syncOf : (backend: ModeledBackend) => backend)
  return [
    kind('put', fc.record({ key, value, ttl, sync: fc.boolean() }), async (world, drawn) =>
      onBoth(world, (backend) =>
        face(drawn.sync)(backend).put(bytesOf(drawn.key), valueBytes(drawn.value), ttlOptions(drawn.ttl)),
      ),
    ),
    kind(
      'putMany',
      fc.record({ from: fc.nat({ max: 20 }), count: fc.nat({ max: 30 }), value, ttl }),
      async (world, drawn) => {
        for (let i = drawn.from; i < drawn.from + drawn.count; i++) {
          await onBoth(world, (backend) =>
            backend.put(bytesOf(`many ${i}`), valueBytes(drawn.value), ttlOptions(drawn.ttl)),
          )
        }
      },
    ),
    kind('update', fc.record({ key, value, ttl }), async (world, drawn) =>
      inPlaceOnBoth(world, (backend) => {
        const slot = new Slot()
        const { length, fill } = drawn.value
        const isThere = backend.updateSync(bytesOf(drawn.key), length, slot, ttlOptions(drawn.ttl))
        const before = slot.bytes.slice(slot.offset, slot.offset + slot.length)
        // The rest stays as it was.
        if (length > 0) slot.bytes[slot.offset] = fill
        return [isThere, before]
      }),
    ),
    kind('delete', fc.record({ key, sync: fc.boolean() }), async (world, drawn) =>
      onBoth(world, (backend) => face(drawn.sync)(backend).delete(bytesOf(drawn.key))),
    ),
    kind('deleteRange', fc.record({ range, sync: fc.boolean() }), async (world, drawn) => {
      await onBoth(world, (backend) => face(drawn.sync)(backend).deleteRange(keysOf(drawn.range)))
    }),
    kind(
      'write',
      fc.record({ operations: fc.array(operation, { maxLength: 12 }), sync: fc.boolean() }),
      async (world, drawn) => {
        const batch = await batchOf(world, drawn.operations)
        await onBoth(world, (backend) => face(drawn.sync)(backend).write(batch))
      },
    ),
  ]
}

/** Only where the engine can be read and changed in place: the model can. */
async function inPlaceOnBoth(world: World, call: (backend: InPlaceBackend) => unknown): Promise<void> {
  if (!isInPlaceBackend(world.engine)) return
  await onBoth(world, (backend) => (isInPlaceBackend(backend) ? call(backend) : undefined))
}

function reads(): CommandKind[] {
  const face = (sync: boolean) => (sync ? syncOf : (backend: ModeledBackend) => backend)
  const keyed = fc.record({ key, sync: fc.boolean() })
  return [
    kind('get', keyed, (world, drawn) =>
      onBoth(world, (backend) => face(drawn.sync)(backend).get(bytesOf(drawn.key))),
    ),
    kind('getOrThrow', keyed, (world, drawn) =>
      onBoth(
        world,
        (backend) => face(drawn.sync)(backend).getOrThrow(bytesOf(drawn.key)),
        // Which of the two it is depends on whether a sweep was there first.
        (outcome) =>
          'code' in outcome && outcome.code === 'STATE_EXPIRED' ? { code: 'KEY_NOT_FOUND' } : outcome,
      ),
    ),
    kind('contains', keyed, (world, drawn) =>
      onBoth(world, (backend) => face(drawn.sync)(backend).contains(bytesOf(drawn.key))),
    ),
    kind('peek', key, (world, drawn) =>
      inPlaceOnBoth(world, (backend) => {
        const slot = new Slot()
        if (!backend.peekSync(bytesOf(drawn), slot)) return undefined
        return slot.bytes.slice(slot.offset, slot.offset + slot.length)
      }),
    ),
    kind('getMany', fc.array(key, { maxLength: 6 }), (world, keys) =>
      onBoth(world, (backend) => backend.getMany(keys.map(bytesOf))),
    ),
    kind('count', fc.constant(undefined), (world) => onBoth(world, (backend) => backend.count())),
    kind('listKeys', fc.constantFrom('', 'a', '\xff', 'none'), (world, prefix) =>
      onBoth(world, (backend) => backend.listKeys(bytesOf(prefix))),
    ),
    kind('scan', range, (world, drawn) =>
      onBoth(world, async (backend) => {
        const entries: unknown[] = []
        for await (const entry of backend.scan(rangeOf(drawn))) entries.push(entry)
        return entries
      }),
    ),
  ]
}

/** `looks`: an engine looks at the clock, and tells something that must agree. */
function time(looks: (backend: ModeledBackend) => Promise<unknown>): CommandKind[] {
  return [
    kind('advance', fc.constantFrom(1, 49, 50, 300, 1_000, 2_500, 5_000), (world, ms) =>
      world.clock.advanceAsync(ms),
    ),
    kind('jumpForward', fc.constantFrom(1, 400, 86_400_000), async (world, ms) => {
      world.clock.set(world.clock.now() + ms)
      await world.clock.advanceAsync(0)
    }),
    kind('jumpBack', fc.constantFrom(1, 400, 86_400_000), async (world, ms) => {
      // A clock that goes back is noticed by those who have looked at it before: both look.
      await onBoth(world, looks)
      world.clock.set(world.clock.now() - ms)
      await onBoth(world, looks)
    }),
    kind('sweep', fc.constant(undefined), sweepBoth),
  ]
}

function openThings(): CommandKind[] {
  return [
    kind('openSnapshot', fc.constant(undefined), async ({ model, engine, snapshots }) => {
      if (snapshots.length > 3) return
      snapshots.push({ model: await model.snapshot(), engine: await engine.snapshot() })
    }),
    kind('checkSnapshot', fc.record({ index, key, range }), async ({ snapshots }, drawn) => {
      const pair = snapshots[drawn.index]
      if (pair === undefined) return
      const { model, engine } = pair
      const at = bytesOf(drawn.key)
      same(engine.takenAtMs, model.takenAtMs, 'takenAtMs')
      same(await engine.get(at), await model.get(at))
      same(await engine.contains(at), await model.contains(at))
      same(await engine.getMany([at, at]), await model.getMany([at, at]))
      same(await wholeContent(engine), await wholeContent(model))
      const ranged = rangeOf(drawn.range)
      same(await arrayOf(engine.scan(ranged)), await arrayOf(model.scan(ranged)))
    }),
    kind('closeSnapshot', index, async ({ snapshots }, at) => {
      for (const { model, engine } of snapshots.splice(at, 1))
        await Promise.all([model.close(), engine.close()])
    }),
    kind('startScan', range, async ({ model, engine, scans }, drawn) => {
      if (scans.length > 3) return
      scans.push({ model: model.scan(rangeOf(drawn)), engine: engine.scan(rangeOf(drawn)) })
    }),
    kind(
      'stepScan',
      fc.record({ index, steps: fc.integer({ min: 1, max: 5 }) }),
      async ({ scans }, drawn) => {
        const pair = scans[drawn.index]
        if (pair === undefined) return
        for (let i = 0; i < drawn.steps; i++) {
          const expected = await pair.model.next()
          const actual = await pair.engine.next()
          same(actual.done === true, expected.done === true, 'the end of a scan')
          same(actual.value, expected.value)
        }
      },
    ),
    kind('abandonScan', index, async ({ scans }, at) => {
      for (const { model, engine } of scans.splice(at, 1))
        await Promise.all([model.return?.(), engine.return?.()])
    }),
  ]
}

function wholesale(): CommandKind[] {
  return [
    kind('clear', fc.constant(undefined), (world) => onBoth(world, (backend) => backend.clear())),
    kind('flush', fc.constant(undefined), (world) => onBoth(world, (backend) => backend.flush())),
  ]
}

function replacing(): CommandKind[] {
  const targetBytes = fc.constantFrom(undefined, 1, 60, 4_096)
  return [
    kind('save', targetBytes, async (world, bytes) => {
      world.saved = await save(world.engine, bytes)
      const expected = await save(world.model, bytes)
      same(bytesIn(world.saved.blocks), bytesIn(expected.blocks), 'blocks')
      same(world.saved.clockMs, expected.clockMs, 'takenAtMs')
    }),
    kind('checkpointAndCompare', targetBytes, async (world, bytes) => {
      const { blocks, clockMs } = await save(world.engine, bytes)
      const fresh = await world.openFresh()
      await fresh.replaceAll(streamOf(blocks), { clockMs, expectedEntries: blocks.length })
      // Both have seen the same time, so the same entries are alive.
      same(await wholeContent(fresh), await wholeContent(world.model))
      const again = await save(fresh, bytes)
      same(bytesIn(again.blocks), bytesIn(blocks), 'the blocks of a restored engine')
      same(again.clockMs, clockMs, 'the time of a restored engine')
      await fresh.close()
    }),
    kind('restore', fc.constantFrom(undefined, 0, 0, 700), async (world, aheadMs) => {
      const { saved } = world
      if (saved === undefined) return
      await sweepBoth(world)
      await onBoth(world, (backend) =>
        backend.replaceAll(
          streamOf(saved.blocks),
          aheadMs === undefined ? {} : { clockMs: saved.clockMs + aheadMs },
        ),
      )
      await afterRestore(world)
    }),
    kind('restoreFails', fc.nat({ max: 2 }), async (world, after) => {
      const { saved } = world
      if (saved === undefined) return
      const broken = new Error('the stream broke')
      for (const backend of [world.model, world.engine]) {
        const failing = failingAfter(saved.blocks.slice(0, after), broken, () =>
          backend.put(bytesOf('a'), bytesOf('')),
        )
        await expect(backend.replaceAll(failing)).rejects.toSatisfy(
          (error: Error) => error === broken || error.cause === broken || isStateError(error, 'BACKEND_FULL'),
        )
      }
      await onBoth(world, wholeContent)
    }),
  ]
}

/** What a restore brings along expired is dropped at once or swept and counted later: from here on, both count the same. */
export async function afterRestore(world: World): Promise<void> {
  const { model, engine } = world
  model.sweep()
  await world.sweep(engine)
  world.expiredAhead = engine.stats().expired - model.stats().expired
  same(engine.stats().entries, model.stats().entries, 'entries')
}

export async function save(
  from: ModeledBackend,
  targetBytes: number | undefined,
): Promise<{ readonly blocks: readonly EntryBlock[]; readonly clockMs: number }> {
  const snapshot = await from.snapshot()
  const blocks = await arrayOf(snapshot.blocks(targetBytes === undefined ? {} : { targetBytes }))
  await snapshot.close()
  return { blocks, clockMs: snapshot.takenAtMs }
}

/** All bytes of some blocks: where one ends and the next begins is up to the engine. */
function bytesIn(blocks: readonly EntryBlock[]): Uint8Array {
  return Buffer.concat(blocks.map((block) => block.bytes))
}

async function arrayOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const array: T[] = []
  for await (const item of items) array.push(item)
  return array
}

export async function* streamOf(blocks: readonly EntryBlock[]): AsyncGenerator<EntryBlock, undefined> {
  yield* blocks
}

/** A stream that breaks, after a write that must be rejected while it runs. */
async function* failingAfter(
  blocks: readonly EntryBlock[],
  error: Error,
  write: () => Promise<void>,
): AsyncGenerator<EntryBlock, undefined> {
  yield* blocks
  expect(await outcomeOf(write)).toEqual({ code: 'NOT_INITIALIZED' })
  throw error
}
