import { randomUUID } from 'node:crypto'
import { systemClock } from '../../base/clock.js'
import { reasonOf, StateError } from '../../base/errors.js'
import { isDataFile, NEW_DATA_FILE, STORE_PAGE_BYTES } from './data-file.js'
import { lmdbVersion } from './environment.js'

export const IDENTITY_FILE = 'holdfast-lmdb.json'
export const MAX_IDENTITY_BYTES = 4_096
const FORMAT = 1

/** What a store's directory says of itself. */
export interface StoreIdentity {
  readonly format: 1
  readonly id: string
  /** Of the LMDB that made the store. */
  readonly lmdb: string
  readonly pageSize: number
  /** The file that has the content. */
  readonly data: string
  readonly createdAt: string
  /** False until the store was opened once: what is there until then may be thrown away. */
  readonly ready: boolean
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
  if (found.format !== FORMAT || found.pageSize !== STORE_PAGE_BYTES) {
    throw new StateError('INCOMPATIBLE', {
      what,
      found: `format ${found.format} with pages of ${found.pageSize} bytes`,
      supported: `format ${FORMAT} with pages of ${STORE_PAGE_BYTES} bytes`,
    })
  }
  if (typeof identity.id !== 'string' || typeof identity.ready !== 'boolean') {
    throw new StateError('CORRUPTION', { what, reason: 'it lacks its id or its readiness' })
  }
  if (!isDataFile(identity.data))
    throw new StateError('CORRUPTION', { what, reason: 'it names no data file' })
  return identity as StoreIdentity
}
