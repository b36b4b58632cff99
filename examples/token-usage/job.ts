import { CheckpointCoordinator, FileCheckpointStorage } from 'holdfast'
import { openBackend } from './backends.js'
import { positionFrom } from './events.js'
import { Pacer } from './pacer.js'
import type { RunResult, WorkerMessage, WorkerTask } from './protocol.js'
import { openSource } from './source.js'
import { WindowState } from './window-state.js'

const BUSIEST_WINDOWS = 10

/**
 * The job itself, from start or restart to the last request:
 *
 * 1. State and source position are restored from the latest checkpoint, if there is one.
 * 2. A batch is added to its windows and the position moved on in one synchronous step, so that a snapshot,
 *    which is taken between such steps, never has one without the other.
 * 3. Checkpoints are made while the next batches are read. The last one is made by `shutdown`.
 */
export async function runJob(task: WorkerTask, tell: (message: WorkerMessage) => void): Promise<RunResult> {
  const source = await openSource(task.source)
  let position = source.start
  await using backend = openBackend(task.backend)
  // Disposal makes a last checkpoint, also where a broken line ends the job early.
  await using coordinator = new CheckpointCoordinator(backend, {
    storage: new FileCheckpointStorage(task.directory),
    maxCheckpoints: 3,
    source: () => position,
  })

  const startedAtMs = performance.now()
  const restored = await coordinator.restoreLatest()
  if (restored === undefined) {
    tell({ type: 'started' })
  } else {
    position = positionFrom(restored.source)
    const durationMs = performance.now() - startedAtMs
    const { id: checkpointId, entryCount: windows } = restored
    tell({ type: 'started', restored: { checkpointId, events: position.events, windows, durationMs } })
  }

  // A service that runs for ever would call `coordinator.start()` and have a checkpoint every few minutes. Here one is
  // due after so many requests, however fast they come; it is made in the background, and never two at a time.
  let inFlight: Promise<void> | undefined
  let nextCheckpointAt = position.events + task.checkpointEvery
  const checkpoint = async () => {
    try {
      const { id: checkpointId, sizeBytes, source: cut } = await coordinator.createCheckpoint()
      tell({ type: 'checkpoint', checkpointId, events: positionFrom(cut).events, sizeBytes })
    } catch {
      // It is counted by the coordinator; the state is intact and the next checkpoint may succeed. If the disk does
      // not recover, the one that `shutdown` makes ends the job.
    } finally {
      inFlight = undefined
    }
  }

  const windows = new WindowState(backend)
  const pacer = new Pacer(task.eventsPerSecond ?? Infinity)
  const firstEvent = position.events
  for await (const batch of source.batches(position, task.batchSize)) {
    for (const request of batch.events) windows.add(request)
    position = batch.end
    tell({ type: 'progress', events: position.events, fraction: source.fractionAt(position) })
    if (position.events >= nextCheckpointAt && inFlight === undefined) {
      nextCheckpointAt = position.events + task.checkpointEvery
      inFlight = checkpoint()
    }
    await pacer.pause(position.events - firstEvent)
  }
  const durationMs = pacer.elapsedMs
  await inFlight
  await coordinator.shutdown()

  const { created, failed, totalDurationMs, lastSizeBytes = 0 } = coordinator.stats()
  return {
    events: position.events,
    skippedLines: position.skippedLines,
    windows: await backend.count(),
    digest: windows.digest(),
    busiest: windows.busiest(BUSIEST_WINDOWS),
    durationMs,
    checkpoints: { created, failed, totalDurationMs, lastSizeBytes },
  }
}
