import { keyRangeViolations } from '../../backend/scan-range.js'
import type { Replaceable, SnapshotSource, StateBackend } from '../../backend/state-backend.js'
import { type Clock, ForwardClock, systemClock } from '../../base/clock.js'
import type { Violation } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import {
  hasMethods,
  oneOf,
  type Rule,
  rejectViolations,
  rules,
  unsetViolations,
  violationsOf,
} from '../../base/options.js'
import { type BlockCodec, blockCodec, CODEC_NAMES } from '../../codec/block-codec.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { storageRule } from '../archive/checkpoint-catalog.js'
import { HOLDFAST_VERSION } from '../format/holdfast-version.js'
import { isolatedLogger, type Logger } from '../types.js'
import { type CheckpointWorker, isCheckpointWorker } from '../worker/checkpoint-worker.js'
import type { WorkerLimits } from '../worker/worker-protocol.js'
import type { CheckpointCoordinatorOptions, MirrorOptions } from './coordinator-options.js'
import { MAX_DELTAS } from './merge-policy.js'

const DEFAULT_INTERVAL_MS = 300_000
const DEFAULT_MAX_CHECKPOINTS = 10
const DEFAULT_GRACE_MS = 3_600_000
const DEFAULT_MAX_DELTAS = 16
const DEFAULT_MAX_SILENCE_MS = 5_000
const DEFAULT_MAX_DELTA_RATIO = 0.5
const DEFAULT_DRAIN_MS = 10_000

/** What a coordinator asks of a backend: to save it, and to bring it back. */
export type CheckpointedBackend = StateBackend & SnapshotSource & Replaceable

/** The options of a coordinator, checked and complete. */
export interface CoordinatorSettings {
  readonly backend: CheckpointedBackend
  readonly storage: CheckpointStorage
  readonly intervalMs: number
  readonly minPauseMs: number
  readonly maxCheckpoints: number
  readonly graceMs: number
  readonly codec: BlockCodec
  readonly source: (() => JsonValue) | undefined
  readonly hold: (() => Promise<() => void>) | undefined
  readonly beforeRelease: (() => Promise<void>) | undefined
  readonly clock: Clock
  readonly logger: Logger
  readonly incremental: boolean
  readonly maxDeltas: number
  readonly maxDeltaRatio: number
  readonly limits: WorkerLimits
  readonly maxSilenceMs: number
  /** The worker of several coordinators; `undefined`: it makes one of its own. */
  readonly worker: CheckpointWorker | undefined
  readonly mirror: Required<MirrorOptions> | undefined
}

const share: Rule = (value) =>
  typeof value === 'number' && value > 0 && value <= 1 ? undefined : 'must be a number over 0 and up to 1'
const positive: Rule = (value) =>
  typeof value === 'number' && value > 0 ? undefined : 'must be a positive number or Infinity'
const deltas: Rule = (value) =>
  rules.positiveInteger(value) === undefined && (value as number) <= MAX_DELTAS
    ? undefined
    : `must be an integer from 1 to ${MAX_DELTAS}`

const mirrorRules = {
  storage: storageRule,
  maxCheckpoints: rules.positiveInteger,
  drainMs: rules.nonNegativeMs,
  verifyEveryMs: rules.positiveMs,
}

function mirrorViolations(options: CheckpointCoordinatorOptions): Violation[] {
  const { mirror, storage } = options
  if (mirror === undefined) return []
  const violations = violationsOf(mirror, mirrorRules).map(({ argument, reason }) => ({
    argument: argument.replace('options', 'options.mirror'),
    reason,
  }))
  const argument = 'options.mirror.storage'
  if (mirror?.storage === undefined) violations.push({ argument, reason: 'is required' })
  else if (mirror.storage === storage) {
    violations.push({ argument, reason: "is the coordinator's own storage; a mirror is another one" })
  }
  return violations
}

const optionRules = {
  storage: storageRule,
  intervalMs: rules.positiveMs,
  minPauseMs: rules.nonNegativeMs,
  maxCheckpoints: rules.positiveInteger,
  compression: oneOf(...CODEC_NAMES),
  source: rules.function,
  hold: rules.function,
  beforeRelease: rules.function,
  graceMs: rules.nonNegativeMs,
  clock: hasMethods('now', 'setTimer'),
  logger: hasMethods('debug', 'info', 'warn', 'error'),
  incremental: rules.boolean,
  maxDeltas: deltas,
  maxDeltaRatio: positive,
  workerShare: share,
  maxBytesPerSecond: positive,
  maxSilenceMs: rules.positiveMs,
  mirror: rules.object,
  worker: (value: unknown) =>
    isCheckpointWorker(value) ? undefined : `must be a CheckpointWorker of holdfast ${HOLDFAST_VERSION}`,
}

/** What keeps a backend from being checkpointed; `undefined`: nothing. */
function missingIn(backend: StateBackend): string | undefined {
  const shape = hasMethods('count', 'stats')(backend)
  if (shape !== undefined) return shape
  const { name, supports } = backend
  const problem = rules.object(supports)
  if (problem !== undefined) return `its supports ${problem}`
  const missing = [
    ...(supports.snapshots ? [] : ['snapshots (supports.snapshots), which checkpoints are made of']),
    ...(supports.replace ? [] : ['replaceAll (supports.replace), which a restore needs']),
  ]
  return missing.length === 0
    ? hasMethods('snapshot', 'replaceAll')(backend)
    : `'${name}' cannot be checkpointed: it lacks ${missing.join(', and ')}`
}

/** `INVALID_ARGUMENT` with every violation; `INCOMPATIBLE` for a codec that this runtime lacks. */
export function coordinatorSettings(
  backend: StateBackend,
  options: CheckpointCoordinatorOptions,
): CoordinatorSettings {
  const violations: Violation[] = []
  const backendProblem = missingIn(backend)
  if (backendProblem !== undefined) violations.push({ argument: 'backend', reason: backendProblem })
  violations.push(...violationsOf(options ?? null, optionRules))
  if (options?.storage === undefined) violations.push({ argument: 'options.storage', reason: 'is required' })
  if (violations.length === 0) violations.push(...mirrorViolations(options))
  rejectViolations(violations)
  const clock = new ForwardClock(options.clock ?? systemClock)
  const timers = options.clock ?? systemClock
  return {
    // It has what it was just asked for.
    backend: backend as CheckpointedBackend,
    storage: options.storage,
    intervalMs: options.intervalMs ?? DEFAULT_INTERVAL_MS,
    minPauseMs: options.minPauseMs ?? 0,
    maxCheckpoints: options.maxCheckpoints ?? DEFAULT_MAX_CHECKPOINTS,
    graceMs: options.graceMs ?? DEFAULT_GRACE_MS,
    codec: blockCodec(options.compression ?? 'lz4'),
    source: options.source,
    hold: options.hold,
    beforeRelease: options.beforeRelease,
    clock: {
      now: () => clock.now(),
      setTimer: (callback, delayMs) => timers.setTimer(callback, delayMs),
    },
    logger: isolatedLogger(options.logger),
    incremental: options.incremental ?? true,
    maxDeltas: options.maxDeltas ?? DEFAULT_MAX_DELTAS,
    maxDeltaRatio: options.maxDeltaRatio ?? DEFAULT_MAX_DELTA_RATIO,
    limits: {
      workerShare: options.workerShare ?? 1,
      maxBytesPerSecond: options.maxBytesPerSecond ?? Infinity,
    },
    maxSilenceMs: options.maxSilenceMs ?? DEFAULT_MAX_SILENCE_MS,
    worker: options.worker,
    mirror: options.mirror && {
      storage: options.mirror.storage,
      maxCheckpoints: options.mirror.maxCheckpoints ?? options.maxCheckpoints ?? DEFAULT_MAX_CHECKPOINTS,
      drainMs: options.mirror.drainMs ?? DEFAULT_DRAIN_MS,
      verifyEveryMs: options.mirror.verifyEveryMs ?? Infinity,
    },
  }
}

const callRules = { signal: rules.signal }
const restoreRules = {
  range: rules.object,
  downtime: oneOf('counts', 'pauses'),
  signal: rules.signal,
  onBegin: rules.function,
  onProgress: rules.function,
}

export function checkCallOptions(options: unknown): void {
  rejectViolations(violationsOf(options, callRules))
}

export function checkRestoreOptions(options: unknown): void {
  // No range means every key: one that is named but undefined cannot have meant that.
  const violations = [...violationsOf(options, restoreRules), ...unsetViolations(options, ['range'])]
  const { range } = (options ?? {}) as { readonly range?: unknown }
  if (violations.length === 0 && range !== undefined)
    violations.push(...keyRangeViolations(range, 'options.range'))
  rejectViolations(violations)
}

const ownershipRules = { waitForOwnerMs: rules.nonNegativeMs, takeOver: rules.boolean }

export function checkOwnershipOptions(options: unknown): void {
  rejectViolations(violationsOf(options, ownershipRules))
}
