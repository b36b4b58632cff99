import { openKeeper } from './backends.js'
import { Pacer } from './pacer.js'
import type { RunResult, WorkerMessage, WorkerTask } from './protocol.js'
import { openSource } from './source.js'
import { busiest, digestOf } from './windows.js'

const BUSIEST_WINDOWS = 10

/**
 * The job itself, from start or restart to the last request:
 *
 * 1. State and source position are restored from what an earlier process saved, if there is something.
 * 2. A batch is added to its windows and the position moved on in one step, so that nothing that is saved ever has
 *    one without the other.
 * 3. It is saved while the next batches are read: by a checkpoint, or by a flush of an engine that persists.
 */
export async function runJob(task: WorkerTask, tell: (message: WorkerMessage) => void): Promise<RunResult> {
  const source = await openSource(task.source)
  await using keeper = await openKeeper(task.backend, task.directory)
  const startedAtMs = performance.now()
  const restored = await keeper.restore(source.start)
  let position = source.start
  if (restored === undefined) {
    tell({ type: 'started' })
  } else {
    position = restored.position
    const windows = await keeper.windowCount()
    const durationMs = performance.now() - startedAtMs
    const { name: checkpointId } = restored
    tell({ type: 'started', restored: { checkpointId, events: position.events, windows, durationMs } })
  }

  // A service that runs for ever would call `coordinator.start()` and have a checkpoint every few minutes. Here one is
  // due after so many requests, however fast they come; it is made in the background, and never two at a time.
  let inFlight: Promise<void> | undefined
  let hasSaved = false
  let nextSaveAt = position.events + task.checkpointEvery
  const save = async () => {
    try {
      const { name: checkpointId, events, sizeBytes } = await keeper.save()
      tell({ type: 'checkpoint', checkpointId, events, sizeBytes })
      hasSaved = true
    } catch {
      // It is counted by the keeper; the state is intact, and the last one, made by `finish`, ends the job if the
      // disk does not recover.
    } finally {
      inFlight = undefined
    }
  }

  const pacer = new Pacer(task.eventsPerSecond ?? Infinity)
  const firstEvent = position.events
  for await (const batch of source.batches(position, task.batchSize)) {
    keeper.apply(batch.events, batch.end)
    position = batch.end
    tell({ type: 'progress', events: position.events, fraction: source.fractionAt(position) })
    if (position.events >= nextSaveAt && inFlight === undefined) {
      nextSaveAt = position.events + task.checkpointEvery
      inFlight = save()
    }
    if (position.events >= (task.waitForKillAt ?? Infinity)) {
      await inFlight
      if (hasSaved) await new Promise<never>(() => {})
    }
    await pacer.pause(position.events - firstEvent)
  }
  const durationMs = pacer.elapsedMs
  await inFlight
  await keeper.finish()

  const { windows } = keeper
  return {
    events: position.events,
    skippedLines: position.skippedLines,
    windows: await keeper.windowCount(),
    digest: digestOf(windows),
    busiest: busiest(windows, BUSIEST_WINDOWS),
    durationMs,
    checkpoints: keeper.stats(),
  }
}
