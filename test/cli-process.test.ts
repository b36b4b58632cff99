// The command line as a process: what a shell sees of it.

import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from '../src/index.js'

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'holdfast-cli-process-'))
const checkpoints = join(directory, 'checkpoints')
afterAll(() => rmSync(directory, { recursive: true, force: true }))

beforeAll(async () => {
  const backend = new MemoryStateBackend()
  for (let i = 0; i < 200_000; i++) backend.putSync(Buffer.from(`user:${i}`), Buffer.from(`value ${i}`))
  const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(checkpoints) })
  await coordinator.createCheckpoint()
  await coordinator.shutdown()
  await backend.close()
})

describe.skipIf(!existsSync(main))('holdfast as a process', () => {
  it('ends quietly when the reader of its output has seen enough', async () => {
    const script = '"$0" "$1" --json scan "$2" | head -n 1; echo "status ${PIPESTATUS[0]}"'
    const { stdout, stderr } = await promisify(execFile)('bash', [
      '-c',
      script,
      process.execPath,
      main,
      checkpoints,
    ])
    expect([stdout, stderr]).toEqual(['{"key":"user:0","value":"value 0"}\nstatus 0\n', ''])
  })

  it('leaves nothing half written where it is interrupted', async () => {
    const target = join(directory, 'all.ndjson')
    const child = spawn(process.execPath, [main, 'export', checkpoints, target], { stdio: 'ignore' })
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    while (!readdirSync(directory).some((name) => name.endsWith('.tmp')) && child.exitCode === null) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    child.kill('SIGINT')
    // It may have come to its end before: then the file is there, and whole.
    const status = await ended
    expect([0, 130]).toContain(status)
    expect(readdirSync(directory).sort()).toEqual(
      status === 0 ? ['all.ndjson', 'checkpoints'] : ['checkpoints'],
    )
  })

  it('loads for a command only what that needs', async () => {
    const script = `
      process.argv = [process.argv[0], ${JSON.stringify(main)}, '--version']
      await import(${JSON.stringify(main)})
      const loaded = process.moduleLoadList.filter((name) => name.includes('worker_threads') || name.includes('zlib'))
      console.log(JSON.stringify(loaded))`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect(stdout.trim().split('\n')).toEqual([expect.stringMatching(/^\d+\.\d+\.\d+$/), '[]'])
  })
})
