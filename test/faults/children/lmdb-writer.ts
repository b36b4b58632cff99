// Goes on with the plan from where the store is, and says on standard output what it has found, begun and made durable.
// Lines are written synchronously: a line that was written is never lost to a kill.

import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { awaitLog } from './await-log.js'
import { batchAt, STEP_KEY } from './lmdb-plan.js'
import { sayLine } from './say-line.js'

const say = (kind: string, value: unknown) => sayLine(`${kind} ${JSON.stringify(value)}`)
const [path, flushEvery, ...modes] = process.argv.slice(2) as [string, string, ...string[]]

const log = modes.includes('log')
const backend = await LmdbStateBackend.open({
  path,
  flushEvery: Number(flushEvery),
  flushIntervalMs: 20,
  log,
})
const found: [string, string][] = []
for (const [key, value] of backend.scanSync()) {
  found.push([Buffer.from(key).toString(), Buffer.from(value).toString()])
}
say('found', found)
let step = Number(Buffer.from(backend.getSync(Buffer.from(STEP_KEY)) ?? '0').toString())
if (log) await awaitLog(backend, path)
if (modes.includes('compact')) {
  // It may give way to the writes.
  backend.compact().then(
    () => say('compacted', true),
    () => say('compacted', false),
  )
}
for (;;) {
  for (let i = 0; i < 40; i++) {
    step++
    say('begun', step)
    if (step % 17 === 0) {
      await backend.write(batchAt(step), { durable: true })
      say('durable', step)
    } else {
      backend.writeSync(batchAt(step))
    }
  }
  const flushed = step
  // Goes on writing beside the flush every other time.
  const flushing = backend.flush().then(() => say('durable', flushed))
  if (step % 2 === 0) await flushing
  else await new Promise((resolve) => setImmediate(resolve))
}
