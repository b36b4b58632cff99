import { readFileSync, readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { pid } from 'node:process'
import { errnoOf } from './file-failure.js'

/** Which thread of which process, on which machine, since when: enough to tell later whether it still lives. */
export interface ProcessIdentity {
  readonly pid: number
  readonly hostname: string
  /** One per start of the machine; `null` where the system does not tell (other than Linux). */
  readonly bootId: string | null
  /** In which numbering `pid` is (a container has its own); `null` where the system does not tell or has only one. */
  readonly pidNamespace: string | null
  /** Clock ticks from the machine's start to that of the process; `null` where the system does not tell. */
  readonly processStartedAt: number | null
  /** The system's number of the thread, and when it started in clock ticks; `null` where the system does not tell. */
  readonly threadId: number | null
  readonly threadStartedAt: number | null
}

/** `'unknown'`: nothing that this process can see is evidence. */
export type Liveness = 'alive' | 'dead' | 'unknown'

/** The thread that calls. */
export async function thisThread(): Promise<ProcessIdentity> {
  // Read at once and by this thread itself: the calls of node:fs/promises run in others.
  const thread = ownThread()
  const status = await readStatus('/proc/self/stat')
  return {
    pid,
    hostname: hostname(),
    bootId: await readBootId(),
    pidNamespace: ownPidNamespace(),
    processStartedAt: status?.startedAt ?? null,
    threadId: thread?.id ?? null,
    threadStartedAt: thread?.startedAt ?? null,
  }
}

/**
 * Whether a thread of a process may still be running. "No such process" is evidence only within one numbering of processes
 * (pid namespace) of one start of one machine: from elsewhere, the number may be somebody else's, or nobody's.
 */
export async function livenessOf(owner: ProcessIdentity): Promise<Liveness> {
  if (!(await sharesNumbering(owner))) return 'unknown'
  if (!processExists(owner.pid)) return 'dead'
  // What is mounted at /proc may be of another numbering: then only the signal counts, which is of ours.
  if (!procIsOurs()) return owner.processStartedAt === null ? 'alive' : 'unknown'
  const status = await readStatus(`/proc/${owner.pid}/stat`)
  if (status === undefined) return 'alive'
  if (status.ended) return 'dead'
  if (owner.processStartedAt !== null && owner.processStartedAt !== status.startedAt) return 'dead'
  if (owner.threadId === null) return 'alive'
  const thread = await readStatus(`/proc/${owner.pid}/task/${owner.threadId}/stat`)
  return thread === undefined || thread.startedAt !== owner.threadStartedAt ? 'dead' : 'alive'
}

/** Whether the owner's pid means here what it meant there. */
async function sharesNumbering(owner: ProcessIdentity): Promise<boolean> {
  if (owner.hostname !== hostname()) return false
  const [bootId, pidNamespace] = [await readBootId(), ownPidNamespace()]
  if (owner.bootId !== bootId || owner.pidNamespace !== pidNamespace) return false
  return (bootId !== null && pidNamespace !== null) || process.platform !== 'linux'
}

function processExists(id: number): boolean {
  try {
    process.kill(id, 0)
    return true
  } catch (error) {
    // EPERM: it exists and belongs to another user.
    return errnoOf(error) !== 'ESRCH'
  }
}

interface ThreadStatus {
  readonly startedAt: number
  /** Of a process: killed, every thread gone, and only kept for its parent to collect. */
  readonly ended: boolean
}

/** `undefined` where there is no `/proc`, or it does not show this process. */
async function readStatus(path: string): Promise<ThreadStatus | undefined> {
  const text = await readSystemFile(path)
  return text === undefined ? undefined : parseProcessStatus(text)
}

/** Reads `/proc/<pid>/stat` (proc(5)): fields 3 (state), 20 (threads) and 22 (start time). */
export function parseProcessStatus(text: string): ThreadStatus | undefined {
  // Field 2, the name in parentheses, may itself hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const state = fields[0]
  const threads = Number(fields[17])
  const startedAt = Number(fields[19])
  if (!Number.isSafeInteger(threads) || !Number.isSafeInteger(startedAt) || startedAt <= 0) return undefined
  // A killed process shows as a zombie while one of its threads may still be finishing a system call.
  return { startedAt, ended: (state === 'Z' || state === 'X') && threads <= 1 }
}

function ownThread(): { readonly id: number; readonly startedAt: number } | undefined {
  if (!procIsOurs()) return undefined
  try {
    const id = Number(/\/task\/(\d+)$/.exec(readlinkSync('/proc/thread-self'))?.[1])
    const status = parseProcessStatus(readFileSync('/proc/thread-self/stat', 'latin1'))
    return status === undefined || !Number.isSafeInteger(id) ? undefined : { id, startedAt: status.startedAt }
  } catch {
    return undefined
  }
}

/** Whether `/proc` shows processes by the numbers that this process sees. */
function procIsOurs(): boolean {
  return readLink('/proc/self') === String(pid)
}

/** Whether a thread is one of this process. */
export function isThisProcess(owner: ProcessIdentity): boolean {
  return owner.hostname === hostname() && owner.pid === pid && owner.pidNamespace === ownPidNamespace()
}

/** See {@link ProcessIdentity.pidNamespace}. */
function ownPidNamespace(): string | null {
  return readLink('/proc/self/ns/pid') ?? null
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

async function readBootId(): Promise<string | null> {
  const text = (await readSystemFile('/proc/sys/kernel/random/boot_id'))?.trim()
  return text === undefined || text === '' ? null : text
}

async function readSystemFile(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'latin1')
  } catch {
    // Absent (not Linux, process gone) or hidden (hidepid): either way the system does not tell.
    return undefined
  }
}
