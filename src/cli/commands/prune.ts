import type { SkippedCheckpoint } from '../../index.js'
import { openCheckpoints } from '../../view/place.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'
import { bytesText, manyText, timeText } from '../units.js'
import { countFrom } from './scan.js'

interface PruneOptions {
  readonly keep: string
  readonly yes?: boolean
}

/** Removes all checkpoints but the newest ones; savepoints stay. Without `--yes` it only says which. */
export async function prune(
  { terminal, signal }: CommandContext,
  path: string,
  options: PruneOptions,
): Promise<number> {
  const keep = countFrom('--keep', options.keep)
  const { archive } = await openCheckpoints(path)
  const onSkipped = ({ id, reason }: SkippedCheckpoint) =>
    terminal.note(`${id} is left as it is, and not counted: it cannot be read: ${reason}`)
  const checkpoints = (await archive.list({ signal, onSkipped })).filter(({ savepoint }) => !savepoint)
  const doomed = checkpoints.slice(keep).reverse()
  const removes = options.yes === true
  const gone = new Set<string>()
  const tell = async () => {
    for (const { id, createdAt, sizeBytes } of doomed) {
      if (removes && !gone.has(id)) continue
      if (terminal.json) await terminal.object({ id, removed: removes, sizeBytes })
      else
        await terminal.line(
          `${removes ? 'removed' : 'would remove'}  ${id}  ${timeText(createdAt)}  ${bytesText(sizeBytes)}`,
        )
    }
  }
  try {
    const onDeleted = (id: string) => void gone.add(id)
    const ids = doomed.map(({ id }) => id)
    if (removes && ids.length > 0) await archive.deleteAll(ids, { signal, onDeleted })
  } finally {
    // Also where it failed, or was interrupted: what is removed is.
    await tell()
  }
  const removed = removes ? gone.size : doomed.length
  if (removed === 0)
    terminal.note(
      `there ${checkpoints.length === 1 ? 'is' : 'are'} ${manyText(checkpoints.length, 'checkpoint', 'checkpoints')}, none more than the ${keep} to keep`,
    )
  else if (!removes) terminal.note('nothing was removed; --yes does it')
  return ExitStatus.ok
}
