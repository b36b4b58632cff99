// Random histories of writes, checkpoints, failures, damage, restores, deletions and crashes, against a model that
// remembers the state of every checkpoint in plain maps. The seed of a failure is printed by fast-check.

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { StateBackend } from '../../src/backend/state-backend.js'
import { isStateError } from '../../src/base/errors.js'
import { CheckpointCoordinator } from '../../src/checkpoint/checkpoint-coordinator.js'
import { checkpointId, manifestName, segmentName } from '../../src/checkpoint/object-names.js'
import type { Compression } from '../../src/checkpoint/types.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../src/testing/faulty-storage.js'
import { ManualClock } from '../../src/testing/manual-clock.js'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import { bytesIn, bytesOf, namesIn, textOf } from '../support/checkpoints.js'

const MAX_CHECKPOINTS = 3

interface ModelEntry {
  readonly value: string
  readonly expiresAtMs: number
}

type State = ReadonlyMap<string, ModelEntry>

interface SavedState {
  readonly state: State
  readonly position: number
  readonly savepoint: boolean
  damaged: boolean
  manifestDamaged?: boolean
  segmentDamaged?: boolean
  segmentMissing?: boolean
  /** A restore or `verify` of this process met the damage. */
  discovered?: boolean
}

/** Whether retention can know that it is damaged. */
function isKnownDamaged(saved: SavedState): boolean {
  return saved.manifestDamaged === true || saved.segmentMissing === true || saved.discovered === true
}

/** A savepoint is known by its manifest or by its segment's name. Without both, nothing of it is left to spare. */
function isSpared(saved: SavedState): boolean {
  return saved.savepoint && !(saved.manifestDamaged === true && saved.segmentMissing === true)
}

/** What should be true. */
class Model {
  state: Map<string, ModelEntry> = new Map()
  position = 0
  readonly saved = new Map<number, SavedState>()
  lastId = 0
  everPublished = false
  newestFirst(): [number, SavedState][] {
    return [...this.saved].sort(([left], [right]) => right - left)
  }

  /** What retention has to remove: all that is older than the newest few that it takes for good. */
  surplus(): number[] {
    const plain = this.newestFirst().filter(([, saved]) => !isSpared(saved))
    const good = plain.filter(([, saved]) => !isKnownDamaged(saved))
    const oldestKept = good[MAX_CHECKPOINTS - 1]?.[0] ?? 0
    return plain.map(([sequence]) => sequence).filter((sequence) => sequence < oldestKept)
  }
}

type BackendMaker = (clock: ManualClock) => StateBackend

/** What is. */
class World {
  readonly clock = new ManualClock()
  readonly storage = new MemoryCheckpointStorage()
  readonly #makeBackend: BackendMaker
  readonly #compression: Compression
  faulty!: FaultyCheckpointStorage
  backend!: StateBackend
  coordinator!: CheckpointCoordinator
  position = 0

  constructor(makeBackend: BackendMaker, compression: Compression) {
    this.#makeBackend = makeBackend
    this.#compression = compression
    this.boot()
  }

  /** A new process on the same storage. */
  boot(): void {
    this.storage.forgetOwner()
    this.faulty = new FaultyCheckpointStorage(this.storage)
    this.backend = this.#makeBackend(this.clock)
    this.position = 0
    this.coordinator = new CheckpointCoordinator(this.backend, {
      storage: this.faulty,
      clock: this.clock,
      compression: this.#compression,
      maxCheckpoints: MAX_CHECKPOINTS,
      graceMs: 50,
      source: () => ({ position: this.position }),
    })
  }
}

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

const put = (key: string, value: string, ttlMs: number) =>
  command(`put ${key}=${value} for ${ttlMs}`, async (model, world) => {
    await world.backend.put(bytesOf(key), bytesOf(value), { ttlMs })
    model.state.set(key, { value, expiresAtMs: world.clock.now() + ttlMs })
    world.position = ++model.position
  })

const remove = (key: string) =>
  command(`delete ${key}`, async (model, world) => {
    await world.backend.delete(bytesOf(key))
    model.state.delete(key)
  })

const clear = () =>
  command('clear', async (model, world) => {
    await world.backend.clear()
    model.state.clear()
  })

const advance = (byMs: number) =>
  command(`advance ${byMs} ms`, async (_, world) => {
    world.clock.advance(byMs)
  })

const checkpoint = (savepoint: boolean) =>
  command(savepoint ? 'savepoint' : 'checkpoint', async (model, world) => {
    const { coordinator, faulty } = world
    const made = await (savepoint ? coordinator.createSavepoint(faulty) : coordinator.createCheckpoint())
    expect(made.sequence).toBeGreaterThan(model.lastId)
    expect(made.source).toEqual({ position: model.position })
    const state = aliveAt(model.state, world.clock.now())
    expect(made.entryCount).toBe(state.size)
    model.lastId = made.sequence
    model.everPublished = true
    model.saved.set(made.sequence, { state, position: model.position, savepoint, damaged: false })
    if (savepoint) return
    for (const sequence of model.surplus()) model.saved.delete(sequence)
  })

/** Every step up to the publication fails in its turn; what follows it must not fail the checkpoint. */
const failingCheckpoint = (nth: number) =>
  command(`checkpoint failing at call ${nth}`, async (model, world) => {
    const { coordinator, faulty } = world
    let started = model.lastId
    const stop = coordinator.on('started', ({ id }) => {
      started = Number(id.slice(4))
    })
    faulty.inject({ effect: 'fail', nth })
    const outcome = await coordinator.createCheckpoint().catch((error: unknown) => error)
    stop()
    faulty.heal()
    model.lastId = Math.max(model.lastId, started)
    if (isStateError(outcome)) {
      expect(outcome.code).toBe('CHECKPOINT_FAILED')
      return
    }
    const state = aliveAt(model.state, world.clock.now())
    model.everPublished = true
    model.saved.set(model.lastId, { state, position: model.position, savepoint: false, damaged: false })
    // Retention may have been cut short: bring the model to what is there, and never to less than it promises.
    const surplus = model.surplus()
    const names = await namesIn(world.storage)
    for (const [sequence] of model.newestFirst()) {
      const there = names.includes(manifestName(sequence))
      if (!surplus.includes(sequence)) expect(there).toBe(true)
      else if (!there) model.saved.delete(sequence)
    }
  })

const damage = (pick: number, offset: number, file: 'manifest' | 'segment', missing: boolean) =>
  command(`damage the ${file} of the checkpoint no. ${pick}`, async (model, world) => {
    const entries = model.newestFirst()
    const [sequence, saved] = entries[pick % Math.max(1, entries.length)] ?? []
    if (sequence === undefined || saved === undefined) return
    const name =
      file === 'manifest'
        ? manifestName(sequence)
        : segmentName(sequence, saved.savepoint ? 'savepoint' : 'base')
    if (!(await namesIn(world.storage)).includes(name)) return
    saved.damaged = true
    if (missing && file === 'segment') {
      saved.segmentMissing = true
      await world.storage.remove(name)
      return
    }
    // Once each: the same byte flipped again would be mended.
    if (file === 'manifest' ? saved.manifestDamaged : saved.segmentDamaged) return
    if (file === 'manifest') saved.manifestDamaged = true
    else saved.segmentDamaged = true
    const bytes = await bytesIn(world.storage, name)
    const position = offset % bytes.length
    bytes[position] = (bytes[position] as number) ^ (1 + ((offset + pick) % 200))
    await world.storage.replace(name, bytes)
  })

const restoreLatest = () =>
  command('restore the latest', async (model, world) => {
    const skipped: string[] = []
    const stop = world.coordinator.on('skipped', ({ id }) => skipped.push(id))
    const outcome = await world.coordinator.restoreLatest().catch((error: unknown) => error)
    stop()
    const newestFirst = model.newestFirst()
    const usable = newestFirst.findIndex(([, saved]) => !saved.damaged)
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

const restoreOne = (pick: number) =>
  command(`restore no. ${pick}`, async (model, world) => {
    const entries = model.newestFirst()
    const [sequence, saved] = entries[pick % Math.max(1, entries.length)] ?? []
    if (sequence === undefined || saved === undefined) return
    const outcome = await world.coordinator.restore(checkpointId(sequence)).catch((error: unknown) => error)
    if (saved.damaged) {
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
    if (saved.damaged && saved.manifestDamaged !== true) saved.discovered = true
    expect(outcome).toMatchObject(saved.damaged ? { code: 'CORRUPTION' } : { entryCount: saved.state.size })
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
    await world.backend.close()
    world.boot()
    for (const saved of model.saved.values()) saved.discovered = false
    model.state = new Map()
    model.position = 0
  })

const key = fc.constantFrom('a', 'b', 'ba', 'c', 'd', 'e')
const pick = fc.nat(7)

const commands = fc.commands(
  [
    fc
      .tuple(key, fc.string({ maxLength: 12 }), fc.constantFrom(Infinity, 5, 40, 1_000))
      .map(([name, value, ttlMs]) => put(name, value, ttlMs)),
    fc
      .tuple(key, fc.constantFrom('x', 'y'), fc.constantFrom(Infinity, 40))
      .map(([name, value, ttlMs]) => put(name, value, ttlMs)),
    key.map(remove),
    fc.constant(clear()),
    fc.integer({ min: 1, max: 60 }).map(advance),
    fc.constant(checkpoint(false)),
    fc.constant(checkpoint(false)),
    fc.constant(checkpoint(true)),
    fc.integer({ min: 1, max: 25 }).map(failingCheckpoint),
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
  ['the model backend', (clock) => new ModelStateBackend({ clock }), 400],
  ['the memory backend', (clock) => new MemoryStateBackend({ clock }), 100],
]

describe('checkpoints against a model of them', () => {
  it.each(engines)('on %s', async (_, makeBackend, numRuns) => {
    const compression = fc.constantFrom<Compression>('none', 'lz4', 'gzip')
    await fc.assert(
      fc.asyncProperty(commands, compression, async (drawn, codec) => {
        const model = new Model()
        const world = new World(makeBackend, codec)
        const checked = [...drawn].map((each) => ({
          check: () => true,
          toString: () => each.toString(),
          run: async (m: Model, w: World) => {
            await each.run(m, w)
            await expectContent(m, w)
            const listed = (await w.coordinator.listCheckpoints()).map(({ sequence }) => sequence)
            const intact = m.newestFirst().filter(([, saved]) => !saved.damaged)
            for (const [sequence] of intact) expect(listed).toContain(sequence)
            for (const sequence of listed) expect(m.saved.has(sequence)).toBe(true)
          },
        }))
        await fc.asyncModelRun(() => ({ model, real: world }), checked)
        await world.backend.close()
      }),
      { numRuns },
    )
  })
})
