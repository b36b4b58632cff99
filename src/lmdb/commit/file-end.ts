// LMDB does not write pages that a commit has taken behind all others and has given back itself: the file ends before its last
// page then. Only reading all of it tells that from a file that was cut off, which is what opening such a store takes. So the
// writer adds what is missing, behind the commit.

import { closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs'

/** What is missing is a few pages. */
const PIECE_BYTES = 64 * 1024

/** The end of a data file, for its writer. */
export class FileEnd {
  readonly #path: string
  /** The file was looked at when its last page ended here. */
  #lookedAtBytes = 0

  constructor(path: string) {
    this.#path = path
  }

  /** The last page of the store ends at `wholeBytes`: so should the file, or later. Where that fails it is as LMDB has left it. */
  reach(wholeBytes: number): void {
    if (wholeBytes <= this.#lookedAtBytes) return
    this.#lookedAtBytes = wholeBytes
    try {
      if (statSync(this.#path).size < wholeBytes) append(this.#path, wholeBytes)
    } catch {
      // Nothing is lost by it: whoever opens the store reads it whole.
    }
  }
}

/** Appending takes nothing away, whoever else writes to the file; setting its length would, where it has grown meanwhile. */
function append(path: string, wholeBytes: number): void {
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_APPEND)
  try {
    let missing = wholeBytes - fstatSync(descriptor).size
    const zeros = Buffer.alloc(PIECE_BYTES)
    while (missing > 0) missing -= writeSync(descriptor, zeros, 0, Math.min(missing, PIECE_BYTES))
  } finally {
    closeSync(descriptor)
  }
}
