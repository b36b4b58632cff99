// A store that is open more than once in one process: POSIX locks are the process's, and closing any descriptor of a file drops
// all that it has on it.

import { execFile } from 'node:child_process'
import { readFileSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { lmdbStores } from '../../../test/support/lmdb-stores.js'
import { LmdbStateBackend } from '../lmdb-state-backend.js'

const onLinux = process.platform === 'linux'
const bytes = (text: string) => Buffer.from(text)
const text = (value: Uint8Array | undefined) =>
  value === undefined ? undefined : Buffer.from(value).toString()

let folder: string
let path: string
const open = lmdbStores((made, store) => {
  folder = made
  path = store
})

async function write(store: LmdbStateBackend, value: string): Promise<void> {
  store.putSync(bytes('k'), bytes(value))
  await store.flush()
}

/** While other processes take locks, the system gives some lines of its list twice, under other numbers, and leaves some out. */
const LOOKS = 8

/** How many locks this process has on the table of readers. */
function locksHeld(): number {
  const { ino } = statSync(join(path, 'data-1.mdb-lock'))
  const seen = new Set<string>()
  for (let look = 0; look < LOOKS; look++) {
    for (const line of readFileSync('/proc/locks', 'utf8').split('\n')) {
      const isOurs = line.includes(` ${process.pid} `) && line.includes(`:${ino} `)
      if (isOurs) seen.add(line.replace(/^\d+: /, ''))
    }
  }
  return seen.size
}

describe.runIf(onLinux)('a store that is open more than once in one process', () => {
  it('keeps its locks when a reader beside its writer comes and goes, and when it is verified', async () => {
    const writer = await open()
    await write(writer, 'first')
    const snapshot = writer.snapshotSync()
    const before = locksHeld()
    expect(before).toBeGreaterThan(0)
    symlinkSync(path, join(folder, 'other-name'))
    for (const name of [path, join(folder, 'other-name')]) {
      const reader = await LmdbStateBackend.open({ path: name, readOnly: true })
      expect(text(reader.getSync(bytes('k')))).toBe('first')
      await reader.close()
      expect(locksHeld()).toBe(before)
    }
    expect(await writer.verify()).toMatchObject({ ok: true })
    expect(await LmdbStateBackend.verify(path)).toMatchObject({ ok: true })
    expect(locksHeld()).toBe(before)
    await write(writer, 'second')
    expect(text(snapshot.getSync(bytes('k')))).toBe('first')
    snapshot[Symbol.dispose]()
  })

  it('keeps the snapshot of one reader when another reader is closed', async () => {
    await (await open()).close()
    const first = await open({ readOnly: true })
    const second = await open({ readOnly: true })
    const before = locksHeld()
    await second.close()
    expect(locksHeld()).toBe(before)
    const snapshot = first.snapshotSync()
    const writer = await open()
    await write(writer, 'later')
    expect(snapshot.getSync(bytes('k'))).toBeUndefined()
    snapshot[Symbol.dispose]()
  })

  it('can be written to although a reader was there first, and after that has gone', async () => {
    await (await open()).close()
    const reader = await open({ readOnly: true })
    const writer = await open()
    await write(writer, 'first')
    await new Promise((resolve) => setImmediate(resolve))
    expect(text(reader.getSync(bytes('k')))).toBe('first')
    await reader.close()
    await write(writer, 'second')
    expect(locksHeld()).toBeGreaterThan(0)
    expect(text(writer.getSync(bytes('k')))).toBe('second')
  })

  it('keeps its locks when a reader in another thread comes and goes', async () => {
    const writer = await open()
    await write(writer, 'first')
    const before = locksHeld()
    const script = `
      const { parentPort, workerData } = require('node:worker_threads')
      import('holdfast/lmdb').then(async ({ LmdbStateBackend }) => {
        const reader = await LmdbStateBackend.open({ path: workerData, readOnly: true })
        parentPort.postMessage(Buffer.from(reader.getSync(Buffer.from('k'))).toString())
        await reader.close()
      })`
    const thread = new Worker(script, { eval: true, workerData: path })
    let found: unknown
    thread.on('message', (message) => {
      found = message
    })
    await new Promise((resolve, reject) => thread.on('exit', resolve).on('error', reject))
    expect(found).toBe('first')
    expect(locksHeld()).toBe(before)
    await write(writer, 'second')
  })
})

describe.runIf(onLinux)('a process without room for one more store', () => {
  /** What a process says that opens store after store until it is refused, under a limit of the shell. */
  async function openUntilRefused(limit: string): Promise<string[]> {
    const script = `
      import { LmdbStateBackend } from 'holdfast/lmdb'
      const open = []
      try {
        for (;;) open.push(await LmdbStateBackend.temporary())
      } catch (error) {
        console.log(error.code, error.message)
      }
      for (const store of open) {
        store.putSync(Buffer.from('k'), Buffer.from('v'))
        await store.flush()
        await store.close()
      }
      console.log(open.length)`
    const command = `ulimit ${limit} && exec "$0" --input-type=module -e "$1"`
    const { stdout } = await promisify(execFile)('sh', ['-c', command, process.execPath, script])
    return stdout.trim().split('\n')
  }

  it('is refused it with STORAGE_ERROR where addresses are used up, and goes on with the others', async () => {
    const [refusal, count] = await openUntilRefused('-v 5000000')
    expect(refusal).toMatch(/^STORAGE_ERROR .*not enough address space .*ulimit -v/)
    expect(Number(count)).toBeGreaterThan(0)
  })

  it('is refused it with STORAGE_ERROR where files are used up, and goes on with the others', async () => {
    const [refusal, count] = await openUntilRefused('-n 96')
    expect(refusal).toMatch(/^STORAGE_ERROR .*(ulimit -n|too many open files)/)
    expect(Number(count)).toBeGreaterThan(0)
  })
})

describe.runIf(onLinux)('a process whose working directory was removed', () => {
  it('is told so where a thread is to start, and goes on in another one', async () => {
    const script = `
      import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs'
      import { tmpdir } from 'node:os'
      import { join } from 'node:path'
      import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from 'holdfast'
      import { LmdbStateBackend } from 'holdfast/lmdb'
      const folder = mkdtempSync(join(tmpdir(), 'holdfast-cwd-'))
      const cwd = join(folder, 'release-1')
      const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
      const coordinator = new CheckpointCoordinator(new MemoryStateBackend(), { storage })
      const attempt = () => Promise.all([
        LmdbStateBackend.open({ path: join(folder, 'store') }).then((store) => store.close()),
        coordinator.createCheckpoint(),
      ].map((work) => work.then(() => 'done', ({ code, message }) => code + ' ' + message)))
      mkdirSync(cwd)
      process.chdir(cwd)
      process.cwd()
      rmdirSync(cwd)
      const gone = await attempt()
      process.chdir(folder)
      console.log(JSON.stringify([gone, await attempt()]))
      await coordinator.shutdown()
      rmSync(folder, { recursive: true })`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    const advice = 'the working directory of this process is gone'
    expect(JSON.parse(stdout)).toEqual([
      [
        expect.stringMatching(`^STORAGE_ERROR .*${advice}`),
        expect.stringMatching(`^CHECKPOINT_FAILED .*${advice}`),
      ],
      ['done', 'done'],
    ])
  })
})
