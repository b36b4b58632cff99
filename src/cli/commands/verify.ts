import { type CheckpointMetadata, isStateError, type SkippedCheckpoint } from '../../index.js'
import { adviceFor } from '../../view/advice.js'
import { type CheckpointPlace, chosenCheckpoint, openPlace } from '../../view/place.js'
import type { CommandContext } from '../context.js'
import { counted } from '../counted.js'
import { ExitStatus } from '../outcome.js'
import { bytesText, entriesText, manyText } from '../units.js'

interface VerifyOptions {
  readonly all?: boolean
}

/** Reads all of a checkpoint, of every checkpoint, or of a store. Damage is a finding. */
export async function verify(
  context: CommandContext,
  path: string,
  id: string | undefined,
  { all = false }: VerifyOptions,
): Promise<number> {
  const place = await openPlace(path)
  if (place.kind === 'store') return await verifyStore(context, path)
  return all ? await verifyAll(context, place) : await verifyChosen(context, place, id)
}

/** Without an id, the newest one: one that cannot be read at all is a finding, though an older one is well. */
async function verifyChosen(
  context: CommandContext,
  place: CheckpointPlace,
  id: string | undefined,
): Promise<number> {
  const newer: SkippedCheckpoint[] = []
  const checkpoint = await chosenCheckpoint(place, id, (each) => newer.push(each))
  for (const { id: unread, code, reason } of newer) await report(context, unread, { code, message: reason })
  const status = await verifyOne(context, place, checkpoint)
  return newer.length === 0 ? status : ExitStatus.finding
}

async function verifyAll(context: CommandContext, place: CheckpointPlace): Promise<number> {
  const { signal } = context
  let found: number = ExitStatus.ok
  const onSkipped = async ({ id, code, reason }: SkippedCheckpoint) => {
    found = ExitStatus.finding
    await report(context, id, { code, message: reason })
  }
  const skipped: Promise<void>[] = []
  const listed = await place.archive.list({
    signal,
    onSkipped: (each) => void skipped.push(onSkipped(each)),
  })
  await Promise.all(skipped)
  for (const checkpoint of listed) {
    if ((await verifyOne(context, place, checkpoint)) !== ExitStatus.ok) found = ExitStatus.finding
    // One may take minutes.
    await context.terminal.flush()
  }
  return found
}

async function verifyOne(
  context: CommandContext,
  { archive }: CheckpointPlace,
  { id, entryCount, sizeBytes }: CheckpointMetadata,
): Promise<number> {
  const { terminal, signal } = context
  const progress = await terminal.progress(`verifying ${id}`, entryCount)
  try {
    const { segments } = await archive.manifest(id)
    for await (const _ of counted(archive.blocks(id, { signal }), progress)) {
      // The stream comes to its end only where all of it is as it was written.
    }
    progress.end()
    const files = segments.length
    if (terminal.json) await terminal.object({ id, ok: true, files, entryCount, bytesRead: sizeBytes })
    else
      await terminal.line(
        `${terminal.style('green', 'ok')}       ${id}  ${entriesText(entryCount)}, ${bytesText(sizeBytes)} in ${manyText(files, 'file', 'files')}`,
      )
    return ExitStatus.ok
  } catch (error) {
    progress.end()
    if (!isStateError(error, 'CORRUPTION') && !isStateError(error, 'INCOMPATIBLE')) throw error
    await report(context, id, error)
    return ExitStatus.finding
  }
}

/** What another version wrote, or takes what this machine lacks, is not damaged: nobody could look. */
async function report(
  { terminal }: CommandContext,
  id: string,
  { code, message }: { readonly code: string; readonly message: string },
): Promise<void> {
  if (terminal.json) {
    await terminal.object({ id, ok: false, code, reason: message })
    return
  }
  const isDamaged = code === 'CORRUPTION'
  const verdict = isDamaged ? terminal.style('red', 'DAMAGED') : terminal.style('yellow', 'NOT READ')
  const advice = isDamaged ? undefined : adviceFor({ code, message })
  await terminal.line(`${verdict}  ${id}  ${message}${advice === undefined ? '' : `; ${advice}`}`)
}

async function verifyStore({ terminal }: CommandContext, path: string): Promise<number> {
  const { LmdbStateBackend } = await import('../../lmdb.js')
  const { ok, entries, expiring, bytes, problems } = await LmdbStateBackend.verify(path)
  if (terminal.json) {
    await terminal.object({
      store: path,
      ok,
      entries,
      expiring,
      bytes,
      problems: problems.map((each) => ({ ...each })),
    })
  } else {
    const verdict = ok ? terminal.style('green', 'ok') : terminal.style('red', 'DAMAGED')
    await terminal.line(`${verdict}  ${path}  ${manyText(entries, 'record', 'records')}, ${bytesText(bytes)}`)
    for (const { what, reason } of problems) await terminal.line(`  ${what}: ${reason}`)
  }
  return ok ? ExitStatus.ok : ExitStatus.finding
}
