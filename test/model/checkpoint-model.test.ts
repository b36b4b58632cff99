// Random histories of writes, full and incremental checkpoints, merges, failures, aborts, damage, restores, deletions and
// crashes, against a model that remembers the state of every checkpoint in plain maps. The seed of a failure is printed by
// fast-check. Merges run in a thread of their own: what they are interleaved with is not up to the seed.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { isStateError } from '../../src/base/errors.js'
import { parseManifest } from '../../src/checkpoint/format/manifest.js'
import { checkpointId, manifestName } from '../../src/checkpoint/format/object-names.js'
import type { CheckpointMetadata, Compression } from '../../src/checkpoint/types.js'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import { bytesIn, bytesOf, namesIn, textOf } from '../support/checkpoints.js'
import { modelRuns, runs } from '../support/long.js'
import { onRandomRuns } from '../support/random-runs.js'
import {
  type BackendMaker,
  Model,
  type SavedState,
  type State,
  seen,
  World,
  worker,
} from './checkpoint-world.js'

afterAll(() => worker.close())

type Command = fc.AsyncCommand<Model, World>

function command(name: string, run: (model: Model, world: World) => Promise<void>): Command {
  return { check: () => true, run, toString: () => name }
}

async function expectContent(model: Model, world: World): Promise<void> {
  const nowMs = world.clock.now()
  const expected = [...model.state]
    .filter(([, { expiresAtMs }]) => expiresAtMs > nowMs)
    .map(([key, { value }]) => `${key}=${value}`)
    .sort()
  const found: string[] = []
  for await (const [key, value] of world.backend.scan()) found.push(`${textOf(key)}=${textOf(value)}`)
  expect(found).toEqual(expected)
}

function aliveAt(state: State, nowMs: number): State {
  return new Map([...state].filter(([, { expiresAtMs }]) => expiresAtMs > nowMs))
}

function adopt(model: Model, world: World, saved: SavedState): void {
  model.state = new Map(saved.state)
  model.position = saved.position
  world.position = saved.position
}

/** State and position change in one step, which the engines make in the call: a position means one state. */
async function written(
  model: Model,
  world: World,
  writing: Promise<void>,
  change: (state: Model['state']) => unknown,
): Promise<void> {
  change(model.state)
  world.position = ++model.position
  await writing
}

const put = (key: string, value: string, ttlMs: number) =>
  command(`put ${key}=${value} for ${ttlMs}`, async (model, world) => {
    await written(model, world, world.backend.put(bytesOf(key), bytesOf(value), { ttlMs }), (state) =>
      state.set(key, { value, expiresAtMs: world.clock.now() + ttlMs }),
    )
  })

const remove = (key: string) =>
  command(`delete ${key}`, async (model, world) => {
    await written(model, world, world.backend.delete(bytesOf(key)), (state) => state.delete(key))
  })

const clear = () =>
  command('clear', async (model, world) => {
    await written(model, world, world.backend.clear(), (state) => state.clear())
  })

const advance = (byMs: number) =>
  command(`advance ${byMs} ms`, async (_, world) => {
    world.clock.advance(byMs)
  })

async function noteSaved(
  model: Model,
  world: World,
  made: CheckpointMetadata,
  state: State,
  position: number,
) {
  const { sequence, savepoint } = made
  const manifest = parseManifest(await bytesIn(world.storage, manifestName(sequence)), sequence).manifest
  const segments = manifest.segments.map(({ name }) => name)
  if (segments.some((name) => name.includes('.merged.'))) seen.add('merged and named')
  model.lastId = sequence
  model.everPublished = true
  model.saved.set(sequence, { state, position, savepoint, segments })
}

const checkpoint = (savepoint: boolean, mergeEnds: boolean) =>
  command(savepoint ? 'savepoint' : `checkpoint${mergeEnds ? ' and merge' : ''}`, async (model, world) => {
    const { coordinator, faulty } = world
    const made = await (savepoint ? coordinator.createSavepoint(faulty) : coordinator.createCheckpoint())
    expect(made.sequence).toBeGreaterThan(model.lastId)
    expect(made.source).toEqual({ position: model.position })
    const state = aliveAt(model.state, world.clock.now())
    expect(made.entryCount).toBe(state.size)
    await noteSaved(model, world, made, state, model.position)
    world.owner = true
    if (mergeEnds) await world.mergeEnds()
    if (!savepoint) await compareRetained(model, world, true)
  })

/**
 * What is written after the call is not in it, but in the next one. Only where the coordinator says that it takes the state once
 * more may it be that of a later instant; one instant all the same, with the position that goes with it.
 */
const checkpointBesideWrites = (writes: readonly Command[]) =>
  command(`checkpoint beside ${writes.join(', ')}`, async (model, world) => {
    if (!world.owner) return
    const instantNow = () => ({
      state: aliveAt(model.state, world.clock.now()),
      position: model.position,
    })
    const called = instantNow()
    const instants = [called]
    const { retaken } = world
    const making = world.coordinator.createCheckpoint()
    for (const write of writes) {
      await write.run(model, world)
      instants.push(instantNow())
    }
    const made = await making
    const again = world.retaken > retaken
    if (again) seen.add('taken once more')
    const allowed = again ? instants : [called]
    const instant = allowed.find(({ position }) => isDeepStrictEqual(made.source, { position })) ?? called
    expect(made.source).toEqual({ position: instant.position })
    expect(made.entryCount).toBe(instant.state.size)
    await noteSaved(model, world, made, instant.state, instant.position)
    await compareRetained(model, world, true)
  })

/** Brings the model to what retention has left, which is never less than it promises, nor more where it was not cut short. */
async function compareRetained(model: Model, world: World, uncut: boolean): Promise<void> {
  const surplus = model.surplus()
  const dispensable = model.dispensable()
  const names = await namesIn(world.storage)
  for (const [sequence] of model.newestFirst()) {
    const there = names.includes(manifestName(sequence))
    if (uncut && surplus.includes(sequence)) expect(there).toBe(false)
    if (!dispensable.includes(sequence)) expect(there).toBe(true)
    if (!there) model.saved.delete(sequence)
  }
}

/** A checkpoint that something happens to; returns what came of it. */
async function attempt(model: Model, world: World, signal?: AbortSignal): Promise<unknown> {
  let started: number | undefined
  const stop = world.coordinator.on('started', ({ id }) => {
    started = Number(id.slice(4))
  })
  const state = model.state
  const outcome = await world.coordinator
    .createCheckpoint(signal && { signal })
    .catch((error: unknown) => error)
  stop()
  world.faulty.heal()
  if (isStateError(outcome)) {
    if (started === undefined) return outcome
    model.lastId = started
    const left = (await namesIn(world.storage)).filter((name) => name.startsWith(checkpointId(model.lastId)))
    expect(left).toEqual([])
    return outcome
  }
  world.owner = true
  await noteSaved(
    model,
    world,
    outcome as CheckpointMetadata,
    aliveAt(state, world.clock.now()),
    model.position,
  )
  await compareRetained(model, world, false)
  return undefined
}

/** Every step up to the publication fails in its turn; what follows it must not fail the checkpoint. */
const failingCheckpoint = (nth: number) =>
  command(`checkpoint failing at call ${nth}`, async (model, world) => {
    await world.mergeEnds()
    world.faulty.inject({ effect: 'fail', nth })
    const failure = await attempt(model, world)
    if (failure !== undefined) expect(failure).toMatchObject({ code: 'CHECKPOINT_FAILED' })
    await world.mergeEnds()
  })

/** The merge under way, or the next one, fails at one of its calls; or else the next checkpoint does. */
const failingMerge = (nth: number) =>
  command(`something failing at call ${nth} of a segment`, async (model, world) => {
    world.faulty.inject({ effect: 'fail', object: '.merged.', nth })
    const failure = await attempt(model, world)
    expect(failure).toBeUndefined()
    world.faulty.inject({ effect: 'fail', object: '.merged.', nth })
    await world.mergeEnds()
    world.faulty.heal()
  })

/** At some turn of the event loop, wherever the worker is by then. */
const abortedCheckpoint = (turns: number) =>
  command(`checkpoint aborted after ${turns} turns`, async (model, world) => {
    const controller = new AbortController()
    const attempting = attempt(model, world, controller.signal)
    for (let turn = 0; turn < turns; turn++) await nextTurn()
    controller.abort()
    const failure = await attempting
    if (failure === undefined) return
    expect(failure).toMatchObject({ code: 'ABORTED' })
    seen.add('aborted')
  })

const damage = (pick: number, offset: number, file: 'manifest' | 'segment', missing: boolean) =>
  command(`damage the ${file} of the checkpoint no. ${pick}`, async (model, world) => {
    await world.mergeEnds()
    const entries = model.newestFirst()
    const [sequence, saved] = entries[pick % Math.max(1, entries.length)] ?? []
    if (sequence === undefined || saved === undefined) return
    const { segments } = saved
    const name = file === 'manifest' ? manifestName(sequence) : (segments[offset % segments.length] as string)
    if (!(await namesIn(world.storage)).includes(name)) return
    if (missing && file === 'segment') {
      model.missingSegments.add(name)
      world.storage.tamper(name, undefined)
      return
    }
    // Once each: the same byte flipped again would be mended.
    if (file === 'manifest' ? saved.manifestDamaged : model.damagedSegments.has(name)) return
    if (file === 'manifest') saved.manifestDamaged = true
    else model.damagedSegments.add(name)
    const bytes = await bytesIn(world.storage, name)
    const position = offset % bytes.length
    bytes[position] = (bytes[position] as number) ^ (1 + ((offset + pick) % 200))
    world.storage.tamper(name, bytes)
  })

const restoreLatest = () =>
  command('restore the latest', async (model, world) => {
    const skipped: string[] = []
    const stop = world.coordinator.on('skipped', ({ id }) => skipped.push(id))
    const outcome = await world.coordinator.restoreLatest().catch((error: unknown) => error)
    stop()
    const newestFirst = model.newestFirst()
    const usable = newestFirst.findIndex(([, saved]) => !model.isDamaged(saved))
    for (const [, passed] of usable === -1 ? newestFirst : newestFirst.slice(0, usable))
      passed.discovered = true
    const [sequence, saved] = newestFirst[usable] ?? []
    if (sequence === undefined || saved === undefined) {
      if (model.everPublished) expect(outcome).toMatchObject({ code: 'RESTORE_FAILED' })
      else expect(outcome).toBeUndefined()
      return
    }
    expect(outcome).toMatchObject({ sequence, source: { position: saved.position } })
    expect(skipped).toEqual(newestFirst.slice(0, usable).map(([passed]) => checkpointId(passed)))
    adopt(model, world, saved)
  })

/** Whatever comes back is one of those that were saved, whole; or nothing, and the content stays. */
const disturbedRestore = (
  what: string,
  disturb: (world: World, controller: AbortController) => Promise<void>,
) =>
  command(`restore ${what}`, async (model, world) => {
    const controller = new AbortController()
    const damaged: string[] = []
    const stop = world.coordinator.on('skipped', ({ id, code }) => {
      if (code === 'CORRUPTION') damaged.push(id)
    })
    const disturbing = disturb(world, controller)
    const outcome = await world.coordinator
      .restoreLatest({ signal: controller.signal })
      .catch((error: unknown) => error)
    await disturbing
    stop()
    world.faulty.heal()
    for (const [sequence, saved] of model.newestFirst()) {
      if (damaged.includes(checkpointId(sequence))) saved.discovered = true
    }
    if (isStateError(outcome)) {
      expect(['RESTORE_FAILED', 'ABORTED']).toContain(outcome.code)
      return
    }
    if (outcome === undefined) return expect(model.everPublished).toBe(false)
    const saved = model.saved.get((outcome as CheckpointMetadata).sequence)
    expect(saved !== undefined && !model.isDamaged(saved)).toBe(true)
    adopt(model, world, saved as SavedState)
  })

const failingRestore = (nth: number) =>
  disturbedRestore(
    `failing at call ${nth}`,
    async ({ faulty }) => void faulty.inject({ effect: 'fail', nth }),
  )

const abortedRestore = (turns: number) =>
  disturbedRestore(`aborted after ${turns} turns`, async (_, controller) => {
    for (let turn = 0; turn < turns; turn++) await nextTurn()
    controller.abort()
  })

const restoreOne = (pick: number) =>
  command(`restore no. ${pick}`, async (model, world) => {
    const entries = model.newestFirst()
    const [sequence, saved] = entries[pick % Math.max(1, entries.length)] ?? []
    if (sequence === undefined || saved === undefined) return
    const outcome = await world.coordinator.restore(checkpointId(sequence)).catch((error: unknown) => error)
    if (model.isDamaged(saved)) {
      expect(outcome).toMatchObject({ code: 'RESTORE_FAILED' })
      return
    }
    expect(outcome).toMatchObject({ sequence })
    adopt(model, world, saved)
  })

const verify = (pick: number) =>
  command(`verify no. ${pick}`, async (model, world) => {
    const entries = model.newestFirst()
    const [sequence, saved] = entries[pick % Math.max(1, entries.length)] ?? []
    if (sequence === undefined || saved === undefined) return
    const outcome = await world.coordinator.verify(checkpointId(sequence)).catch((error: unknown) => error)
    const damaged = model.isDamaged(saved)
    if (damaged && saved.manifestDamaged !== true) saved.discovered = true
    expect(outcome).toMatchObject(damaged ? { code: 'CORRUPTION' } : { entryCount: saved.state.size })
  })

const deleteOne = (pick: number) =>
  command(`delete checkpoint no. ${pick}`, async (model, world) => {
    const entries = model.newestFirst()
    const [sequence] = entries[pick % Math.max(1, entries.length)] ?? []
    if (sequence === undefined) return
    expect(await world.coordinator.deleteCheckpoint(checkpointId(sequence))).toBe(true)
    model.saved.delete(sequence)
  })

const crash = () =>
  command('crash', async (model, world) => {
    // Whatever a merge still has to do, it does not reach the storage any more.
    world.faulty.inject({ effect: 'crash' })
    await world.mergeEnds()
    await world.backend.close()
    await world.boot()
    for (const saved of model.saved.values()) saved.discovered = false
    model.state = new Map()
    model.position = 0
  })

const key = fc.constantFrom('a', 'b', 'ba', 'c', 'd', 'e')
const pick = fc.nat(7)

const write = fc.oneof(
  fc
    .tuple(key, fc.string({ maxLength: 12 }), fc.constantFrom(Infinity, 5, 40, 1_000))
    .map(([name, value, ttlMs]) => put(name, value, ttlMs)),
  fc
    .tuple(key, fc.constantFrom('x', 'y'), fc.constantFrom(Infinity, 40))
    .map(([name, value, ttlMs]) => put(name, value, ttlMs)),
  key.map(remove),
)

const commands = fc.commands(
  [
    write,
    write,
    write,
    fc.constant(clear()),
    fc.integer({ min: 1, max: 60 }).map(advance),
    fc.boolean().map((mergeEnds) => checkpoint(false, mergeEnds)),
    fc.boolean().map((mergeEnds) => checkpoint(false, mergeEnds)),
    fc.constant(checkpoint(true, false)),
    fc.array(write, { minLength: 1, maxLength: 4 }).map(checkpointBesideWrites),
    fc.integer({ min: 1, max: 25 }).map(failingCheckpoint),
    fc.integer({ min: 1, max: 8 }).map(failingMerge),
    fc.nat(40).map(abortedCheckpoint),
    fc.integer({ min: 1, max: 15 }).map(failingRestore),
    fc.nat(25).map(abortedRestore),
    fc
      .tuple(pick, fc.nat(2_000), fc.constantFrom('manifest' as const, 'segment' as const), fc.boolean())
      .map((drawn) => damage(...drawn)),
    fc.constant(restoreLatest()),
    pick.map(restoreOne),
    pick.map(verify),
    pick.map(deleteOne),
    fc.constant(crash()),
  ],
  { maxCommands: 60, size: 'max' },
)

const engines: [string, BackendMaker, number][] = [
  ['the model backend', (clock) => new ModelStateBackend({ clock }), modelRuns(400, 15)],
  ['the memory backend', (clock) => new MemoryStateBackend({ clock }), modelRuns(100, 10)],
  // Commits by number and by time fall among the commands.
  [
    'the LMDB backend',
    (clock) => LmdbStateBackend.temporary({ clock, flushEvery: 5, flushIntervalMs: 30 }),
    modelRuns(30, 2),
  ],
]

const usual = ['full', 'incremental', 'merged', 'aborted']
/** Engines that were tried: what some of them alone see may be less. */
const tried = new Set<string>()
/** A quick run sees these two or three times, or now and then not at all. */
const rare = ['merged and named', 'mergeFailed', 'taken once more']

describe('checkpoints against a model of them', () => {
  it.each(engines)(
    'on %s',
    async (name, makeBackend, count) => {
      const compression = fc.constantFrom<Compression>('none', 'lz4', 'gzip')
      await onRandomRuns(
        fc.asyncProperty(commands, compression, fc.constantFrom(0, 50), async (drawn, codec, graceMs) => {
          const model = new Model()
          const world = await World.create(makeBackend, codec, graceMs)
          const checked = [...drawn].map((each) => ({
            check: () => true,
            toString: () => each.toString(),
            run: async (m: Model, w: World) => {
              await each.run(m, w)
              await expectContent(m, w)
              const listed = (await w.coordinator.listCheckpoints()).map(({ sequence }) => sequence)
              const intact = m.newestFirst().filter(([, saved]) => !m.isDamaged(saved))
              for (const [sequence] of intact) expect(listed).toContain(sequence)
              for (const sequence of listed) expect(m.saved.has(sequence)).toBe(true)
            },
          }))
          try {
            await fc.asyncModelRun(() => ({ model, real: world }), checked)
            await world.mergeEnds()
          } finally {
            await world.backend.close()
          }
        }),
        { runs: count },
      )
      expect([...usual, ...rare]).toEqual(expect.arrayContaining([...seen]))
      // Whichever is the last one.
      tried.add(name)
      if (tried.size < engines.length) return
      expect([...seen]).toEqual(expect.arrayContaining(runs([...usual, ...rare], usual)))
    },
    300_000,
  )
})
