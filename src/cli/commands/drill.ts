import { createHash } from 'node:crypto'
import {
  CheckpointCoordinator,
  type EntryBlock,
  EntryBlockCursor,
  MemoryStateBackend,
  type SyncStateBackend,
  systemClock,
} from '../../index.js'
import { chosenCheckpoint, openCheckpoints } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'
import { bytesText, countText, durationText } from '../units.js'

interface DrillOptions {
  readonly engine: 'memory' | 'lmdb'
  readonly maxSeconds?: string
  readonly maxAgeHours?: string
}

/** Restores a checkpoint into a scratch engine and compares what is there. What is wrong, or too slow, or too old, is a finding. */
export async function drill(
  { terminal, signal }: CommandContext,
  path: string,
  id: string | undefined,
  options: DrillOptions,
): Promise<number> {
  const maxSeconds = limitFrom('--max-seconds', options.maxSeconds)
  const maxAgeHours = limitFrom('--max-age-hours', options.maxAgeHours)
  const place = await openCheckpoints(path)
  const checkpoint = await chosenCheckpoint(place, id)
  const { clockMs } = await place.archive.manifest(checkpoint.id)
  // Time stands where the checkpoint was made: nothing expires on the way.
  const clock = { now: () => clockMs, setTimer: () => () => {} }
  const backend = await scratchEngine(options.engine, clock)
  try {
    const progress = await terminal.progress('restoring', checkpoint.entryCount)
    const coordinator = new CheckpointCoordinator(backend, { storage: place.storage })
    const beganAtMs = performance.now()
    await coordinator.restore(checkpoint.id, {
      signal,
      onProgress: ({ entries }) => progress.advance(entries),
    })
    const restoreMs = performance.now() - beganAtMs
    progress.end()
    const saved = await digestOf(place.archive.blocks(checkpoint.id, { signal }), clockMs)
    const restored = await digestOf(backend.snapshotSync().blocks({ signal }), clockMs)
    const ageMs = systemClock.now() - checkpoint.createdAt.getTime()
    const findings = [
      ...(saved.entries === restored.entries
        ? []
        : [`${restored.entries} entries were restored of ${saved.entries}`]),
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
        `${verdict}  ${restoredId}: ${countText(entryCount)} entries, ${bytesText(sizeBytes)}, restored into ${options.engine} in ${durationText(restoreMs)}; made ${durationText(ageMs)} ago`,
      )
      for (const finding of findings) await terminal.line(`  ${finding}`)
    }
    return findings.length === 0 ? ExitStatus.ok : ExitStatus.finding
  } finally {
    await backend.close()
  }
}

type ScratchClock = NonNullable<ConstructorParameters<typeof MemoryStateBackend>[0]>['clock']

async function scratchEngine(
  engine: DrillOptions['engine'],
  clock: NonNullable<ScratchClock>,
): Promise<SyncStateBackend> {
  if (engine === 'memory') return new MemoryStateBackend({ clock })
  const { LmdbStateBackend } = await import('../../lmdb.js')
  return await LmdbStateBackend.temporary({ clock })
}

/** The number of entries, and a digest over keys, values and times of expiry. */
async function digestOf(blocks: AsyncIterable<EntryBlock>, clockMs: number) {
  const hash = createHash('sha256')
  const numbers = new DataView(new ArrayBuffer(16))
  let entries = 0
  for await (const { bytes } of blocks) {
    const cursor = new EntryBlockCursor(bytes)
    while (cursor.next()) {
      if (cursor.expiresAtMs <= clockMs) continue
      entries++
      numbers.setUint32(0, cursor.keyLength)
      numbers.setUint32(4, cursor.valueLength)
      numbers.setFloat64(8, cursor.expiresAtMs)
      hash.update(new Uint8Array(numbers.buffer)).update(cursor.key()).update(cursor.value())
    }
  }
  return { entries, digest: hash.digest('hex') }
}

function limitFrom(option: string, text: string | undefined): number {
  const limit = text === undefined ? Infinity : Number(text)
  if (!(limit > 0)) throw new UsageError(`${option} takes a positive number; not ${text}`)
  return limit
}
