// What a directory lies on, who may use it, and who owns it.

import { constants } from 'node:fs'
import { access, readdir, readFile, stat, statfs } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../index.js'
import { reasonOf } from '../../view/reason-of.js'
import { bytesText, durationText } from '../units.js'

/** What was looked at: `note` is no finding, but good to know. */
export interface Finding {
  readonly what: string
  readonly status: 'ok' | 'note' | 'problem'
  readonly detail: string
}

/** Less free space than this is a finding. */
const LITTLE_SPACE_BYTES = 1024 ** 3
/** So few files that may still be made are a finding: a checkpoint has a few, and some for a while. */
const FEW_FILES = 100

const NETWORK =
  'one machine at a time may write here, and a sync is what that server makes of it; keep stores of the LMDB engine on a local disk'
const IN_MEMORY =
  'in memory: what is here does not survive a restart of the machine; use a directory on a disk'

/** File systems that are no plain disk, by the magic numbers of `statfs`. */
const FILE_SYSTEMS: ReadonlyMap<number, readonly [status: 'note' | 'problem', detail: string]> = new Map([
  [0x6969, ['problem', `NFS: ${NETWORK}`]],
  [0xff534d42, ['problem', `CIFS: ${NETWORK}`]],
  [0xfe534d42, ['problem', `SMB2: ${NETWORK}`]],
  [0x01021997, ['problem', `9p: ${NETWORK}`]],
  [0x65735546, ['problem', `FUSE: ${NETWORK}`]],
  [0x01021994, ['problem', IN_MEMORY]],
  [0x858458f6, ['problem', IN_MEMORY]],
  [
    0x794c7630,
    ['note', 'overlay: in a container, what is here goes with it; use a volume for what is to stay'],
  ],
])

/** As much of what `statfs` tells as is looked at. */
export interface FileSystem {
  readonly type: number
  readonly bsize: number
  readonly bavail: number
  /** Files that there can be at most; 0 where there is no such limit. */
  readonly files: number
  readonly ffree: number
}

export function fileSystemFindings({ type, bsize, bavail, files, ffree }: FileSystem): Finding[] {
  const [status, detail] = FILE_SYSTEMS.get(type) ?? ['ok', `local (type 0x${type.toString(16)})`]
  const isFull = bavail * bsize < LITTLE_SPACE_BYTES
  const isOutOfFiles = files > 0 && ffree < FEW_FILES
  const advice = [
    ...(isFull ? ['a checkpoint needs room for itself beside the others'] : []),
    ...(isOutOfFiles ? [`only ${ffree} more files can be made`] : []),
    ...(isFull || isOutOfFiles ? ['remove what is not needed (holdfast prune), or use a larger disk'] : []),
  ]
  return [
    { what: 'file system', status, detail },
    {
      what: 'free space',
      status: advice.length > 0 ? 'problem' : 'ok',
      detail: [bytesText(bavail * bsize), ...advice].join('; '),
    },
  ]
}

/** What is to be known of a directory that is there; nothing of what is none. */
export async function directoryFindings(path: string): Promise<Finding[]> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory() !== true) return []
  const { uid, mode } = found
  const refusal = await access(path, constants.R_OK | constants.W_OK | constants.X_OK).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code,
  )
  const ofAccess = accessFinding(refusal, `owned by user ${uid}, mode ${(mode & 0o777).toString(8)}`)
  return [...fileSystemFindings(await statfs(path)), ofAccess, ...(await leaseFindings(path))]
}

/** What it means that the system refuses to have a directory read and written, or does not. */
function accessFinding(refusal: string | undefined, owner: string): Finding {
  if (refusal === undefined) return { what: 'permissions', status: 'ok', detail: owner }
  if (refusal === 'EROFS') {
    const detail =
      'the file system is read-only: commands that read work; a job, and what changes something here, need it mounted writable (mount -o remount,rw)'
    return { what: 'read-only', status: 'problem', detail }
  }
  const user = process.getuid === undefined ? 'this user' : `user ${process.getuid()}`
  const detail = `${user} may not read and write here; ${owner}: run as its owner, or give it to this user (chown)`
  return { what: 'permissions', status: 'problem', detail }
}

async function leaseFindings(path: string): Promise<Finding[]> {
  const names = await readdir(path).catch(() => undefined)
  // Whoever may not read the directory has been told.
  if (names === undefined) return []
  const newest = names
    .filter((name) => /^\.lease-\d{10,16}$/.test(name))
    .toSorted((left, right) => tokenOf(left) - tokenOf(right))
    .at(-1)
  if (newest === undefined)
    return [
      { what: 'lease', status: 'ok', detail: 'nobody has ever written here, or nobody who left a lease' },
    ]
  const file = join(path, newest)
  try {
    const lease = JSON.parse(await readFile(file, 'utf8')) as { readonly [name: string]: unknown }
    const ageMs = systemClock.now() - (await stat(file)).mtimeMs
    return [leaseFinding(lease, ageMs)]
  } catch (error) {
    const detail = `${newest} cannot be read: ${reasonOf(error)}; make sure that no process writes here, then remove that file`
    return [{ what: 'lease', status: 'problem', detail }]
  }
}

const tokenOf = (name: string): number => Number(name.slice('.lease-'.length))

function leaseFinding(lease: { readonly [name: string]: unknown }, ageMs: number): Finding {
  const { pid, hostname: host, released } = lease
  const owner = `process ${String(pid)} on ${String(host)}`
  if (released === true) return { what: 'lease', status: 'ok', detail: `let go by ${owner}` }
  const renewed = `renewed ${durationText(Math.max(0, ageMs))} ago`
  const advice =
    host !== hostname()
      ? 'another host: stop that job before writing here'
      : isGone(pid)
        ? 'there is no such process here: where it has ended, the next job takes the lease over by itself'
        : 'stop that job before writing here; commands that read go on beside it'
  return { what: 'lease', status: 'note', detail: `held by ${owner}, ${renewed}; ${advice}` }
}

/** As far as this process can see: a container has numbers of its own. */
function isGone(pid: unknown): boolean {
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
