import type { SkippedCheckpoint } from '../../index.js'
import { checkpointsAt, chosenCheckpoint, openCheckpoints, storedPlace } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { countedReads } from '../counted.js'
import { refuseNewer } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import { bytesText } from '../units.js'

interface CopyOptions {
  readonly id?: string
  readonly dryRun?: boolean
}

/** Copies checkpoints into another storage, the oldest first; those that are there already are only verified. One that cannot be read is a finding. */
export async function copy(
  context: CommandContext,
  from: string,
  to: string,
  options: CopyOptions,
): Promise<number> {
  const { terminal, signal } = context
  const source = await openCheckpoints(from)
  const target = await checkpointsAt(to)
  const skipped: SkippedCheckpoint[] = []
  const chosen =
    options.id === undefined
      ? (await source.archive.list({ signal, onSkipped: (each) => skipped.push(each) })).reverse()
      : [await chosenCheckpoint(source, options.id, refuseNewer)]
  if (chosen.length === 0) throw new UsageError(`${from} holds no checkpoint that can be read`)
  const there = new Set((await target.archive.list({ signal })).map(({ id }) => id))
  const progress = await terminal.progress(
    'copying',
    chosen.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  )
  let doneBytes = 0
  for (const { id, sizeBytes } of chosen) {
    const isThere = there.has(id)
    let readBytes = 0
    // What is copied is read here, and read back there.
    const onRead = (bytes: number) => {
      readBytes += bytes / (isThere ? 1 : 2)
      progress.advance(doneBytes + Math.min(readBytes, sizeBytes))
    }
    const { archive } = storedPlace(from, countedReads(source.storage, onRead), false)
    if (options.dryRun !== true) await archive.copyTo(countedReads(target.storage, onRead), id, { signal })
    doneBytes += sizeBytes
    progress.advance(doneBytes)
    const outcome = isThere ? 'there' : options.dryRun === true ? 'missing' : 'copied'
    if (terminal.json) await terminal.object({ id, outcome, sizeBytes })
    else await terminal.line(`${outcome.padEnd(8)} ${id}  ${bytesText(sizeBytes)}`)
    // The next one may take minutes.
    await terminal.flush()
  }
  progress.end()
  for (const { id, code, reason } of skipped) {
    if (terminal.json) await terminal.object({ id, outcome: 'unreadable', code, reason })
    else await terminal.line(`NOT READ ${id}  ${reason}`)
  }
  return skipped.length === 0 ? ExitStatus.ok : ExitStatus.finding
}
