import type { LostStretch } from '../../index.js'
import { hexOf } from '../../state.js'
import { checkpointsAt, chosenCheckpoint, openCheckpoints } from '../../view/place.js'
import { textOf } from '../../view/shown-entry.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { counted, entriesOf } from '../counted.js'
import { toldBy } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import { makeSavepoint } from '../savepoint.js'
import { countText, manyText } from '../units.js'

interface RepairOptions {
  readonly to?: string
  readonly dryRun?: boolean
}

/** Saves what can be read of a damaged checkpoint into a new savepoint. That something is lost is a finding. */
export async function repair(
  { terminal, signal }: CommandContext,
  path: string,
  id: string | undefined,
  { to, dryRun = false }: RepairOptions,
): Promise<number> {
  if (to === undefined && !dryRun)
    throw new UsageError('--to says where the savepoint is made; --dry-run only tells what is lost')
  const place = await openCheckpoints(path)
  const checkpoint = await chosenCheckpoint(place, id, toldBy(terminal))
  const { backend, clockMs, source, schema, entryCount } = await place.archive.manifest(checkpoint.id)
  const lost: LostStretch[] = []
  const record = schema === undefined ? undefined : new Uint8Array(Buffer.from(JSON.stringify(schema)))
  const progress = await terminal.progress('reading', entryCount)
  const readable = place.archive.salvage(checkpoint.id, { signal, onLost: (each) => lost.push(each) })
  const salvaged = counted(readable, progress)
  const made =
    to === undefined || dryRun
      ? { id: undefined, entryCount: await entriesOf(salvaged) }
      : await makeSavepoint(
          (await checkpointsAt(to)).storage,
          // The manifest has what the entry says that describes typed state.
          { backend, clockMs, source, get: async () => record, blocks: salvaged },
          signal,
        )
  progress.end()
  if (terminal.json) {
    await terminal.object({
      id: made.id ?? null,
      from: checkpoint.id,
      entryCount: made.entryCount,
      expected: entryCount,
      lost: lost.map((each) => ({
        file: each.file,
        role: each.role,
        reason: each.reason,
        from: keyOrNull(each.from),
        until: keyOrNull(each.until),
        entryCount: each.entryCount ?? null,
      })),
    })
  } else {
    const many = `${countText(made.entryCount)} of ${countText(entryCount)} entries`
    await terminal.line(
      made.id === undefined ? `${many} can be saved` : `savepoint ${made.id} in ${to}: ${many}`,
    )
    for (const each of lost) await terminal.line(describe(each))
  }
  return lost.length === 0 ? ExitStatus.ok : ExitStatus.finding
}

const keyOrNull = (key: Uint8Array | undefined): string | null => (key === undefined ? null : hexOf(key))

function describe({ file, role, reason, from, until, entryCount }: LostStretch): string {
  const [one, some] = role === 'base' ? ['entry', 'entries'] : ['change', 'changes']
  const many = entryCount === undefined ? some : manyText(entryCount, one, some)
  const older = role === 'base' ? '' : ': what is there is older, or was removed'
  const what = `${many} ${entryCount === 1 ? 'is' : 'are'} missing${older}`
  const stretch = `from ${from === undefined ? 'the first key' : keyText(from)} to ${until === undefined ? 'the last' : `before ${keyText(until)}`}`
  return `lost: ${what}, ${stretch} (${file}: ${reason})`
}

const keyText = (key: Uint8Array): string => textOf(key) ?? hexOf(key)
