// Model-based testing of backends: random sequences of commands run on an engine and on the reference model side by
// side, on one clock, and everything that can be observed is compared after each command.

import fc from 'fast-check'
import type { Clock } from '../../src/base/clock.js'
import { ManualClock } from '../../src/testing/manual-clock.js'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import { modelRuns } from '../support/long.js'
import { onRandomRuns } from '../support/random-runs.js'
import { type CommandKind, commandKinds } from './commands.js'
import {
  compareStats,
  type ModeledBackend,
  onBoth,
  same,
  sweepBoth,
  type World,
  wholeContent,
} from './world.js'

export interface EngineOptions {
  readonly clock: Clock
  readonly ttlMs?: number
}

export interface RunCommandsOptions {
  /** A whole number. Default: 2,000 in a long run, 50 in a quick one. */
  readonly runs?: number
  /** Commands in one run, at most. Default 100. */
  readonly maxCommands?: number
  /** Opens the engines that the content of the one under test is copied into. Default: `openEngine`. */
  readonly openCopy?: (options: EngineOptions) => Promise<ModeledBackend>
  /** Makes the engine remove everything that is due. Default: `count()`. */
  readonly sweep?: (engine: ModeledBackend) => unknown
  /** What is drawn from. Default: all kinds. */
  readonly kinds?: readonly CommandKind[]
  /** Kinds of commands that only engines of this kind have, each as often as it is to be drawn beside the others. */
  readonly ownKinds?: readonly CommandKind[]
}

/**
 * Runs random command sequences on engines that `openEngine` opens, each empty. Rejects with the shortest failing
 * sequence that fast-check finds in some seconds, and its seed.
 */
export async function runCommands(
  openEngine: (options: EngineOptions) => Promise<ModeledBackend>,
  options: RunCommandsOptions = {},
): Promise<void> {
  const { runs = modelRuns(2_000, 50), maxCommands = 100 } = options
  const {
    sweep = (engine) => engine.count(),
    openCopy = openEngine,
    kinds = commandKinds(),
    ownKinds = [],
  } = options
  const ttlMs = fc.constantFrom(undefined, undefined, 300)
  const sequence = fc.commands([...kinds, ...ownKinds], { maxCommands, size: 'max' })
  await onRandomRuns(
    fc.asyncProperty(ttlMs, sequence, async (defaultTtlMs, commands) => {
      const clock = new ManualClock()
      const engineOptions = { clock, ...(defaultTtlMs !== undefined && { ttlMs: defaultTtlMs }) }
      const opened: ModeledBackend[] = []
      const track = (backend: ModeledBackend) => {
        opened.push(backend)
        return backend
      }
      const openFresh = async () => track(await openCopy(engineOptions))
      const engine = track(await openEngine(engineOptions))
      const model = new ModelStateBackend(engineOptions)
      const world: World = {
        model,
        engine,
        clock,
        ttlMs: defaultTtlMs,
        openFresh,
        sweep,
        snapshots: [],
        scans: [],
        saved: undefined,
        expiredAhead: 0,
      }
      try {
        await fc.asyncModelRun(() => ({ model: world, real: world }), commands)
        await compareInTheEnd(world)
      } finally {
        for (const backend of [...opened, world.engine]) await backend.close()
        await world.model.close()
      }
    }),
    { runs },
  )
}

async function compareInTheEnd(world: World): Promise<void> {
  await sweepBoth(world)
  await onBoth(world, wholeContent)
  for (const { model, engine } of world.snapshots) {
    same(await wholeContent(engine), await wholeContent(model))
    await Promise.all([model.close(), engine.close()])
  }
  for (const { model, engine } of world.scans) await Promise.all([model.return?.(), engine.return?.()])
  compareStats(world)
  same(world.engine.stats().openSnapshots, 0, 'openSnapshots')
}
