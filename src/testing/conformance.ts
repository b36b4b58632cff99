import {
  isInPlaceBackend,
  isSyncBackend,
  type StateBackend,
  type SyncStateBackend,
} from '../backend/state-backend.js'
import type { StateSnapshot } from '../backend/state-snapshot.js'
import { assert } from '../base/assert.js'
import { invalidArgument, rejectViolations, rules, violationsOf } from '../base/options.js'
import { batches } from './conformance/batches.js'
import { bulkReplace } from './conformance/bulk-replace.js'
import {
  CAPABILITIES,
  type CaseContext,
  type ConformanceCapability,
  type ConformanceCase,
  type ConformanceOpenOptions,
  type ConformanceTopic,
  type TestedBackend,
} from './conformance/case.js'
import { changes } from './conformance/changes.js'
import { concurrency } from './conformance/concurrency.js'
import { inPlace } from './conformance/in-place.js'
import { keysAndValues } from './conformance/keys-and-values.js'
import { lifecycle } from './conformance/lifecycle.js'
import { limits } from './conformance/limits.js'
import { rangeDeletes } from './conformance/range-deletes.js'
import { ranges } from './conformance/ranges.js'
import { ReadingThreads } from './conformance/reading-threads.js'
import { ReusedBackends } from './conformance/reused-backends.js'
import { sharing } from './conformance/sharing.js'
import { snapshots } from './conformance/snapshots.js'
import { statistics } from './conformance/statistics.js'
import { SyncFaces } from './conformance/sync-faces.js'
import { timeToLive } from './conformance/time-to-live.js'
import { ManualClock } from './manual-clock.js'

const TOPICS: readonly ConformanceTopic[] = [
  keysAndValues,
  ranges,
  batches,
  rangeDeletes,
  snapshots,
  timeToLive,
  statistics,
  lifecycle,
  bulkReplace,
  limits,
  concurrency,
  changes,
  sharing,
  inPlace,
]

const DEFAULT_MAX_BYTES = 64 * 1024 * 1024

type TestBody = () => Promise<void>

/** The functions of the caller's test runner. Those of vitest, node:test, mocha and jest fit as they are. */
export interface ConformanceRunner {
  readonly describe: (title: string, body: () => void) => unknown
  readonly it: ((title: string, body: TestBody) => unknown) & {
    /** Without it, a skipped case is an empty test whose title says so. */
    readonly skip?: (title: string, body: TestBody) => unknown
  }
  /** Called in a group of `describe`: the body runs after its tests (`after` of node:test and mocha). Needed for `reuse`. */
  readonly afterAll?: (body: TestBody) => unknown
}

/** The engine that the suite tests, and what it says that it cannot do. */
export interface ConformanceSubject {
  /** The engine's name, for titles. */
  readonly name: string
  /** Opens an empty backend of its own with these options; the suite closes it. */
  readonly open: (options: ConformanceOpenOptions) => Promise<StateBackend>
  /** What the engine cannot do, and why. Each such case shows as skipped, with the reason. */
  readonly cannot?: { readonly [Capability in ConformanceCapability]?: string }
  /** The `maxBytes` with which the limit is tested: the smallest that the engine takes. Default 64 MiB. */
  readonly maxBytes?: number
  /**
   * Cases for which an empty backend will do get the one of the case before, cleared, unless that case failed or has set the clock
   * back; threads that read snapshots are used again, too. For engines that take long to open: it spares most of the openings and
   * starts. Default false: each case has backends and threads of its own.
   */
  readonly reuse?: boolean
}

const subjectRules = {
  name: (value: unknown) => (typeof value === 'string' ? undefined : 'must be a string'),
  open: rules.function,
  cannot: rules.object,
  maxBytes: rules.positiveInteger,
  reuse: rules.boolean,
}

/**
 * Registers the promises of `StateBackend` as tests, one per promise and boundary. A local engine
 * (`SyncStateBackend`) goes through all of them twice: by its promises and by its synchronous faces.
 *
 * Time is a `ManualClock`, and nothing waits for real time.
 * Throws `INVALID_ARGUMENT` when the subject is described wrongly, an unknown capability included.
 *
 * @example
 * import { describe, it } from 'node:test'
 * import { runConformanceSuite } from 'holdfast/testing'
 *
 * runConformanceSuite({ describe, it }, { name: 'mine', open: async (options) => new MyBackend(options) })
 */
export function runConformanceSuite(runner: ConformanceRunner, subject: ConformanceSubject): void {
  rejectViolations(violationsOf(subject, subjectRules, 'subject'))
  const reason = (value: unknown) =>
    typeof value === 'string' && value !== '' ? undefined : 'must be the reason, in words'
  const capabilities = Object.fromEntries(CAPABILITIES.map((capability) => [capability, reason]))
  rejectViolations(violationsOf(subject.cannot, capabilities, 'subject.cannot'))
  if (subject.reuse === true && runner.afterAll === undefined) {
    throw invalidArgument('runner.afterAll', 'is missing: with reuse, it closes what was opened')
  }
  runner.describe(`${subject.name} keeps the promises of StateBackend`, () => {
    registerAll(runner, subject, false)
  })
  runner.describe(`${subject.name} keeps the promises of SyncStateBackend`, () => {
    const cannotSync = subject.cannot?.sync
    if (cannotSync !== undefined) return skip(runner, 'all of them, without promises', 'sync', cannotSync)
    registerAll(runner, subject, true)
  })
}

function registerAll(runner: ConformanceRunner, subject: ConformanceSubject, sync: boolean): void {
  const reuse = subject.reuse === true
  const reused = reuse ? new ReusedBackends() : undefined
  const threads = new ReadingThreads(reuse)
  if (reused !== undefined) {
    runner.afterAll?.(async () => {
      await threads.close()
      await reused.close()
    })
  }
  for (const topic of TOPICS) {
    runner.describe(topic.title, () => register(topic, runner, { subject, sync, reused, threads }))
  }
}

interface Face {
  readonly subject: ConformanceSubject
  readonly sync: boolean
  readonly reused: ReusedBackends | undefined
  readonly threads: ReadingThreads
}

function register(topic: ConformanceTopic, runner: ConformanceRunner, face: Face): void {
  const { subject } = face
  for (const test of topic.cases) {
    const missing = test.needs.find((capability) => subject.cannot?.[capability] !== undefined)
    if (missing === undefined) {
      runner.it(test.title, () => runCase(test, face))
    } else {
      skip(runner, test.title, missing, subject.cannot?.[missing] ?? '')
    }
  }
}

function skip(
  runner: ConformanceRunner,
  title: string,
  capability: ConformanceCapability,
  reason: string,
): void {
  const explained = `${title} (skipped: cannot ${capability}: ${reason})`
  const nothing = async () => {}
  if (runner.it.skip === undefined) runner.it(explained, nothing)
  else runner.it.skip(explained, nothing)
}

/** Runs one case, and closes what it opened, also when it failed, but for what the next case may use. */
async function runCase(test: ConformanceCase, { subject, sync, reused, threads }: Face): Promise<void> {
  const opened: (StateBackend | StateSnapshot)[] = []
  const reusable: StateBackend[] = []
  const clock = reused?.clock ?? new ManualClock()
  const openAnew = async (options: ConformanceOpenOptions): Promise<StateBackend> =>
    await subject.open({ ...options, ...(subject.cannot?.clock === undefined && { clock }) })
  const faceOf = (backend: StateBackend): TestedBackend => {
    // Cases use only what they say that they need, and what the subject cannot is left out.
    return sync ? new SyncFaces(syncOf(backend)) : (backend as TestedBackend)
  }
  const context: CaseContext = {
    clock,
    maxBytes: subject.maxBytes ?? DEFAULT_MAX_BYTES,
    open: async (options = {}) => {
      const isPlain = reused !== undefined && Object.keys(options).length === 0
      const backend = (isPlain ? reused.take() : undefined) ?? (await openAnew(options))
      const list = isPlain ? reusable : opened
      list.push(backend)
      return faceOf(backend)
    },
    openNew: async () => {
      const backend = await openAnew({})
      opened.push(backend)
      return faceOf(backend)
    },
    can: (capability) => subject.cannot?.[capability] === undefined,
    readerOf: async (backend) => {
      if (subject.cannot?.snapshots !== undefined) return backend
      const snapshot = await backend.snapshot()
      opened.push(snapshot)
      return snapshot
    },
    syncOf: (backend) => (backend instanceof SyncFaces ? backend.backend : syncOf(backend)),
    inPlaceOf: (backend) => {
      const raw = backend instanceof SyncFaces ? backend.backend : backend
      assert(isInPlaceBackend(raw), 'the subject can be changed in place')
      return raw
    },
    snapshotOf: async (backend, options) => {
      const snapshot = await backend.snapshot(options)
      opened.push(snapshot)
      return snapshot
    },
    snapshotNow: (backend, options) => {
      const snapshot =
        backend instanceof SyncFaces ? backend.snapshotNow(options) : syncOf(backend).snapshotSync(options)
      opened.push(snapshot)
      return snapshot
    },
    readElsewhere: (shared) => threads.read(shared),
  }
  try {
    await test.run(context)
  } catch (error) {
    opened.unshift(...reusable.splice(0))
    throw error
  } finally {
    for (const resource of opened.reverse()) await resource.close()
  }
  for (const backend of reusable) await reused?.giveBack(backend)
  await reused?.endCase()
}

function syncOf(backend: StateBackend): SyncStateBackend {
  if (isSyncBackend(backend)) return backend
  throw invalidArgument('subject', "is no SyncStateBackend; declare it: cannot: { sync: '…' }")
}
