import { hostname } from 'node:os'
import { StateError } from '../base/errors.js'
import type { DurableDirectory } from './durable-directory.js'
import { checkSmall } from './file-failure.js'
import { leaseFileName, leaseTokenOf } from './file-names.js'
import { decodeLease, type LeaseRecord, MAX_LEASE_BYTES } from './lease-record.js'
import { isThisProcess } from './process-identity.js'

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
  return (await sightLease(directory, token))?.record
}

/** A lease as it was at one moment. */
export interface Sighting {
  readonly record: LeaseRecord
  /** Differs from one sighting to the next where the owner has renewed its lease meanwhile. */
  readonly changedAt: string
}

/** The lease with this token, now; `undefined` where there is none. */
export async function sightLease(directory: DurableDirectory, token: number): Promise<Sighting | undefined> {
  const name = leaseFileName(token)
  const path = directory.pathOf(name)
  const file = await directory.openFile(name, 'read the lease')
  if (file === undefined) return undefined
  try {
    checkSmall(`lease file ${path}`, file.sizeBytes, MAX_LEASE_BYTES)
    const bytes = new Uint8Array(file.sizeBytes)
    await directory.readFully(file.handle, name, bytes, 0)
    // By the open file: a network file system may tell what it knew before of a name.
    const { mtimeNs, ino } = await directory.attempt(
      'read the lease',
      path,
      file.handle.stat({ bigint: true }),
    )
    return { record: decodeLease(bytes, token, path), changedAt: `${ino}:${mtimeNs}` }
  } finally {
    await file.handle.close()
  }
}

export function describeOwner({ pid, hostname: host, token }: LeaseRecord): string {
  return `process ${pid} on host '${host}' (lease ${token})`
}

/** The refusal that names the owner and what to do about it. */
export function fenced(directory: DurableDirectory, holder: LeaseRecord): StateError<'FENCED'> {
  const owner = `${describeOwner(holder)}; ${adviceAbout(directory, holder)}`
  return new StateError('FENCED', { resource: directory.storageName, owner })
}

function adviceAbout(directory: DurableDirectory, holder: LeaseRecord): string {
  const file = directory.pathOf(leaseFileName(holder.token))
  if (holder.hostname !== hostname()) {
    return `stop it or use another directory; to become the owner although it may live, take over (takeOver: true, or remove ${file})`
  }
  if (isThisProcess(holder)) {
    return 'which is this process: release that lease first'
  }
  return 'stop it, wait until it lets go, take over (takeOver: true), or use another directory'
}

/** The refusal where the own lease file is gone and a newer owner has not yet shown, or is gone as well. */
export function fencedByUnknown(directory: DurableDirectory): StateError<'FENCED'> {
  const owner = 'a newer owner, or nobody: the lease file of this one was removed; acquire a new lease'
  return new StateError('FENCED', { resource: directory.storageName, owner })
}
