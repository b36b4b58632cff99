import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  CheckpointCoordinator,
  type DiagnosticEvents,
  MemoryCheckpointStorage,
  MemoryStateBackend,
} from '../src/index.js'
import { arraySource, runJob } from '../src/job.js'
import { LmdbStateBackend } from '../src/lmdb.js'
import { defineState, uint32, utf8, value } from '../src/state.js'
import { RemoteServer, ToyBackend } from './support/remote-engine.js'

const NAMES: readonly (keyof DiagnosticEvents)[] = [
  'holdfast:checkpoint.completed',
  'holdfast:checkpoint.failed',
  'holdfast:checkpoint.merged',
  'holdfast:checkpoint.mergeFailed',
  'holdfast:restore.completed',
  'holdfast:restore.failed',
  'holdfast:engine.commit',
  'holdfast:engine.failed',
  'holdfast:engine.logUnavailable',
  'holdfast:engine.held',
  'holdfast:engine.call',
  'holdfast:job.ready',
  'holdfast:job.cut',
  'holdfast:job.cutFailed',
  'holdfast:job.call',
  'holdfast:job.ended',
]

const endings: (() => void)[] = []
afterEach(() => {
  for (const end of endings.splice(0)) end()
})

/** What is told from now on, by channel. */
function heard(): { readonly [Name in keyof DiagnosticEvents]?: DiagnosticEvents[Name][] } {
  const told: { [name: string]: unknown[] } = {}
  for (const name of NAMES) {
    const listener = (event: unknown) => {
      told[name] = [...(told[name] ?? []), event]
    }
    subscribe(name, listener)
    endings.push(() => unsubscribe(name, listener))
  }
  return told as ReturnType<typeof heard>
}

describe('diagnostics channels', () => {
  it('tell of checkpoints and restores, with how long they took, and of those that fail', async () => {
    const told = heard()
    const storage = new MemoryCheckpointStorage()
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage })
    backend.putSync(Uint8Array.of(1), Uint8Array.of(2))
    const { id } = await coordinator.createCheckpoint()
    await coordinator.restore(id)
    await expect(coordinator.restore('chk-0000000099')).rejects.toThrow('chk-0000000099')
    const snapshot = vi.spyOn(backend, 'snapshotSync').mockImplementation(() => {
      throw new Error('no snapshot today')
    })
    await expect(coordinator.createCheckpoint()).rejects.toThrow('no snapshot today')
    snapshot.mockRestore()
    await coordinator.shutdown()
    await backend.close()
    const durationMs = expect.any(Number)
    const { name } = storage
    expect(told['holdfast:checkpoint.completed']).toEqual([
      expect.objectContaining({
        storage: name,
        checkpoint: id,
        entryCount: 1,
        durationMs,
        cutMs: durationMs,
      }),
    ])
    expect(told['holdfast:restore.completed']).toEqual([
      { storage: name, checkpoint: id, entryCount: 1, durationMs },
    ])
    expect(told['holdfast:restore.failed']).toEqual([
      { storage: name, durationMs, error: expect.objectContaining({ message: expect.any(String) }) },
    ])
    expect(told['holdfast:checkpoint.failed']).toEqual([
      expect.objectContaining({ storage: name, durationMs, error: expect.any(Object) }),
    ])
  })

  it('tell of commits of the LMDB engine, and of writes that had to wait for the disk', async () => {
    const told = heard()
    const backend = await LmdbStateBackend.temporary({ flushEvery: 1, cacheBytes: 1024 * 1024 })
    const large = new Uint8Array(64 * 1024)
    for (let i = 0; i < 24; i++) backend.putSync(Uint8Array.of(i), large)
    await backend.flush()
    await backend.close()
    const names = { backend: 'lmdb', path: expect.stringContaining('holdfast-lmdb-') }
    const durationMs = expect.any(Number)
    const commits = told['holdfast:engine.commit'] ?? []
    expect(commits[0]).toEqual({ ...names, records: durationMs, recordBytes: durationMs, durationMs })
    expect(commits.reduce((sum, { records }) => sum + records, 0)).toBe(24)
    expect(told['holdfast:engine.held']?.[0]).toEqual({ ...names, durationMs })
  })

  it('tell of each call of an engine on a server, also of one that fails', async () => {
    const told = heard()
    const server = new RemoteServer()
    const backend = new ToyBackend(server)
    await backend.put(Uint8Array.of(1), Uint8Array.of(2))
    await backend.get(Uint8Array.of(1))
    server.faults.push('refused')
    await expect(backend.delete(Uint8Array.of(1))).rejects.toThrow('the connection is lost')
    await backend.deleteRange({ prefix: Uint8Array.of(1) })
    await backend.close()
    const calls = told['holdfast:engine.call']?.map(({ call, error }) => [call, error !== undefined])
    expect(calls).toEqual([
      ['write', false],
      ['get', false],
      ['write', true],
      ['deleteRange', false],
    ])
    expect(told['holdfast:engine.call']?.[0]).toEqual({
      backend: 'toy',
      call: 'write',
      durationMs: expect.any(Number),
    })
  })

  it('tell how a job begins, what it waits for, its cuts, and how it ends', async () => {
    const told = heard()
    const schema = defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } })
    const options = {
      name: 'counts',
      source: arraySource(['a', 'b']),
      key: (event: string) => event,
      schema,
      backend: new MemoryStateBackend(),
      checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 60_000 },
    }
    const process = (
      _event: string,
      { state }: { state: { seen: { update(f: (n: number) => number): void } } },
    ) => state.seen.update((seen) => seen + 1)
    await (await runJob({ ...options, process })).finished
    const failing = () => {
      throw new Error('not this one')
    }
    const failed = await runJob({
      ...options,
      backend: new MemoryStateBackend(),
      checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 60_000 },
      process: failing,
    })
    await expect(failed.finished).rejects.toThrow('not this one')
    const job = 'counts'
    const durationMs = expect.any(Number)
    expect(told['holdfast:job.ready']?.[0]).toEqual({ job, durationMs })
    expect(told['holdfast:job.call']).toContainEqual({ job, call: 'the source', durationMs })
    expect(told['holdfast:job.cut']).toEqual([{ job, cuts: 1, sinceCutMs: durationMs }])
    expect(told['holdfast:job.ended']).toEqual([
      { job, error: undefined },
      { job, error: expect.objectContaining({ code: 'JOB_FAILED' }) },
    ])
  })

  it('are all in docs/metrics.md', () => {
    const docs = readFileSync(new URL('../docs/metrics.md', import.meta.url), 'utf8')
    const described = [...docs.matchAll(/^\| .*$/gm)].flatMap(([row]) => row.match(/holdfast:[\w.]+/g) ?? [])
    expect(described.sort()).toEqual([...NAMES].sort())
  })

  it('are given nothing while nobody listens', async () => {
    const published = NAMES.map((name) => vi.spyOn(channel(name), 'publish'))
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage() })
    const { id } = await coordinator.createCheckpoint()
    await coordinator.restore(id)
    await coordinator.shutdown()
    await backend.close()
    for (const each of published) {
      expect(each).not.toHaveBeenCalled()
      each.mockRestore()
    }
  })
})
