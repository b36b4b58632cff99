// abstract-level's own suite, on both engines; each database of it has keys of its own in one backend.

import { createRequire } from 'node:module'
import { MemoryStateBackend } from 'holdfast'
import { HoldfastLevel } from 'holdfast/level'
import { LmdbStateBackend } from 'holdfast/lmdb'
import tape from 'tape'

const suite = createRequire(import.meta.resolve('holdfast/level'))('abstract-level/test/index.js')

const engines = {
  memory: async () => new MemoryStateBackend(),
  lmdb: async () => await LmdbStateBackend.temporary(),
}
const backend = await engines[process.argv[2]]()
let opened = 0
suite({
  test: tape,
  factory: (options) => new HoldfastLevel(backend, { ...options, prefix: String(opened++) }),
})
tape.onFinish(() => backend.close())
