import { randomUUID } from 'node:crypto'
import { systemClock } from '../../base/clock.js'
import { reasonOf, StateError } from '../../base/errors.js'
import { isLogIdentity, type LogIdentity } from '../log/log-identity.js'
import { isDataFile, NEW_DATA_FILE, STORE_PAGE_BYTES } from './data-file.js'
import { lmdbVersion } from './environment.js'

export const IDENTITY_FILE = 'holdfast-lmdb.json'
export const MAX_IDENTITY_BYTES = 4_096
/** A store that has a log before its tree is of the later format: whoever does not know logs would show it without what they hold. */
const FORMAT = 1
const FORMAT_WITH_LOG = 2

/** What a store's directory says of itself. */
export interface StoreIdentity {
  readonly format: 1 | 2
  readonly id: string
  /** Of the LMDB that made the store. */
  readonly lmdb: string
  readonly pageSize: number
  /** The file that has the content. */
  readonly data: string
  readonly createdAt: string
  /** False until the store was opened once: what is there until then may be thrown away. */
  readonly ready: boolean
  /** What has become durable and may not be in the tree yet. */
  readonly log?: LogIdentity
}

/** The identity with this log before its tree, or with none. */
export function withLog(identity: StoreIdentity, log: LogIdentity | undefined): StoreIdentity {
  if (log !== undefined) return { ...identity, format: FORMAT_WITH_LOG, log }
  const { log: former, ...others } = identity
  return former === undefined && identity.format === FORMAT ? identity : { ...others, format: FORMAT }
}

export function newIdentity(): StoreIdentity {
  return {
    format: FORMAT,
    id: randomUUID(),
    lmdb: lmdbVersion(),
    pageSize: STORE_PAGE_BYTES,
    data: NEW_DATA_FILE,
    createdAt: new Date(systemClock.now()).toISOString(),
    ready: false,
  }
}

export function encodeIdentity(identity: StoreIdentity): Buffer {
  return Buffer.from(`${JSON.stringify(identity, undefined, 2)}\n`)
}

/** `CORRUPTION` or `INCOMPATIBLE` for anything but an identity of this format. */
export function decodeIdentity(bytes: Uint8Array, what: string): StoreIdentity {
  let identity: Partial<StoreIdentity> | null
  try {
    identity = JSON.parse(Buffer.from(bytes).toString('utf8')) as Partial<StoreIdentity> | null
  } catch (cause) {
    throw new StateError('CORRUPTION', { what, reason: reasonOf(cause) }, { cause })
  }
  if (typeof identity?.format !== 'number') {
    throw new StateError('CORRUPTION', { what, reason: 'it names no format' })
  }
  const found = { format: identity.format as number, pageSize: identity.pageSize }
  const isKnown = found.format === FORMAT || found.format === FORMAT_WITH_LOG
  if (!isKnown || found.pageSize !== STORE_PAGE_BYTES) {
    throw new StateError('INCOMPATIBLE', {
      what,
      found: `format ${found.format} with pages of ${found.pageSize} bytes`,
      supported: `formats ${FORMAT} and ${FORMAT_WITH_LOG} with pages of ${STORE_PAGE_BYTES} bytes`,
    })
  }
  if (typeof identity.id !== 'string' || typeof identity.ready !== 'boolean') {
    throw new StateError('CORRUPTION', { what, reason: 'it lacks its id or its readiness' })
  }
  if (!isDataFile(identity.data))
    throw new StateError('CORRUPTION', { what, reason: 'it names no data file' })
  if (found.format === FORMAT_WITH_LOG && !isLogIdentity(identity.log)) {
    throw new StateError('CORRUPTION', { what, reason: 'it names no log' })
  }
  return found.format === FORMAT ? withLog(identity as StoreIdentity, undefined) : (identity as StoreIdentity)
}
