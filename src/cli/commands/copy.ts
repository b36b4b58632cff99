import { checkpointsAt, chosenCheckpoint, openCheckpoints } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'
import { bytesText } from '../units.js'

interface CopyOptions {
  readonly id?: string
  readonly dryRun?: boolean
}

/** Copies checkpoints into another storage, the oldest first; those that are there already are only verified. */
export async function copy(
  context: CommandContext,
  from: string,
  to: string,
  options: CopyOptions,
): Promise<number> {
  const { terminal, signal } = context
  const source = await openCheckpoints(from)
  const target = await checkpointsAt(to)
  const chosen =
    options.id === undefined
      ? (await source.archive.list({ signal })).reverse()
      : [await chosenCheckpoint(source, options.id)]
  if (chosen.length === 0) throw new UsageError(`${from} holds no checkpoint that can be read`)
  const there = new Set((await target.archive.list({ signal })).map(({ id }) => id))
  const progress = await terminal.progress('copying', chosen.length)
  for (const [i, { id, sizeBytes }] of chosen.entries()) {
    const isThere = there.has(id)
    if (options.dryRun !== true) await source.archive.copyTo(target.storage, id, { signal })
    progress.advance(i + 1)
    const outcome = isThere ? 'there' : options.dryRun === true ? 'missing' : 'copied'
    if (terminal.json) await terminal.object({ id, outcome, sizeBytes })
    else await terminal.line(`${outcome.padEnd(8)} ${id}  ${bytesText(sizeBytes)}`)
  }
  progress.end()
  return ExitStatus.ok
}
