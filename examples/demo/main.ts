// A short tour of the parts. Every line is printed from what has really happened, and what does not hold ends the tour
// with exit status 1.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CheckpointCoordinator,
  FileCheckpointStorage,
  isStateError,
  MemoryStateBackend,
  type StateBackend,
  WriteBatch,
} from 'holdfast'
import { LmdbStateBackend } from 'holdfast/lmdb'

const encode = (text: string) => new TextEncoder().encode(text)
const decode = (bytes: Uint8Array | undefined) =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes)

function say(line: string): void {
  console.log(`  ${line}`)
}

/** Prints a claim that holds; ends the tour at one that does not. */
function check(holds: boolean, claim: string): void {
  if (!holds) throw new Error(`this should hold, but does not: ${claim}`)
  say(claim)
}

async function memoryEngine(): Promise<void> {
  console.log('1. Memory engine')
  await using backend = new MemoryStateBackend()
  await backend.put(encode('window:session123:1'), encode('count=42,sum=123.5'))
  await backend.put(encode('window:session123:2'), encode('count=7,sum=18.25'))
  await backend.put(encode('window:session456:1'), encode('count=1,sum=0.5'))
  check((await backend.count()) === 3, 'Stored 3 entries')

  const found = await backend.get(encode('window:session123:1'))
  check(found?.length === 18, `Read a window's state: ${found?.length} bytes`)
  check(
    (await backend.get(encode('window:session789:1'))) === undefined,
    'A key that is not there reads as undefined',
  )
  const keys = await backend.listKeys(encode('window:session123:'))
  check(keys.length === 2, `Found ${keys.length} windows of session123: ${keys.map(decode).join(', ')}`)

  const { gets, hits, puts } = backend.stats()
  check(
    gets === 2 && hits === 1 && puts === 3,
    `Statistics: ${gets} gets, ${puts} puts, hit rate ${percent(hits, gets)}`,
  )
  say(`Memory: ${backend.memoryUsage().liveBytes} bytes of entries, none of them JavaScript objects`)
}

async function expiry(): Promise<void> {
  console.log('\n2. Time to live')
  const ttlMs = 200
  await using backend = new MemoryStateBackend({ ttlMs, sweepIntervalMs: 10 })
  const swept = new Promise<readonly Uint8Array[]>((resolve) =>
    backend.on('expired', ({ keys }) => resolve(keys)),
  )
  const startedAtMs = performance.now()
  await backend.put(encode('session:temporary'), encode('for a moment'))
  await backend.put(encode('session:lasting'), encode('for good'), { ttlMs: Infinity })
  say(`Stored 2 entries: one that lives ${ttlMs} ms, one for good`)
  check(await backend.contains(encode('session:temporary')), 'Both can be read at once')

  // Its timers do not keep a process alive, so this one has to.
  const awake = setInterval(() => {}, 1_000)
  const keys = await swept
  clearInterval(awake)
  const elapsedMs = performance.now() - startedAtMs
  check(
    elapsedMs >= ttlMs - 1,
    `After ${elapsedMs.toFixed(0)} ms the sweep reported: ${keys.map(decode).join(', ')} expired`,
  )
  check((await backend.get(encode('session:temporary'))) === undefined, 'It reads as undefined')
  check((await backend.count()) === 1 && backend.stats().expired === 1, 'The other one is still there')
}

async function persistentEngine(): Promise<void> {
  console.log('\n3. Persistent engine')
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-demo-'))
  const path = join(directory, 'state')
  try {
    const windows = 1_000
    const sums = 'count=42,sum=123.5,min=0.5,max=9.75,'.repeat(8)
    await using backend = await LmdbStateBackend.open({ path, compression: 'lz4' })
    for (let i = 0; i < windows; i++) backend.putSync(encode(`window:${i}`), encode(`${i}:${sums}`))
    check((await backend.count()) === windows, `Stored ${windows} entries, readable at once`)
    await backend.flush()
    const { commits, commitMs, bytesWritten, usedBytes } = backend.stats()
    check(commits === 1, `Flushed: ${commits} commit to stable storage, in ${commitMs.p50.toFixed(1)} ms`)
    check(usedBytes < bytesWritten, `Compressed: ${usedBytes} bytes in use for ${bytesWritten} written`)
    say(`Size on disk: ${await backend.sizeOnDisk()} bytes`)
    await backend.close()

    await using reopened = await LmdbStateBackend.open({ path })
    check((await reopened.count()) === windows, `Opened again: all ${windows} entries are there`)
    const report = await reopened.verify()
    check(
      report.ok && report.entries === windows,
      `Verified: ${report.entries} records, every checksum matches`,
    )

    await using temporary = await LmdbStateBackend.temporary()
    await temporary.put(encode('scratch'), encode('gone when closed'), { durable: true })
    check(
      (await temporary.count()) === 1,
      'A temporary store works the same, and is removed when it is closed',
    )
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function checkpointAndRecovery(): Promise<void> {
  console.log('\n4. Checkpoint and recovery')
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-demo-'))
  try {
    await using backend = new MemoryStateBackend()
    let offset = 0
    const coordinator = new CheckpointCoordinator(backend, {
      storage: new FileCheckpointStorage(directory),
      source: () => ({ offset }),
    })
    const state = (i: number) => `count=${i},sum=${i * 1.5}`
    for (let i = 0; i < 10; i++) {
      await backend.put(encode(`window:${i}`), encode(state(i)))
      offset = (i + 1) * 100
    }
    check((await backend.count()) === 10, `Created 10 windows from the source up to offset ${offset}`)

    const made = await coordinator.createCheckpoint()
    check(
      made.validated,
      `Made ${made.id}: ${made.entryCount} entries, ${made.sizeBytes} bytes, read back and verified`,
    )
    await backend.clear()
    check((await backend.count()) === 0, 'Lost everything: the state is empty')

    const restored = await coordinator.restoreLatest()
    check(
      restored?.id === made.id,
      `Restored ${restored?.id}, source position ${JSON.stringify(restored?.source)}`,
    )
    const values = await Promise.all(Array.from({ length: 10 }, (_, i) => backend.get(encode(`window:${i}`))))
    const intact = values.filter((value, i) => decode(value) === state(i)).length
    check(intact === 10, `Compared: all ${intact} windows are as they were`)

    const { created, failed, restores, totalBytes } = coordinator.stats()
    say(
      `Statistics: ${created} checkpoint made, ${failed} failed, ${restores} restored, ${totalBytes} bytes written`,
    )
    await coordinator.shutdown()
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function concurrentTasks(): Promise<void> {
  console.log('\n5. Many tasks at once')
  const tasks = 5
  const windowsPerTask = 20
  await using backend = new MemoryStateBackend()
  const runs = Array.from({ length: tasks }, (_, task) => createWindows(backend, task, windowsPerTask))
  say(`Started ${tasks} asynchronous tasks on one backend`)
  const conflicts = (await Promise.all(runs)).reduce((sum, count) => sum + count, 0)

  const total = decode(await backend.get(encode('total')))
  check(total === String(tasks * windowsPerTask), `They counted ${total} windows in one shared entry`)
  say(`${conflicts} times a task found the entry changed meanwhile, and tried again`)
  for (let task = 0; task < tasks; task++) {
    const windows = await backend.listKeys(encode(`task:${task}:`))
    check(windows.length === windowsPerTask, `Task ${task}: ${windows.length} windows`)
  }
}

/** Creates windows and counts each in a shared entry, in one batch; returns how often it had to try again. */
async function createWindows(backend: StateBackend, task: number, windows: number): Promise<number> {
  const total = encode('total')
  let conflicts = 0
  for (let i = 0; i < windows; ) {
    const seen = await backend.get(total)
    const next = Number(decode(seen) ?? 0) + 1
    const window = encode(`task:${task}:window:${i}`)
    try {
      await backend.write(
        new WriteBatch()
          .expect(total, seen)
          .put(total, encode(String(next)))
          .put(window, encode('{}')),
      )
      i++
    } catch (error) {
      if (!isStateError(error, 'CONCURRENT_MODIFICATION')) throw error
      conflicts++
    }
  }
  return conflicts
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(1)} %`
}

console.log('holdfast: a short tour\n')
await memoryEngine()
await expiry()
await persistentEngine()
await checkpointAndRecovery()
await concurrentTasks()
console.log('\nEverything held.')
