import { type CheckpointArchive, isStateError, type JsonValue, systemClock } from '../../index.js'
import { isOfMachine } from '../../view/advice.js'
import { openEntries } from '../../view/entries.js'
import { openPlace, type Place } from '../../view/place.js'
import { reasonOf } from '../../view/reason-of.js'
import type { CommandContext } from '../context.js'
import { directoryFindings, type Finding } from '../findings/directory.js'
import { machineFindings } from '../findings/machine.js'
import { ExitStatus } from '../outcome.js'
import { countText, durationText, entriesText } from '../units.js'

/** Looks at the machine, and at a directory of checkpoints or a store. Changes nothing. */
export async function doctor({ terminal }: CommandContext, path?: string): Promise<number> {
  const findings = [...(await machineFindings()), ...(path === undefined ? [] : await pathFindings(path))]
  for (const { what, status, detail } of findings) {
    const finding: JsonValue = { what, status, detail }
    if (terminal.json) await terminal.object(finding)
    else await terminal.line(`${terminal.style(STYLES[status], status.padEnd(8))} ${what}: ${detail}`)
  }
  return findings.some(({ status }) => status === 'problem') ? ExitStatus.finding : ExitStatus.ok
}

const STYLES = { ok: 'green', note: 'yellow', problem: 'red' } as const

/** What cannot be read is a finding where the directory says why; otherwise it is no place of ours. */
async function pathFindings(path: string): Promise<Finding[]> {
  const ofDirectory = path.startsWith('s3://') ? [] : await directoryFindings(path)
  let place: Place
  try {
    place = await openPlace(path)
  } catch (error) {
    if (ofDirectory.some(({ what, status }) => what === 'permissions' && status === 'problem'))
      return ofDirectory
    throw error
  }
  return [
    ...ofDirectory,
    ...(place.kind === 'store' ? await storeFindings(place) : await checkpointFindings(place)),
  ]
}

/** A clock that was further ahead by so much is a finding. */
const AHEAD_MS = 1_000

const clockProblem = (what: string, aheadMs: number): Finding => ({
  what: 'clock',
  status: 'problem',
  detail: `${what} ${durationText(aheadMs)} in the future: this clock, or that of its writer, is wrong; set it (timedatectl shows whether it is synchronized), as times to live go by it`,
})

async function storeFindings(place: Extract<Place, { kind: 'store' }>): Promise<Finding[]> {
  try {
    const { entryCount, clockMs, close } = await openEntries(place, undefined, { use: 'ignored' })
    await close()
    const aheadMs = clockMs - systemClock.now()
    if (aheadMs > AHEAD_MS) return [clockProblem('the time of the store is', aheadMs)]
    return [{ what: 'store', status: 'ok', detail: entriesText(entryCount) }]
  } catch (error) {
    const advice =
      isStateError(error, 'INCOMPATIBLE') && !isOfMachine(error.message)
        ? ADVICE[error.code]
        : 'holdfast verify reads all of it'
    const detail = `it cannot be opened: ${reasonOf(error)}; ${advice}`
    return [{ what: 'store', status: 'problem', detail }]
  }
}

async function checkpointFindings({ archive }: Extract<Place, { kind: 'checkpoints' }>): Promise<Finding[]> {
  const findings: Finding[] = []
  const listed = await archive.list({
    onSkipped: ({ id, code, reason }) => {
      const advice = ADVICE[code]
      const detail = advice === undefined ? reason : `${reason}; ${advice}`
      findings.push({ what: id, status: 'problem', detail })
    },
  })
  const [newest] = listed
  if (newest === undefined) {
    const detail = 'there is none that can be read; a job that begins here begins with an empty state'
    return [...findings, { what: 'checkpoints', status: 'problem', detail }]
  }
  findings.push(...(await newestFindings(archive, newest.id, listed.length > 1)))
  const aheadMs = newest.createdAt.getTime() - systemClock.now()
  if (aheadMs > AHEAD_MS) return [...findings, clockProblem(`${newest.id} was made`, aheadMs)]
  const detail = `${countText(listed.length)}; the newest, ${newest.id}, is ${durationText(Math.max(0, -aheadMs))} old`
  return [...findings, { what: 'checkpoints', status: 'ok', detail }]
}

/** Whether the files of the newest checkpoint are there, as long as its manifest says. What is in their blocks is not read. */
async function newestFindings(archive: CheckpointArchive, id: string, hasOlder: boolean): Promise<Finding[]> {
  try {
    const reader = await archive.open(id)
    await reader.close()
    return []
  } catch (error) {
    // It was removed meanwhile: whoever did has newer ones.
    if (isStateError(error, 'INVALID_ARGUMENT')) return []
    const detail = reasonOf(error)
    if (!isStateError(error)) return [{ what: id, status: 'problem', detail }]
    const advice =
      error.code === 'INCOMPATIBLE' && isOfMachine(error.message)
        ? 'see above what this machine lacks'
        : error.code === 'CORRUPTION' && !hasOlder
          ? 'there is no older one: copy it from a mirror, or save the rest with holdfast repair'
          : ADVICE[error.code]
    return [{ what: id, status: 'problem', detail: advice === undefined ? detail : `${detail}; ${advice}` }]
  }
}

/** What to do about a checkpoint that cannot be read. */
const ADVICE: { readonly [code: string]: string } = {
  CORRUPTION: 'a restore goes on with an older one; copy it from a mirror, if there is one',
  INCOMPATIBLE: 'use the version of holdfast that wrote it, or a newer one',
}
