import { execFile } from 'node:child_process'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const DIST = resolve(import.meta.dirname, '../../dist')

/** Nothing but the wait itself could keep this process alive. */
const SCRIPT = `
const { MemoryCheckpointStorage, MemoryStateBackend } = await import('${join(DIST, 'index.js')}')
const { arraySource, runJob } = await import('${join(DIST, 'job.js')}')
const { defineState, utf8 } = await import('${join(DIST, 'state.js')}')
const hangs = () => new Promise(() => {})
async function main() {
  let written
  const writing = new Promise((resolve) => { written = resolve })
  const write = () => { written(); return hangs() }
  const sink = { name: 'hangs', guarantee: 'idempotent', open: async () => ({ write, prepare: async () => null, commit: async () => {}, close: async () => {} }) }
  const job = await runJob({
    name: 'hangs', source: arraySource(['a']), key: (event) => event, schema: defineState({ key: utf8, states: {} }),
    process: (event, { emit }) => emit(event), sink, backend: new MemoryStateBackend(),
    checkpoints: { storage: new MemoryCheckpointStorage() }, stopTimeoutMs: 50,
  })
  await writing
  await job[process.argv[1]]().then(() => console.log('ended'), ({ code }) => console.log(code))
}
main()
`

it.each([
  ['stop', 'JOB_FAILED'],
  ['abandon', 'ended'],
])(
  'a process that awaits the %s of a job whose sink hangs is alive until that has ended',
  async (call, told) => {
    const args = ['--input-type=module', '-e', SCRIPT, call]
    const { stdout } = await promisify(execFile)(process.execPath, args)
    expect(stdout).toBe(`${told}\n`)
  },
)
