import { constants } from 'node:fs'
import { access, readdir, readFile, stat, statfs } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type JsonValue, systemClock } from '../../index.js'
import { openPlace } from '../../view/place.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'
import { bytesText, durationText } from '../units.js'

/** What was looked at: `note` is no finding, but good to know. */
interface Finding {
  readonly what: string
  readonly status: 'ok' | 'note' | 'problem'
  readonly detail: string
}

/** Less free space than this is a finding. */
const LITTLE_SPACE_BYTES = 1024 ** 3
/** File systems over a network, on which locks and syncs are not what they are on a disk (`statfs` magic numbers). */
const NETWORK_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x01021997, '9p'],
  [0x65735546, 'FUSE'],
])
const TMPFS = 0x01021994

/** Looks at the machine, and at a directory of checkpoints or a store. Changes nothing. */
export async function doctor({ terminal }: CommandContext, path?: string): Promise<number> {
  const findings = [...(await runtimeFindings()), ...(path === undefined ? [] : await pathFindings(path))]
  for (const { what, status, detail } of findings) {
    if (terminal.json) await terminal.object({ what, status, detail })
    else await terminal.line(`${terminal.style(STYLES[status], status.padEnd(8))} ${what}: ${detail}`)
  }
  return findings.some(({ status }) => status === 'problem') ? ExitStatus.finding : ExitStatus.ok
}

const STYLES = { ok: 'green', note: 'yellow', problem: 'red' } as const

async function runtimeFindings(): Promise<Finding[]> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isSupported = major > 20 || (major === 20 && minor >= 19)
  return [
    {
      what: 'Node.js',
      status: isSupported ? 'ok' : 'problem',
      detail: isSupported ? process.version : `${process.version}; holdfast needs 20.19 or later`,
    },
    await loads('lz4', async () => void (await import('lz4-napi'))),
    await loads('LMDB', async () => void (await import('lmdb'))),
    major > 22 || (major === 22 && minor >= 15)
      ? { what: 'zstd', status: 'ok', detail: 'there' }
      : { what: 'zstd', status: 'note', detail: 'needs Node.js 22.15 or later; lz4 and gzip are there' },
  ]
}

async function loads(what: string, load: () => Promise<void>): Promise<Finding> {
  try {
    await load()
    return { what, status: 'ok', detail: 'its native module loads' }
  } catch (error) {
    const detail = `its native module does not load: ${(error as Error).message.split('\n')[0]}; reinstall on this machine: npm rebuild`
    return { what, status: 'problem', detail }
  }
}

async function pathFindings(path: string): Promise<Finding[]> {
  const place = await openPlace(path)
  const isBucket = path.startsWith('s3://')
  return [
    ...(isBucket ? [] : await fileSystemFindings(path)),
    ...(isBucket ? [] : await leaseFindings(path)),
    ...(place.kind === 'store' ? [] : await clockFindings(place)),
  ]
}

async function fileSystemFindings(path: string): Promise<Finding[]> {
  const { type, bavail, bsize } = await statfs(path)
  const free = bavail * bsize
  const network = NETWORK_FILE_SYSTEMS.get(type)
  const findings: Finding[] = []
  if (network !== undefined) {
    const detail = `${network}: one machine at a time may write here, and a sync is what that server makes of it`
    findings.push({ what: 'file system', status: 'problem', detail })
  } else if (type === TMPFS) {
    findings.push({
      what: 'file system',
      status: 'problem',
      detail: 'in memory: what is here does not survive a restart of the machine',
    })
  } else {
    findings.push({ what: 'file system', status: 'ok', detail: `local (type 0x${type.toString(16)})` })
  }
  const isLow = free < LITTLE_SPACE_BYTES
  findings.push({
    what: 'free space',
    status: isLow ? 'problem' : 'ok',
    detail: `${bytesText(free)}${isLow ? '; a checkpoint needs room for itself beside the others' : ''}`,
  })
  findings.push(await permissionFinding(path))
  return findings
}

async function permissionFinding(path: string): Promise<Finding> {
  const { uid, mode } = await stat(path)
  const owner = `owned by user ${uid}, mode ${(mode & 0o777).toString(8)}`
  try {
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK)
    return { what: 'permissions', status: 'ok', detail: owner }
  } catch {
    return {
      what: 'permissions',
      status: 'problem',
      detail: `this user may not read and write here; ${owner}`,
    }
  }
}

async function leaseFindings(path: string): Promise<Finding[]> {
  const names = (await readdir(path)).filter((name) => name.startsWith('.lease-')).sort()
  const newest = names.at(-1)
  if (newest === undefined)
    return [
      { what: 'lease', status: 'ok', detail: 'nobody has ever written here, or nobody who left a lease' },
    ]
  const file = join(path, newest)
  try {
    const lease = JSON.parse(await readFile(file, 'utf8')) as { readonly [name: string]: JsonValue }
    const ageMs = systemClock.now() - (await stat(file)).mtimeMs
    const owner = `process ${String(lease['pid'])} on ${String(lease['hostname'])}`
    if (lease['released'] === true) return [{ what: 'lease', status: 'ok', detail: `let go by ${owner}` }]
    const isHere = lease['hostname'] === hostname()
    const renewed = `renewed ${durationText(ageMs)} ago`
    const detail = `held by ${owner}, ${renewed}${isHere ? '' : '; another host: stop that job before writing here'}`
    return [{ what: 'lease', status: 'note', detail }]
  } catch (error) {
    return [
      { what: 'lease', status: 'problem', detail: `${newest} cannot be read: ${(error as Error).message}` },
    ]
  }
}

async function clockFindings({
  archive,
}: Extract<Awaited<ReturnType<typeof openPlace>>, { kind: 'checkpoints' }>): Promise<Finding[]> {
  const findings: Finding[] = []
  const listed = await archive.list({
    onSkipped: ({ id, reason }) => findings.push({ what: id, status: 'problem', detail: reason }),
  })
  const [newest] = listed
  if (newest === undefined)
    return [...findings, { what: 'checkpoints', status: 'problem', detail: 'there is none that can be read' }]
  const aheadMs = newest.createdAt.getTime() - systemClock.now()
  if (aheadMs > 1_000) {
    findings.push({
      what: 'clock',
      status: 'problem',
      detail: `${newest.id} was made ${durationText(aheadMs)} in the future: this clock, or that of its writer, is wrong`,
    })
  } else {
    findings.push({
      what: 'checkpoints',
      status: 'ok',
      detail: `${listed.length}; the newest, ${newest.id}, is ${durationText(-aheadMs)} old`,
    })
  }
  return findings
}
