import { join } from 'node:path'
import { CheckpointArchive, FileCheckpointStorage, MemoryStateBackend, type SyncStateBackend } from 'holdfast'
import { LmdbStateBackend } from 'holdfast/lmdb'
import type { BackendName } from './backend-names.js'
import type { SourcePosition } from './events.js'
import { startJob, tokenUsage } from './job.js'
import type { RunResult, WorkerMessage, WorkerTask } from './protocol.js'
import { requestSource } from './request-source.js'
import { openSource } from './source.js'
import { readResults } from './totals.js'

const BUSIEST_WINDOWS = 10

/** Runs the job to the last request, tells how far it is, and reads what it has put out. */
export async function runTask(task: WorkerTask, tell: (message: WorkerMessage) => void): Promise<RunResult> {
  const { directory, saveEveryMs, batchSize, eventsPerSecond, waitForKillAt } = task
  const requests = await openSource(task.source)
  await using backend = await openBackend(task.backend, directory)
  const newest = await newestSave(task.backend, directory)
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
  const job = await startJob(tokenUsage(requests.disorderMs), source, { directory, backend, saveEveryMs })
  const { cuts } = await job.finished
  const { events, skippedLines }: SourcePosition = position
  const durationMs = performance.now() - startedAtMs
  const lastSizeBytes = await sizeOfSave(backend, directory)
  const saves = { created: cuts, failed: job.health().failedCuts?.count ?? 0, lastSizeBytes }
  return { events, skippedLines, ...(await readResults(directory, BUSIEST_WINDOWS)), durationMs, saves }
}

async function openBackend(name: BackendName, directory: string): Promise<SyncStateBackend> {
  if (name === 'memory') return new MemoryStateBackend()
  return await LmdbStateBackend.open({ path: join(directory, 'state') })
}

const checkpointsIn = (directory: string) =>
  new CheckpointArchive(new FileCheckpointStorage(join(directory, 'checkpoints')))

/** What a job would begin with, by its name. */
async function newestSave(backend: BackendName, directory: string): Promise<string> {
  if (backend === 'lmdb') return 'what the store had flushed'
  const [newest] = await checkpointsIn(directory).list()
  return newest?.id ?? 'nothing'
}

async function sizeOfSave(backend: SyncStateBackend, directory: string): Promise<number> {
  if (backend instanceof LmdbStateBackend) return await backend.sizeOnDisk()
  const [newest] = await checkpointsIn(directory).list()
  return newest?.sizeBytes ?? 0
}
