// Fills a store on a small disk until a commit fails, which names the disk, and says how many entries were durable and accepted by then: a failed page
// write may damage the memory of the process that meets it. Everything that was accepted is still served there, and nothing more taken.

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { isStateError } from '../../../src/base/errors.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { keyOf, valueOf } from './disk-filling.js'

const [path = '', mode] = process.argv.slice(2)
const isFull = (error: unknown) =>
  isStateError(error, 'STORAGE_ERROR') &&
  error.message.includes(path) &&
  /its disk is full/.test(error.message)

const backend = await LmdbStateBackend.open({ path, flushIntervalMs: Infinity, log: mode === 'log' })
const failures: Error[] = []
backend.on('failed', ({ error }) => failures.push(error))
let durable = 0
let accepted = 0
const failure: unknown = await (async () => {
  for (;;) {
    for (let i = 0; i < 10; i++) backend.putSync(keyOf(accepted), valueOf(accepted++))
    await backend.flush()
    durable = accepted
  }
})().catch((error: unknown) => error)
assert.ok(isFull(failure), String(failure))
assert.equal(failures.length, 1)
assert.ok(isFull(failures[0]), String(failures[0]))
assert.throws(() => backend.putSync(Buffer.from('more'), valueOf(0)), isFull)
for (let i = 0; i < accepted; i++) assert.ok(valueOf(i).equals(backend.getSync(keyOf(i)) ?? Buffer.of()))
assert.equal([...backend.scanSync({ prefix: Buffer.from('key ') })].length, accepted)
// Now the lease cannot be let go of either, which is not what matters.
assert.throws(() => {
  for (let block = 0; ; block++) writeFileSync(`${path}.${block}`, Buffer.alloc(4_096))
}, /ENOSPC/)
await assert.rejects(backend.close(), isFull)
process.stdout.write(JSON.stringify({ durable, accepted }))
