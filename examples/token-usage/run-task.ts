import { join } from 'node:path'
import {
  CheckpointArchive,
  type CheckpointStorage,
  FileCheckpointStorage,
  MemoryStateBackend,
  type StateBackend,
} from 'holdfast'
import { LmdbStateBackend } from 'holdfast/lmdb'
import type { SourcePosition } from './events.js'
import { startJob, tokenUsage } from './job.js'
import { bucketStorage, isStateServer, type KeptState, openState, stateAddress } from './keepers.js'
import type { RunResult, WorkerMessage, WorkerTask } from './protocol.js'
import { requestSource } from './request-source.js'
import { openSource } from './source.js'
import { readResults } from './totals.js'

const BUSIEST_WINDOWS = 10

/** Runs the job to the last request, tells how far it is, and reads what it has put out. */
export async function runTask(task: WorkerTask, tell: (message: WorkerMessage) => void): Promise<RunResult> {
  const { directory, saveEveryMs, batchSize, eventsPerSecond, waitForKillAt } = task
  const requests = await openSource(task.source)
  await using kept = await openBackend(task)
  const { backend } = kept
  const storage = await checkpointStorage(task)
  const newest = await newestSave(backend, storage)
  const startedAtMs = performance.now()
  let position = requests.start
  const source = requestSource(requests, {
    batchSize,
    eventsPerSecond: eventsPerSecond ?? Infinity,
    waitFrom: waitForKillAt ?? Infinity,
    onOpen: (start, isResumed) => {
      position = start
      const { events } = start
      const durationMs = performance.now() - startedAtMs
      tell({ type: 'started', ...(isResumed && { restored: { checkpointId: newest, events, durationMs } }) })
    },
    onProgress: (reached) => {
      if (reached.events > position.events) {
        tell({ type: 'progress', events: reached.events, fraction: requests.fractionAt(reached) })
      }
      position = reached
    },
    onSaved: ({ events }) => tell({ type: 'checkpoint', events }),
  })
  const job = await startJob(tokenUsage(requests.disorderMs), source, {
    directory,
    backend,
    storage,
    saveEveryMs,
  })
  const { cuts } = await job.finished
  const { events, skippedLines }: SourcePosition = position
  const durationMs = performance.now() - startedAtMs
  const lastSizeBytes = await sizeOfSave(backend, storage)
  const saves = { created: cuts, failed: job.health().failedCuts?.count ?? 0, lastSizeBytes }
  return { events, skippedLines, ...(await readResults(directory, BUSIEST_WINDOWS)), durationMs, saves }
}

async function openBackend({
  backend: name,
  backendAddress,
  name: store,
  directory,
}: WorkerTask): Promise<KeptState> {
  if (isStateServer(name)) return await openState(name, stateAddress(name, backendAddress), store)
  const backend =
    name === 'memory'
      ? new MemoryStateBackend()
      : await LmdbStateBackend.open({ path: join(directory, 'state') })
  return { backend, [Symbol.asyncDispose]: () => backend.close() }
}

async function checkpointStorage({ storage, name, directory }: WorkerTask): Promise<CheckpointStorage> {
  return storage === undefined
    ? new FileCheckpointStorage(join(directory, 'checkpoints'))
    : await bucketStorage(storage, name)
}

/** What a job would begin with, by its name. */
async function newestSave(backend: StateBackend, storage: CheckpointStorage): Promise<string> {
  if (backend.supports.durable) return 'what the store had flushed'
  const [newest] = await new CheckpointArchive(storage).list()
  return newest?.id ?? 'nothing'
}

/** 0 where a server keeps the state: how much that takes there is not told. */
async function sizeOfSave(backend: StateBackend, storage: CheckpointStorage): Promise<number> {
  if (backend instanceof LmdbStateBackend) return await backend.sizeOnDisk()
  if (backend.supports.durable) return 0
  const [newest] = await new CheckpointArchive(storage).list()
  return newest?.sizeBytes ?? 0
}
