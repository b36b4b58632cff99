import { createHash } from 'node:crypto'
import {
  CheckpointCoordinator,
  type EntryBlock,
  EntryBlockCursor,
  MemoryStateBackend,
  type RestoreProgress,
  type SyncStateBackend,
  systemClock,
} from '../../index.js'
import { type CheckpointPlace, chosenCheckpoint, openCheckpoints } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { newerText } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import type { Progress } from '../progress.js'
import { restoreInto, STORE_CACHE_BYTES } from '../restored.js'
import { bytesText, countText, durationText, entriesText } from '../units.js'

interface DrillOptions {
  readonly engine: 'memory' | 'lmdb'
  readonly maxSeconds?: string
  readonly maxAgeHours?: string
}

/**
 * Restores a checkpoint into a scratch engine and compares what is there. What is wrong, or too slow, or too old, is a finding; so is, without
 * an id, a newer one that cannot be read. The LMDB
 * engine, among temporary files, takes as much of the disk as there is state, and little memory; the memory engine takes all of it there.
 */
export async function drill(
  { terminal, signal }: CommandContext,
  path: string,
  id: string | undefined,
  options: DrillOptions,
): Promise<number> {
  const maxSeconds = limitFrom('--max-seconds', options.maxSeconds)
  const maxAgeHours = limitFrom('--max-age-hours', options.maxAgeHours)
  const place = await openCheckpoints(path)
  const newer: string[] = []
  const checkpoint = await chosenCheckpoint(place, id, (each) => newer.push(newerText(each)))
  const { clockMs } = await place.archive.manifest(checkpoint.id)
  const clock = { now: () => clockMs, setTimer: () => () => {} }
  const progress = await terminal.progress('restoring', checkpoint.entryCount)
  const restoring = { place, id: checkpoint.id, clock, progress, signal }
  const { backend, restoreMs } = await restoredInto(options.engine, restoring)
  try {
    progress.end()
    const comparing = await terminal.progress('comparing', 2 * checkpoint.entryCount)
    const digest = new EntryDigest(clockMs, comparing)
    const saved = await digest.of(place.archive.blocks(checkpoint.id, { signal }))
    const restored = await digest.of(backend.snapshotSync().blocks({ signal }))
    comparing.end()
    const ageMs = systemClock.now() - checkpoint.createdAt.getTime()
    const findings = [
      ...newer,
      ...(saved.entries === restored.entries
        ? []
        : [`${entriesText(restored.entries)} of ${countText(saved.entries)} restored`]),
      ...(saved.digest === restored.digest ? [] : ['what was restored is not what was saved']),
      ...(restoreMs <= maxSeconds * 1_000 ? [] : [`the restore took ${durationText(restoreMs)}`]),
      ...(ageMs <= maxAgeHours * 3_600_000 ? [] : [`the checkpoint is ${durationText(ageMs)} old`]),
    ]
    const { id: restoredId, entryCount, sizeBytes } = checkpoint
    if (terminal.json) {
      const measured = { restoreMs: Math.round(restoreMs), ageMs, digest: restored.digest }
      await terminal.object({
        id: restoredId,
        ok: findings.length === 0,
        engine: options.engine,
        entryCount,
        sizeBytes,
        ...measured,
        findings,
      })
    } else {
      const verdict = findings.length === 0 ? terminal.style('green', 'ok') : terminal.style('red', 'NOT OK')
      await terminal.line(
        `${verdict}  ${restoredId}: ${entriesText(entryCount)}, ${bytesText(sizeBytes)}, restored into ${options.engine} in ${durationText(restoreMs)}; made ${durationText(ageMs)} ago`,
      )
      for (const finding of findings) await terminal.line(`  ${finding}`)
    }
    return findings.length === 0 ? ExitStatus.ok : ExitStatus.finding
  } finally {
    await backend.close()
  }
}

interface Restoring {
  readonly place: CheckpointPlace
  readonly id: string
  /** Time stands where the checkpoint was made: nothing expires on the way. */
  readonly clock: NonNullable<NonNullable<ConstructorParameters<typeof MemoryStateBackend>[0]>['clock']>
  readonly progress: Progress
  readonly signal: AbortSignal
}

/** A checkpoint restored into an engine of its own, and how long that took. */
async function restoredInto(engine: DrillOptions['engine'], restoring: Restoring): Promise<Restored> {
  const { place, id, clock, progress, signal } = restoring
  if (engine === 'memory') {
    const backend = new MemoryStateBackend({ clock })
    const coordinator = new CheckpointCoordinator(backend, { storage: place.storage })
    const onProgress = ({ entries }: RestoreProgress) => progress.advance(entries)
    return await timed(backend, () => coordinator.restore(id, { signal, onProgress }))
  }
  const { LmdbStateBackend } = await import('../../lmdb.js')
  const backend = await LmdbStateBackend.temporary({ clock, cacheBytes: STORE_CACHE_BYTES })
  return await timed(backend, () => restoreInto(backend, place, id, progress, signal))
}

interface Restored {
  readonly backend: SyncStateBackend
  readonly restoreMs: number
}

async function timed(backend: SyncStateBackend, restore: () => Promise<unknown>): Promise<Restored> {
  const beganAtMs = performance.now()
  try {
    await restore()
  } catch (error) {
    await backend.close()
    throw error
  }
  return { backend, restoreMs: performance.now() - beganAtMs }
}

/** The number of entries, and a digest over keys, values and times of expiry. */
class EntryDigest {
  readonly #clockMs: number
  readonly #progress: Progress
  #looked = 0

  constructor(clockMs: number, progress: Progress) {
    this.#clockMs = clockMs
    this.#progress = progress
  }

  async of(
    blocks: AsyncIterable<EntryBlock>,
  ): Promise<{ readonly entries: number; readonly digest: string }> {
    const hash = createHash('sha256')
    const numbers = new DataView(new ArrayBuffer(16))
    let entries = 0
    for await (const { bytes, entryCount } of blocks) {
      const cursor = new EntryBlockCursor(bytes)
      while (cursor.next()) {
        if (cursor.expiresAtMs <= this.#clockMs) continue
        entries++
        numbers.setUint32(0, cursor.keyLength)
        numbers.setUint32(4, cursor.valueLength)
        numbers.setFloat64(8, cursor.expiresAtMs)
        hash.update(new Uint8Array(numbers.buffer)).update(cursor.key()).update(cursor.value())
      }
      this.#looked += entryCount
      this.#progress.advance(this.#looked)
    }
    return { entries, digest: hash.digest('hex') }
  }
}

function limitFrom(option: string, text: string | undefined): number {
  const limit = text === undefined ? Infinity : Number(text)
  if (!(limit > 0)) throw new UsageError(`${option} takes a positive number; not ${text}`)
  return limit
}
