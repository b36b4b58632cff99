// The content of a lease file: one JSON object in UTF-8, at most 4,096 bytes.
//
// (1) `version` is 1; a file with another number is INCOMPATIBLE, whatever else it holds.
// (2) `token` is the one in the file's name.
// (3) Unknown members are ignored; a missing one, or one of another type, is CORRUPTION. `pidNamespace`, `threadId` and
//     `threadStartedAt` may be missing: then they are null.

import { StateError } from '../base/errors.js'
import type { ProcessIdentity } from './process-identity.js'

const VERSION = 1

/** The largest lease file that is read, in bytes. A written one has about 350. */
export const MAX_LEASE_BYTES = 4_096

export interface LeaseRecord extends ProcessIdentity {
  readonly token: number
  /** Tells two leases with the same token apart, should a lease file ever be removed by hand. */
  readonly nonce: string
  /** The owner has let go: the next one need not ask whether it lives. */
  readonly released: boolean
}

export function encodeLease(record: LeaseRecord): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify({ version: VERSION, ...record })}\n`)
}

/** What a lease file says. `token` is the one in its name, `path` is for messages. */
export function decodeLease(bytes: Uint8Array, token: number, path: string): LeaseRecord {
  const fields = parseObject(bytes)
  if (fields === undefined) throw damaged(path, 'it is not a JSON object')
  const { version, pid, hostname, bootId, processStartedAt, nonce, released } = fields
  if (typeof version === 'number' && version !== VERSION) {
    throw new StateError('INCOMPATIBLE', {
      what: `lease file ${path}`,
      found: `version ${version}`,
      supported: `version ${VERSION}`,
    })
  }
  if (version !== VERSION) throw damaged(path, 'it has no version')
  if (fields['token'] !== token) throw damaged(path, 'it holds another token than its name')
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) throw damaged(path, 'pid is no pid')
  if (typeof hostname !== 'string') throw damaged(path, 'hostname is not a string')
  if (bootId !== null && typeof bootId !== 'string') throw damaged(path, 'bootId is not a string or null')
  if (processStartedAt !== null && typeof processStartedAt !== 'number') {
    throw damaged(path, 'processStartedAt is not a number or null')
  }
  const { pidNamespace = null, threadId = null, threadStartedAt = null } = fields
  if (pidNamespace !== null && typeof pidNamespace !== 'string') {
    throw damaged(path, 'pidNamespace is not a string or null')
  }
  if (threadId !== null && typeof threadId !== 'number')
    throw damaged(path, 'threadId is not a number or null')
  if (threadStartedAt !== null && typeof threadStartedAt !== 'number') {
    throw damaged(path, 'threadStartedAt is not a number or null')
  }
  if (typeof nonce !== 'string') throw damaged(path, 'nonce is not a string')
  if (typeof released !== 'boolean') throw damaged(path, 'released is not true or false')
  const process = { pid, hostname, bootId, pidNamespace, processStartedAt, threadId, threadStartedAt }
  return { token, ...process, nonce, released }
}

function parseObject(bytes: Uint8Array): { readonly [name: string]: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** A lease that cannot be read may belong to a living owner: nobody gets in until a person has looked. */
function damaged(path: string, reason: string): StateError<'CORRUPTION'> {
  return new StateError('CORRUPTION', {
    what: `lease file ${path}`,
    reason: `${reason}; make sure that no process writes to this directory, then remove that file`,
  })
}
