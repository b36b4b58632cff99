// What the store says of itself as a whole, in one record beside the entries (docs/format/lmdb-store.md).
//
//   state := crc32 u32 little-endian · JSON in UTF-8                (the checksum is that of the JSON)

import { StateError } from '../../base/errors.js'
import { crc32 } from '../../codec/checksum.js'
import type { LogMark } from '../log/log-identity.js'

export const STATE_KEY: Uint8Array = Buffer.from('state')

const CHECKSUM_BYTES = 4

export interface StoreState {
  readonly format: 1
  /** Counts the replacements of all content: its parity names the databases in use. */
  readonly generation: number
  /** The store's time at its last commit, in milliseconds since the epoch. */
  readonly clockMs: number
  /** Counts the commits. */
  readonly flushSequence: number
  /** Up to where this holds the log that the mark names; undefined: the store never had one. */
  readonly log?: LogMark
}

export function encodeStoreState(state: StoreState): Buffer {
  const json = Buffer.from(JSON.stringify(state))
  const record = Buffer.alloc(CHECKSUM_BYTES + json.length)
  record.writeUInt32LE(crc32(json), 0)
  json.copy(record, CHECKSUM_BYTES)
  return record
}

export function decodeStoreState(record: Uint8Array): StoreState {
  const bytes = Buffer.from(record)
  if (bytes.length < CHECKSUM_BYTES || crc32(bytes.subarray(CHECKSUM_BYTES)) !== bytes.readUInt32LE(0)) {
    throw new StateError('CORRUPTION', { what: 'state of the store', reason: 'its checksum does not match' })
  }
  const state = JSON.parse(bytes.toString('utf8', CHECKSUM_BYTES)) as StoreState
  if (state.format !== 1) {
    const found = `format ${String(state.format)}`
    throw new StateError('INCOMPATIBLE', { what: 'state of the store', found, supported: 'format 1' })
  }
  return state
}
