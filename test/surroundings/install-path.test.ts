// The package as it is installed in a folder whose name means something in a URL.

import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../..')

/** What threads and the LMDB engine load. */
const PACKAGES = [
  '@antoniomuso',
  '@harperfast',
  '@lmdb',
  '@msgpack',
  '@msgpackr-extract',
  'detect-libc',
  'lmdb',
  'lz4-napi',
  'msgpackr',
  'msgpackr-extract',
  'node-gyp-build-optional-packages',
  'ordered-binary',
  'weak-lru-cache',
]

const SCRIPT = `
import { CheckpointCoordinator, FileCheckpointStorage } from 'holdfast'
import { LmdbStateBackend } from 'holdfast/lmdb'
const store = await LmdbStateBackend.open({ path: 'store', log: true })
await store.put(Buffer.from('key'), Buffer.from('value'), { durable: true })
const coordinator = new CheckpointCoordinator(store, { storage: new FileCheckpointStorage('checkpoints') })
await coordinator.createCheckpoint()
await coordinator.restoreLatest()
await coordinator.shutdown()
const { ok, entries } = await store.verify()
await store.compact()
await store.close()
console.log(ok, entries)
`

it('has a project in a folder named C#, or with a percent sign or a question mark, work as in any other', async () => {
  const project = await mkdtemp(join(tmpdir(), 'holdfast C# 100%20 ä? '))
  try {
    const installed = join(project, 'node_modules')
    for (const name of PACKAGES)
      await cp(join(ROOT, 'node_modules', name), join(installed, name), { recursive: true })
    for (const name of ['package.json', 'dist/entries', 'dist/threads'])
      await cp(join(ROOT, name), join(installed, 'holdfast', name), { recursive: true })
    await writeFile(join(project, 'app.mjs'), SCRIPT)
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['app.mjs'], { cwd: project })
    expect([stdout, stderr]).toEqual(['true 1\n', ''])
  } finally {
    await rm(project, { recursive: true, force: true })
  }
})
