// Commits of every kind to a store in a new directory, until one of them fails; then everything that the engine promises
// after its first failed commit, and that what is durable is there when the store is opened again. Says on the way what it
// has begun and what is durable; the content at each of these stations is a pure function (`contentAt`).

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { isStateError, type StateError } from '../../../src/base/errors.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { awaitLog } from './await-log.js'
import { contentAt, STATIONS, textOf, visit } from './lmdb-stations.js'
import type { ChildContext } from './run-script.js'

/** Nothing here takes a tenth of that: what has not settled by then never does. */
const SETTLES_WITHIN_MS = 10_000
/** Short for a disk that does not answer at all, which is then waited for; long enough for a healthy one on a busy machine. */
const STALLED_TIMEOUT_MS = 2_000
const COMMIT_TIMEOUT_MS = 5_000
/** How often a script looks whether the log has begun, at most. */
const LOG_TRIES = 500
const bytes = (text: string) => Buffer.from(text)

export async function run(context: ChildContext): Promise<void> {
  try {
    await live(context)
  } finally {
    // A call that still waits would keep the process from ending.
    context.mend()
  }
}

async function live({ args, say, mend }: ChildContext): Promise<void> {
  const [path, ...modes] = args as [string, ...string[]]
  const leaves = modes.includes('leave')
  const log = modes.includes('log')
  const backend = await settled(
    'open',
    open(path, leaves ? STALLED_TIMEOUT_MS : COMMIT_TIMEOUT_MS, log),
  ).catch((error: unknown) => {
    assertStorageError(error)
    return undefined
  })
  let durable = 0
  let begun = 0
  if (backend !== undefined) {
    if (log) say('log', `${await awaitLog(backend, path, LOG_TRIES)}`)
    let failures = 0
    backend.on('failed', () => failures++)
    let failed = false
    while (begun < STATIONS && !failed) {
      say('begun', `${++begun}`)
      try {
        await settled(`station ${begun}`, visit(backend, begun))
        durable = begun
        say('durable', `${durable}`)
      } catch (error) {
        assertStorageError(error)
        failed = true
      }
    }
    if (failed) {
      say('failed')
      await assertPoisoned(backend, begun)
      assert.equal(failures, 1, 'one event')
    }
    await closed(backend, failed, say)
  }
  mend()
  // What hangs, or has lost its memory, is this process's until its end: then its parent looks.
  if (memoryDamaged) say('memory damaged')
  else if (!leaves) await reopened(path, durable, begun)
  say('done')
}

async function open(
  path: string,
  commitTimeoutMs = COMMIT_TIMEOUT_MS,
  log = false,
): Promise<LmdbStateBackend> {
  return await LmdbStateBackend.open({
    path,
    flushIntervalMs: Infinity,
    // So large that a station is one commit: nothing of it is flushed ahead.
    cacheBytes: 8 * 1024 * 1024,
    maxBytes: 16 * 1024 * 1024,
    commitTimeoutMs,
    log,
  })
}

/** Every write and flush is refused with the cause; everything that was accepted can be read in every way. */
async function assertPoisoned(backend: LmdbStateBackend, begun: number): Promise<void> {
  const refused = {
    flush: backend.flush(),
    put: backend.put(bytes('new'), bytes('1')),
    durable: backend.put(bytes('new'), bytes('1'), { durable: true }),
    delete: backend.delete(bytes('left-1')),
    clear: backend.clear(),
    sweep: backend.sweep(),
    replaceAll: backend.replaceAll(nothing()),
  }
  for (const [name, promise] of Object.entries(refused)) {
    const error = await settled(
      name,
      promise.then(
        () => undefined,
        (reason: unknown) => reason,
      ),
    )
    assertStorageError(error, name)
  }
  assert.throws(
    () => backend.putSync(bytes('new'), bytes('1')),
    (error) => isStateError(error, 'STORAGE_ERROR'),
  )

  using snapshot = backend.snapshotSync()
  const content = contentOf(backend)
  // A replacement that failed has changed nothing; everything else was accepted before it was committed.
  assert.ok(
    [begun, begun - 1].some((at) => isContentOf(content, at)),
    `neither the content of ${begun} nor of the station before`,
  )
  assert.deepEqual(contentOf(snapshot), content)
  assert.equal(await backend.count(), content.size)
  for (const [key, value] of content) {
    assert.equal(textOf(backend.getSync(bytes(key))), value)
    assert.equal(textOf(snapshot.getSync(bytes(key))), value)
  }
  let exported = 0
  for await (const block of snapshot.blocks()) exported += block.entryCount
  assert.equal(exported, content.size, 'entries exported')
  assert.equal(backend.getSync(bytes('new')), undefined)
  assert.equal(backend.stats().entries, content.size)
}

async function closed(backend: LmdbStateBackend, failed: boolean, say: ChildContext['say']): Promise<void> {
  const error = await settled(
    'close',
    backend.close().then(
      () => undefined,
      (reason: unknown) => reason,
    ),
  )
  if (error === undefined) return assert.ok(!failed, 'close tells that not everything was flushed')
  assertStorageError(error)
  say('not closed', (error as StateError).message)
}

async function reopened(path: string, durable: number, begun: number): Promise<void> {
  const backend = await settled('open again', open(path))
  const content = contentOf(backend)
  const at = Array.from({ length: begun - durable + 1 }, (_, i) => durable + i)
  assert.ok(
    at.some((station) => isContentOf(content, station)),
    `found neither of ${at.join(', ')} but ${content.size} entries, ${content.get('station')}`,
  )
  await backend.put(bytes('after'), bytes('1'), { durable: true })
  await settled('close again', backend.close())
}

function contentOf(from: Pick<LmdbStateBackend, 'scanSync'>): Map<string, string | undefined> {
  return new Map([...from.scanSync()].map(([key, value]) => [textOf(key) as string, textOf(value)]))
}

function isContentOf(found: ReadonlyMap<string, string | undefined>, station: number): boolean {
  const expected = contentAt(station)
  return found.size === expected.size && [...expected].every(([key, value]) => found.get(key) === value)
}

let memoryDamaged = false

function assertStorageError(error: unknown, what?: string): void {
  assert.ok(isStateError(error, 'STORAGE_ERROR'), `${what}: ${String(error)}`)
  memoryDamaged ||= error.details.memoryDamaged === true
  assert.ok(error.cause !== undefined, `${what} has no cause`)
}

async function settled<T>(what: string, promise: Promise<T>): Promise<T> {
  const stop = new AbortController()
  const late = delay(SETTLES_WITHIN_MS, undefined, { signal: stop.signal }).then(
    () => {
      throw new Error(`${what} does not settle`)
    },
    () => {},
  )
  try {
    return (await Promise.race([promise, late])) as T
  } finally {
    stop.abort()
  }
}

async function* nothing(): AsyncGenerator<never, undefined> {}
