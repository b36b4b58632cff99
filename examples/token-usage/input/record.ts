import type { FilePosition } from '../events.js'

/** A record of a file as it stands there, or what is wrong with it. */
export interface FileRecord {
  /** The line on which it begins. */
  readonly line: number
  /** Where the next record begins. */
  readonly end: FilePosition
  /** The cells of a CSV record, or the object of an NDJSON line. */
  readonly values: FileValues
  /** Set where the record cannot be read; `values` is then empty. */
  readonly problem: string | undefined
}

export type FileValues = readonly string[] | { readonly [column: string]: unknown }

/** A longer record is a broken one (an unclosed quote swallows everything behind it): memory stays constant. */
export const MAX_RECORD_BYTES: number = 1024 * 1024
