import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'

/** The files below a folder that this process has open, in whichever thread. Linux tells it; elsewhere none are found. */
export async function openBelow(folder: string): Promise<string[]> {
  if (process.platform !== 'linux') return []
  const descriptors = await readdir('/proc/self/fd')
  // A descriptor may be gone again: that of the listing is.
  const targets = await Promise.all(
    descriptors.map((name) => readlink(join('/proc/self/fd', name)).catch(() => '')),
  )
  return targets.filter((target) => target.startsWith(folder))
}
