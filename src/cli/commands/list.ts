import type { CheckpointMetadata, SkippedCheckpoint } from '../../index.js'
import { openCheckpoints } from '../../view/place.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'
import { bytesText, countText, timeText } from '../units.js'

/** The checkpoints of a storage, newest first. Those that cannot be read are a finding. */
export async function list({ terminal, signal }: CommandContext, path: string): Promise<number> {
  const { archive } = await openCheckpoints(path)
  const skipped: SkippedCheckpoint[] = []
  const listed = await archive.list({ signal, onSkipped: (each) => skipped.push(each) })
  if (terminal.json) {
    for (const checkpoint of listed) await terminal.object(asJson(checkpoint))
    for (const { id, code, reason } of skipped) await terminal.object({ id, code, reason })
  } else {
    await terminal.table(['ID', 'MADE (UTC)', 'KIND', 'ENTRIES', 'SIZE'], listed.map(asRow))
    for (const { id, reason } of skipped)
      await terminal.line(terminal.style('red', `${id}  not readable: ${reason}`))
  }
  return skipped.length === 0 ? ExitStatus.ok : ExitStatus.finding
}

const kindOf = ({ savepoint, kind }: CheckpointMetadata): string => (savepoint ? 'savepoint' : kind)

function asRow(checkpoint: CheckpointMetadata): string[] {
  const { id, createdAt, entryCount, sizeBytes } = checkpoint
  return [id, timeText(createdAt), kindOf(checkpoint), countText(entryCount), bytesText(sizeBytes)]
}

function asJson(checkpoint: CheckpointMetadata) {
  const { id, sequence, createdAt, entryCount, sizeBytes, checksum } = checkpoint
  return {
    id,
    sequence,
    createdAt: createdAt.toISOString(),
    kind: kindOf(checkpoint),
    entryCount,
    sizeBytes,
    checksum,
  }
}
