import { writeSync } from 'node:fs'

const nap = new Int32Array(new SharedArrayBuffer(4))

/**
 * Writes a line to standard output before it returns: a line that was written is never lost to a kill. Where whoever reads is behind and the pipe is
 * full, it waits.
 */
export function sayLine(line: string): void {
  const bytes = Buffer.from(`${line}\n`)
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(1, bytes, written)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(nap, 0, 0, 1)
    }
  }
}
