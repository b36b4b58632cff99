// What the machine has that holdfast needs.

import { reasonOf } from '../../view/reason-of.js'
import type { Finding } from './directory.js'

export async function machineFindings(version: string = process.versions.node): Promise<Finding[]> {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const isSupported = major > 20 || (major === 20 && minor >= 19)
  return [
    {
      what: 'Node.js',
      status: isSupported ? 'ok' : 'problem',
      detail: isSupported ? `v${version}` : `v${version}; holdfast needs 20.19 or later: install a newer one`,
    },
    await loads('lz4', async () => void (await import('lz4-napi'))),
    await loads('LMDB', async () => void (await import('lmdb'))),
    major > 22 || (major === 22 && minor >= 15)
      ? { what: 'zstd', status: 'ok', detail: 'there' }
      : { what: 'zstd', status: 'note', detail: 'needs Node.js 22.15 or later; lz4 and gzip are there' },
  ]
}

/** Its binary is a package of its own, for one system and processor: a folder that was copied from another machine has another one. */
const REINSTALL = 'install on this machine, with optional dependencies: remove node_modules, then npm install'

async function loads(what: string, load: () => Promise<void>): Promise<Finding> {
  try {
    await load()
    return { what, status: 'ok', detail: 'its native module loads' }
  } catch (error) {
    const detail = `its native module does not load: ${reasonOf(error).split('\n')[0]}; ${REINSTALL}`
    return { what, status: 'problem', detail }
  }
}
