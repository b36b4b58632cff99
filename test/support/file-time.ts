import { rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Returns when what changes from now on has a later time than the last change of a directory: file systems count time in steps. */
export function letFileTimePass(directory: string): void {
  const probe = join(dirname(directory), 'probe-of-time')
  const lastChange = changedAt(directory)
  for (let isLater = false; !isLater; ) {
    writeFileSync(probe, '')
    isLater = changedAt(probe) > lastChange
    rmSync(probe)
  }
}

function changedAt(path: string): bigint {
  return statSync(path, { bigint: true }).ctimeNs
}
