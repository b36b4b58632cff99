import { hostname } from 'node:os'
import { StateError } from '../base/errors.js'
import type { DurableDirectory } from './durable-directory.js'
import { checkSmall } from './file-failure.js'
import { leaseFileName, leaseTokenOf } from './file-names.js'
import { decodeLease, type LeaseRecord, MAX_LEASE_BYTES } from './lease-record.js'

/** The tokens of all lease files, ascending. */
export async function leaseTokens(directory: DurableDirectory): Promise<number[]> {
  const tokens: number[] = []
  for (const name of await directory.names('list the leases')) {
    const token = leaseTokenOf(name)
    if (token !== undefined) tokens.push(token)
  }
  return tokens.sort((left, right) => left - right)
}

/** What the lease file with this token says; `undefined` where there is none. */
export async function readLease(
  directory: DurableDirectory,
  token: number,
): Promise<LeaseRecord | undefined> {
  const name = leaseFileName(token)
  const path = directory.pathOf(name)
  const file = await directory.openFile(name, 'read the lease')
  if (file === undefined) return undefined
  try {
    checkSmall(`lease file ${path}`, file.sizeBytes, MAX_LEASE_BYTES)
    const bytes = new Uint8Array(file.sizeBytes)
    await directory.readFully(file.handle, name, bytes, 0)
    return decodeLease(bytes, token, path)
  } finally {
    await file.handle.close()
  }
}

/** The refusal that names the owner and what to do about it. */
export function fenced(directory: DurableDirectory, holder: LeaseRecord): StateError<'FENCED'> {
  const who = `process ${holder.pid} on host '${holder.hostname}' (lease ${holder.token})`
  const owner = `${who}; ${adviceAbout(directory, holder)}`
  return new StateError('FENCED', { resource: directory.storageName, owner })
}

function adviceAbout(directory: DurableDirectory, holder: LeaseRecord): string {
  if (holder.hostname !== hostname()) {
    const file = directory.pathOf(leaseFileName(holder.token))
    return `stop it or use another directory; if that host is gone for good, remove ${file}`
  }
  if (holder.pid === process.pid) return 'which is this process: release that lease first'
  return 'stop it or use another directory'
}

/** The refusal where the own lease file is gone and a newer owner has not yet shown, or is gone as well. */
export function fencedByUnknown(directory: DurableDirectory): StateError<'FENCED'> {
  const owner = 'a newer owner, or nobody: the lease file of this one was removed; acquire a new lease'
  return new StateError('FENCED', { resource: directory.storageName, owner })
}
