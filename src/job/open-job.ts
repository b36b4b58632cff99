// Everything that a job works with, opened where its last cut has left it.

import { randomUUID } from 'node:crypto'
import { isSyncBackend, type StateBackend, type SyncStateBackend } from '../backend/state-backend.js'
import { systemClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import type { Semaphore, Unlock } from '../base/mutex.js'
import { invalidArgument } from '../base/options.js'
import { nextTurn } from '../base/slices.js'
import type { StateDefinitions, StateSchema } from '../state/schema/define-state.js'
import { StateStore } from '../state/store.js'
import { TIME_KEY } from '../state/time/event-time.js'
import { SourceTime } from '../window/time/source-time.js'
import { CoordinatedCuts } from './coordinated-cuts.js'
import type { JobCut } from './cut.js'
import type { Cuts } from './cuts.js'
import { FetchedBackend } from './fetched-backend.js'
import { advanceStore } from './firing.js'
import { failureOf } from './job-failure.js'
import { JobOpening, WAITS, type WaitFor } from './job-opening.js'
import type { JobOptions } from './job-options.js'
import { schemaOf } from './job-timers.js'
import type { Outputs } from './outputs.js'
import { RECORD_KEY } from './recorded-cut.js'
import type { EpochId } from './sink/sink.js'
import { OutputsForCut, storedOutputs } from './sink/stored-outputs.js'
import { OrderedReader } from './source/ordered-reader.js'
import type { SourceReader } from './source/source.js'
import { type AnyStage, withStages } from './stage-definition.js'
import { StoredCuts } from './stored-cuts.js'

const DEFAULT_FLUSH_INTERVAL_MS = 1_000

/** How a job begins beside others. */
export interface BeginBesideOthers {
  /** The job takes a place as soon as it is the owner of its checkpoints, and has it until it has begun. */
  readonly places: Semaphore
  /** Ends the waiting for the owner, and for a place, with `ABORTED`. */
  readonly signal: AbortSignal
  /** Waits for what is the caller's or far away, so that nothing that hangs is waited for once the job is to end. */
  readonly waitFor: WaitFor
}

/** What a job is made of, opened and restored. */
export interface JobParts<Event, Schema extends StateSchema, Output> {
  readonly options: JobOptions<Event, Schema, Output>
  readonly cuts: Cuts
  readonly stored: StoredCuts<Output> | undefined
  /** The face of an asynchronous engine. */
  readonly fetched: FetchedBackend | undefined
  /** What the job works on, and what it shows. */
  readonly store: StateStore<Schema>
  readonly shown: StateStore<Schema>
  readonly time: SourceTime | undefined
  readonly reader: SourceReader<Event>
  readonly outputs: Outputs<Output> | undefined
  /** What the sink keeps in the state, where that is an asynchronous engine. */
  readonly forCut: OutputsForCut | undefined
  readonly epoch: EpochId
  readonly cut: JobCut | undefined
}

/** Those that a job runs on: another one beside it would count into the same states, and write the same record of itself. */
const inUse = new WeakSet<object>()

/** The job has ended: another one may run on its engine. */
export function letGoOf(backend: object): void {
  inUse.delete(backend)
}

/**
 * Acquires the checkpoints, restores, and opens what the job works with, which `begin` takes over. Where any of that fails, what was opened is
 * closed again.
 */
export async function openJob<Event, Schema extends StateSchema, Output, Begun>(
  options: JobOptions<Event, Schema, Output>,
  given: Cuts | undefined,
  beside: BeginBesideOthers | undefined,
  begin: (parts: JobParts<Event, Schema, Output>) => Begun,
): Promise<Begun> {
  const { name, backend, checkpoints, clock = systemClock, flushIntervalMs } = options
  if (inUse.has(backend)) throw invalidArgument('options.backend', 'is that of a job that runs')
  const intervalMs = flushIntervalMs ?? DEFAULT_FLUSH_INTERVAL_MS
  const keepsItself = given === undefined && checkpoints === undefined
  const fetched = fetchedOf(options, keepsItself)
  const stepped: SyncStateBackend = fetched ?? backend
  const stored = keepsItself
    ? new StoredCuts<Output>({
        backend: stepped,
        engine: backend,
        jobName: name,
        intervalMs,
        clock,
        ...(fetched !== undefined && { commit: () => fetched.commit() }),
      })
    : undefined
  const cuts: Cuts =
    given ?? stored ?? new CoordinatedCuts(backend, name, checkpoints ?? noCheckpoints(), options)
  const { sink } = options
  const opening = new JobOpening(options.source, sink)
  const waitFor: WaitFor = beside?.waitFor ?? WAITS
  let endTurn: Unlock = () => {}
  inUse.add(backend)
  try {
    await waitFor('the owner to be asked', async () => cuts.acquire?.(beside?.signal))
    if (beside !== undefined) endTurn = await beside.places.lock(beside.signal, `the begin of job '${name}'`)
    const { cut, isNewest } = await waitFor('the state to be restored', () => opening.restore(cuts, name))
    // Steps of the begin run code for the first time, and where they wait for nothing they would hold the event loop together.
    await nextTurn()
    const { store, shown } = await openStores(options, fetched, keepsItself, waitFor)
    await nextTurn()
    const goesOn = isNewest && options.lineage !== 'new'
    const epoch = cut !== undefined && goesOn ? cut.epoch : { lineage: randomUUID(), number: 0 }
    const forCut = fetched === undefined ? undefined : new OutputsForCut(backend, fetched)
    const state = forCut ?? storedOutputs(stepped)
    const { reader: opened, outputs } = await opening.open({ jobName: name, cut, epoch, state }, waitFor)
    if (stored !== undefined && opened.prepareCut !== undefined) throw needsCheckpoints(name)
    if (outputs !== undefined) stored?.deliverToSink()
    else stored?.requireEmptyOutbox()
    const time = options.time === undefined ? undefined : new SourceTime(options.time, cut?.time, clock)
    // An engine may have made less durable of the store's own time than of the job's.
    if (time !== undefined && options.stages === undefined) advanceStore(store, time.watermarkMs)
    const reader = inOrder(opened, options, time)
    return begin({
      options,
      cuts,
      stored,
      fetched,
      forCut,
      store,
      shown,
      time,
      reader,
      outputs,
      epoch,
      cut,
    })
  } catch (error) {
    const closed = waitFor('source and sink to close', () => opening.abandon(error))
    const failure = await closed.catch(() => error)
    const letGo = () => cuts.abandon(failureOf(name, failure)).finally(() => inUse.delete(backend))
    await waitFor('the checkpoints to be let go of', letGo).catch((reason) => {
      if (beside === undefined) throw reason
    })
    throw failure
  } finally {
    endTurn()
  }
}

/** An engine that keeps its state itself makes it durable whenever it likes: what such a source has marked would not be what is in the state. */
function needsCheckpoints(name: string): StateError {
  return new StateError('INCOMPATIBLE', {
    what: `job '${name}' without checkpoints`,
    found: 'a source that marks what is in each cut (`prepareCut`), as it shares its events with others',
    supported: '`checkpoints`',
  })
}

/** Opens the store of the job: `shown` is what its user sees, `store` what its steps work with, which differ over an asynchronous engine. */
async function openStores<Event, Schema extends StateSchema, Output>(
  options: JobOptions<Event, Schema, Output>,
  fetched: FetchedBackend | undefined,
  keepsItself: boolean,
  waitFor: WaitFor,
): Promise<{ readonly store: StateStore<Schema>; readonly shown: StateStore<Schema> }> {
  const { backend, stages } = options
  const first = schemaOf(options.schema, options.onTimer !== undefined, options.windows)
  const schema = stages === undefined ? first : withStages(first, stages)
  const openStore = () => StateStore.open(backend, schema, options.open)
  const shown = (await waitFor('the store to open', openStore)) as StateStore<Schema>
  if (fetched === undefined) return { store: shown, shown }
  await fetched.pin(TIME_KEY)
  if (keepsItself) fetched.beginWith(await backend.get(RECORD_KEY))
  // What was to be migrated was, as it is done over an asynchronous engine.
  return { store: (await StateStore.open(fetched, schema)) as StateStore<Schema>, shown }
}

/** The reader of a source whose partitions are read by time, where that is asked for. */
function inOrder<Event>(
  reader: SourceReader<Event>,
  options: Pick<JobOptions<Event, StateSchema, unknown>, 'time' | 'timestamp'>,
  time: SourceTime | undefined,
): SourceReader<Event> {
  const { timestamp } = options
  if (options.time?.inOrder !== true || timestamp === undefined || time === undefined) return reader
  return new OrderedReader(reader, { timestamp, isIdle: (partition) => time.partition(partition).isIdle })
}

/** The face of an asynchronous engine, for the steps of a job. */
function fetchedOf(
  options: {
    readonly backend: StateBackend
    readonly schema: StateSchema
    readonly stages?: readonly object[]
  },
  keepsItself: boolean,
): FetchedBackend | undefined {
  const { backend, schema, stages = [] } = options
  if (isSyncBackend(backend)) return undefined
  const schemas = [schema, ...stages.map((stage) => (stage as AnyStage).schema)]
  const definitions = schemas.flatMap(({ states }) => Object.values(states as StateDefinitions))
  const mayExpire = definitions.some(({ ttl }) => ttl !== undefined)
  return new FetchedBackend(backend, { recordKey: keepsItself ? RECORD_KEY : undefined, mayExpire })
}

function noCheckpoints(): never {
  throw new Error('checkpoints were checked to be there')
}
