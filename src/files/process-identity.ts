import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { pid } from 'node:process'
import { errnoOf } from './file-failure.js'

/** Which process, on which machine, since when: enough to tell later whether it still lives. */
export interface ProcessIdentity {
  readonly pid: number
  readonly hostname: string
  /** One per start of the machine; `null` where the system does not tell (other than Linux). */
  readonly bootId: string | null
  /** Clock ticks from the machine's start to that of the process; `null` where the system does not tell. */
  readonly processStartedAt: number | null
}

export async function thisProcess(): Promise<ProcessIdentity> {
  const status = await readProcessStatus(pid)
  return {
    pid,
    hostname: hostname(),
    bootId: await readBootId(),
    processStartedAt: status?.startedAt ?? null,
  }
}

/**
 * Whether a process may still be running. It says no only on evidence: the machine has the same host name, and
 * has been started anew since, or has no such process, or has given the number to another one.
 */
export async function mayBeAlive(owner: ProcessIdentity): Promise<boolean> {
  if (owner.hostname !== hostname()) return true
  const bootId = await readBootId()
  if (owner.bootId !== null && bootId !== null && owner.bootId !== bootId) return false
  if (!processExists(owner.pid)) return false
  const status = await readProcessStatus(owner.pid)
  if (status === undefined) return true
  if (status.ended) return false
  return owner.processStartedAt === null || owner.processStartedAt === status.startedAt
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

interface ProcessStatus {
  readonly startedAt: number
  /** Killed, every thread gone, and only kept for its parent to collect. */
  readonly ended: boolean
}

/** `undefined` where there is no `/proc`, or it does not show this process. */
async function readProcessStatus(id: number): Promise<ProcessStatus | undefined> {
  const text = await readSystemFile(`/proc/${id}/stat`)
  return text === undefined ? undefined : parseProcessStatus(text)
}

/** Reads `/proc/<pid>/stat` (proc(5)): fields 3 (state), 20 (threads) and 22 (start time). */
export function parseProcessStatus(text: string): ProcessStatus | undefined {
  // Field 2, the name in parentheses, may itself hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const state = fields[0]
  const threads = Number(fields[17])
  const startedAt = Number(fields[19])
  if (!Number.isSafeInteger(threads) || !Number.isSafeInteger(startedAt) || startedAt <= 0) return undefined
  // A killed process shows as a zombie while one of its threads may still be finishing a system call.
  return { startedAt, ended: (state === 'Z' || state === 'X') && threads <= 1 }
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
