// What the machine has that holdfast needs.

import { reasonOf } from '../../view/reason-of.js'
import type { Finding } from './directory.js'

/** `loadLz4` loads its native module. */
export async function machineFindings(
  version: string = process.versions.node,
  loadLz4: () => Promise<unknown> = () => import('lz4-napi'),
): Promise<Finding[]> {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const isSupported = major > 20 || (major === 20 && minor >= 19)
  const lz4 = await loads('lz4', loadLz4)
  const others = lz4.status === 'ok' ? 'lz4 and gzip are there' : 'gzip is there'
  return [
    {
      what: 'Node.js',
      status: isSupported ? 'ok' : 'problem',
      detail: isSupported ? `v${version}` : `v${version}; holdfast needs 20.19 or later: install a newer one`,
    },
    lz4,
    await loads('LMDB', () => import('lmdb')),
    major > 22 || (major === 22 && minor >= 15)
      ? { what: 'zstd', status: 'ok', detail: 'there' }
      : { what: 'zstd', status: 'note', detail: `needs Node.js 22.15 or later; ${others}` },
  ]
}

/** Its binary is a package of its own, for one system and processor: a folder that was copied from another machine has another one. */
const REINSTALL = 'install on this machine, with optional dependencies: remove node_modules, then npm install'

async function loads(what: string, load: () => Promise<unknown>): Promise<Finding> {
  try {
    await load()
    return { what, status: 'ok', detail: 'its native module loads' }
  } catch (error) {
    const detail = `its native module does not load: ${reasonOf(error).split('\n')[0]}; ${REINSTALL}`
    return { what, status: 'problem', detail }
  }
}
