// A quick run through the installed package, by its public names only: write, checkpoint with every codec that this
// Node has, restore into a new backend, compare, look at it with the command, run a job twice. smoke-packed.mjs runs it in a project that depends on the package.
//
//   node smoke.mjs [MAJOR]     MAJOR: the version of Node that this must be

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import { CheckpointCoordinator, FileCheckpointStorage, isStateError, MemoryStateBackend } from 'holdfast'
import { ascending, functionSink, iterableSource, runJob } from 'holdfast/job'
import { defineState, reducing, uint32 } from 'holdfast/state'
import { ManualClock } from 'holdfast/testing'

const ENTRIES = 5_000

const bytes = (text) => new TextEncoder().encode(text)

/** The whole content, in order, as text. */
async function contentOf(backend) {
  const lines = []
  for await (const [key, value] of backend.scan()) {
    lines.push(`${Buffer.from(key).toString('hex')}=${Buffer.from(value).toString('hex')}`)
  }
  return lines
}

async function fill(backend) {
  for (let i = 0; i < ENTRIES; i++) {
    await backend.put(bytes(`key-${i}`), bytes(`value ${i} `.repeat(i % 20)))
  }
  for (let i = 0; i < ENTRIES; i += 7) await backend.delete(bytes(`key-${i}`))
}

async function roundTrip(directory, compression) {
  const backend = new MemoryStateBackend()
  await fill(backend)
  assert.equal(await backend.get(bytes('key-0')), undefined)
  assert.deepEqual(await backend.get(bytes('key-1')), bytes('value 1 '))
  const before = await contentOf(backend)
  const coordinator = new CheckpointCoordinator(backend, {
    storage: new FileCheckpointStorage(directory),
    compression,
    source: () => ({ offset: ENTRIES }),
  })
  const made = await coordinator.createCheckpoint()
  assert.equal(made.entryCount, before.length)
  assert.equal(made.validated, true)
  await coordinator.shutdown()
  await backend.close()

  const revived = new MemoryStateBackend()
  const successor = new CheckpointCoordinator(revived, {
    storage: new FileCheckpointStorage(directory),
    compression,
  })
  const restored = await successor.restoreLatest()
  assert.deepEqual(restored?.source, { offset: ENTRIES })
  assert.deepEqual(await contentOf(revived), before)
  await successor.shutdown()
  await revived.close()
  await assert.rejects(revived.get(bytes('key-1')), (error) => isStateError(error, 'CLOSED'))
}

async function timeToLive() {
  const clock = new ManualClock()
  const backend = new MemoryStateBackend({ clock })
  await backend.put(bytes('session'), bytes('x'), { ttlMs: 1_000 })
  clock.advance(999)
  assert.equal(await backend.contains(bytes('session')), true)
  clock.advance(1)
  assert.equal(await backend.contains(bytes('session')), false)
  await backend.close()
}

/** A job with windows, stopped in the middle and run again: each result once. */
async function job(directory) {
  const run = async (length) => {
    const lines = []
    const backend = new MemoryStateBackend()
    const running = await runJob({
      name: 'smoke',
      source: iterableSource({
        name: 'events',
        *from(position = 0) {
          for (let i = position; i < length; i++) yield [{ key: i % 3, at: i * 10 }, i + 1]
        },
      }),
      key: ({ key }) => key,
      timestamp: ({ at }) => at,
      time: { watermarks: ascending() },
      schema: defineState({ key: uint32, states: { seen: reducing(uint32, (seen, more) => seen + more) } }),
      process: ({ at }, { key, state, emit }) => {
        state.seen.add(1)
        if (at % 1_000 === 0) emit(`${key} ${state.seen.get()}`)
      },
      sink: functionSink({
        name: 'lines',
        write: (outputs) => void lines.push(...outputs.map(({ output }) => output)),
      }),
      backend,
      checkpoints: { storage: new FileCheckpointStorage(directory), intervalMs: 60_000 },
    })
    await running.finished
    await backend.close()
    return lines
  }
  assert.deepEqual(await run(150), ['0 1', '1 34'])
  assert.deepEqual(await run(400), ['2 67', '0 101'])
}

/** The command as npm has linked it, on this Node. */
function commandLine(directory) {
  const command = (...args) =>
    execFileSync(process.execPath, ['node_modules/.bin/holdfast', ...args], { encoding: 'utf8' })
  assert.match(command('list', directory), /^chk-0000000001 /m)
  assert.equal(command('get', directory, 'key-1'), 'value 1 \n')
  assert.match(command('verify', directory, '--all'), /^ok /)
  assert.equal(JSON.parse(command('--json', 'drill', directory)).ok, true)
}

const wanted = process.argv[2]
if (wanted !== undefined) assert.equal(process.versions.node.split('.')[0], wanted, 'the version of Node')

const codecs = ['lz4', 'gzip', 'none', ...(typeof zlib.zstdCompressSync === 'function' ? ['zstd'] : [])]
const [major, minor] = process.versions.node.split('.').map(Number)
assert.equal(codecs.includes('zstd'), major > 22 || (major === 22 && minor >= 15), 'zstd from Node 22.15 on')

await timeToLive()
for (const compression of codecs) {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-smoke-'))
  try {
    await roundTrip(join(directory, 'checkpoints'), compression)
    await job(join(directory, 'job'))
    if (process.platform !== 'win32') commandLine(join(directory, 'checkpoints'))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
process.stdout.write(`smoke: Node ${process.versions.node}, codecs ${codecs.join(' ')}: fine\n`)
