import { describe, expect, it } from 'vitest'
import { brokenBackends } from '../../test/model/broken-backends.js'
import { brokenSeams } from '../../test/model/broken-seams.js'
import { brokenSharing } from '../../test/model/broken-sharing.js'
import { runs } from '../../test/support/long.js'
import type { WriteBatch } from '../backend/write-batch.js'
import type { ConformanceOpenOptions } from './conformance/case.js'
import { type ConformanceSubject, runConformanceSuite } from './conformance.js'
import { ModelStateBackend } from './model-state-backend.js'

interface RegisteredTest {
  /** Titles of the groups around it and its own. */
  readonly path: readonly string[]
  readonly body: () => Promise<void>
  readonly skipped: boolean
}

/** A test runner that only writes down what is registered with it. */
function register(
  subject: Partial<ConformanceSubject>,
  withSkip = true,
  endings?: (() => Promise<void>)[],
): RegisteredTest[] {
  const tests: RegisteredTest[] = []
  const groups: string[] = []
  const add = (skipped: boolean) => (title: string, body: () => Promise<void>) => {
    tests.push({ path: [...groups, title], body, skipped })
  }
  const group = (title: string, body: () => void) => {
    groups.push(title)
    body()
    groups.pop()
  }
  const test = withSkip ? Object.assign(add(false), { skip: add(true) }) : add(false)
  const afterAll = endings && ((body: () => Promise<void>) => endings.push(body))
  runConformanceSuite(
    { describe: group, it: test, ...(afterAll && { afterAll }) },
    { name: 'subject', open: openModel, ...subject },
  )
  return tests
}

async function openModel(options: ConformanceOpenOptions): Promise<ModelStateBackend> {
  return new ModelStateBackend(options)
}

/** Runs the tests of one topic; the titles of those that fail. */
async function failures(tests: readonly RegisteredTest[], topic: string): Promise<string[]> {
  const failed: string[] = []
  for (const { path, body } of tests.filter((test) => test.path.at(-2) === topic)) {
    await body().catch(() => failed.push(path.join(' › ')))
  }
  return failed
}

/** Whether a test of one topic, of the face with promises, fails: it stops at the first. */
async function isCaught(tests: readonly RegisteredTest[], topic: string): Promise<boolean> {
  for (const { path, body } of tests) {
    if (path.at(-2) !== topic || !path.some((title) => title.includes('promises of StateBackend'))) continue
    const caught = await body().then(
      () => false,
      () => true,
    )
    if (caught) return true
  }
  return false
}

describe('the conformance suite goes red for', () => {
  const all = [...brokenBackends, ...brokenSeams, ...brokenSharing]
  // Every third one in a quick run.
  const broken = all.filter((_, i) => i % runs(1, 3) === 0)
  for (const { does, caughtBy, Backend } of broken) {
    it(`a backend that ${does}`, async () => {
      const tests = register({
        open: async (options) => new Backend(options),
        maxBytes: 1_048_576,
        cannot: { largeValues: 'the mutants are many' },
      })
      expect(await isCaught(tests, caughtBy)).toBe(true)
    })
  }

  it('a sync face that breaks what the other keeps', async () => {
    class Forgetful extends ModelStateBackend {
      override async delete(key: Uint8Array): Promise<void> {
        super.deleteSync(key)
      }
      override deleteSync(): void {}
    }
    const failed = await failures(
      register({ open: async (options) => new Forgetful(options) }),
      'many tasks at once',
    )
    expect(failed).not.toEqual([])
    expect(failed.every((path) => path.includes('promises of SyncStateBackend'))).toBe(true)
  })
})

describe('runConformanceSuite', () => {
  it('has a test for every topic on both faces', () => {
    const tests = register({})
    const topics = new Set(tests.map(({ path }) => path[1]))
    expect([...topics]).toEqual([
      'keys and values',
      'ranges and order',
      'batches',
      'deleting ranges',
      'snapshots and running scans',
      'time to live',
      'statistics',
      'life cycle',
      'replacing everything',
      'limits and arguments',
      'many tasks at once',
      'changes between snapshots',
      'snapshots for other threads',
      'values in place',
    ])
    expect(tests.filter(({ skipped }) => skipped)).toEqual([])
    expect(new Set(tests.map(({ path }) => path.join(' › '))).size).toBe(tests.length)
  })

  it('shows what an engine cannot do as skipped, with the reason', () => {
    const tests = register({
      cannot: { maxBytes: 'its server has the limit', sync: 'it is across a network' },
    })
    const skipped = tests.filter((test) => test.skipped).map(({ path }) => path.at(-1))
    expect(skipped).toContain(
      'applies nothing of a batch that does not fit (skipped: cannot maxBytes: its server has the limit)',
    )
    expect(skipped.at(-1)).toBe(
      'all of them, without promises (skipped: cannot sync: it is across a network)',
    )
    expect(tests.length - skipped.length).toBeGreaterThan(100)
  })

  it('says so in the title where the runner cannot skip', async () => {
    const tests = register({ cannot: { ttl: 'nothing expires' } }, false)
    const explained = tests.filter(({ path }) =>
      path.at(-1)?.includes('(skipped: cannot ttl: nothing expires)'),
    )
    expect(explained.length).toBeGreaterThan(10)
    for (const { body } of explained) await body()
  })

  it('does not take an asynchronous engine for a synchronous one', async () => {
    class Asynchronous extends ModelStateBackend {
      override readonly supports = { ...new ModelStateBackend().supports, sync: false }
    }
    const tests = register({ open: async (options) => new Asynchronous(options) })
    const last = tests.at(-1)
    await expect(last?.body()).rejects.toThrow("declare it: cannot: { sync: '…' }")
  })

  it('closes what a case opened, also when the case fails', async () => {
    const opened: ModelStateBackend[] = []
    class Broken extends ModelStateBackend {
      override async count(): Promise<number> {
        return -1
      }
    }
    const open = async (options: ConformanceOpenOptions) => {
      opened.push(new Broken(options))
      return opened.at(-1) as Broken
    }
    await failures(register({ open }), 'life cycle')
    expect(opened.length).toBeGreaterThan(5)
    for (const backend of opened) expect(() => backend.stats()).toThrow('closed')
  })

  describe('with reuse', () => {
    const TOPICS = new Set(['statistics', 'life cycle', 'time to live', 'batches', 'limits and arguments'])

    it('hands an empty backend on from case to case, and closes it after the last', async () => {
      const opened: ModelStateBackend[] = []
      const { open } = counted(opened)
      const endings: (() => Promise<void>)[] = []
      const tests = register({ open, maxBytes: 1_048_576, reuse: true }, true, endings)
      const run = tests.filter(({ path }) => TOPICS.has(path[1] ?? ''))
      for (const { body } of run) await body()
      expect(opened.length).toBeLessThan(run.length / 2)
      expect(opened.some((backend) => !isClosed(backend))).toBe(true)
      for (const end of endings) await end()
      expect(opened.every(isClosed)).toBe(true)
    })

    it('hands on nothing after a case that failed', async () => {
      const opened: ModelStateBackend[] = []
      const { open, fail } = counted(opened)
      const tests = register({ open, reuse: true }, true, []).filter(({ path }) => path[1] === 'batches')
      fail(true)
      for (const { body } of tests) await body().catch(() => undefined)
      expect(opened.filter(isClosed).length).toBeGreaterThan(5)
      fail(false)
      for (const { body } of tests) await body()
    })

    it('hands on nothing whose time is ahead of the clock, which the cases behind it go by in any order', async () => {
      const opened: ModelStateBackend[] = []
      const { open } = counted(opened)
      const clocks = new Map<ModelStateBackend, ConformanceOpenOptions['clock']>()
      const openWatched = async (options: ConformanceOpenOptions) => {
        const backend = await open(options)
        clocks.set(backend, options.clock)
        return backend
      }
      const cannot = { largeValues: 'they take long' }
      const tests = register({ open: openWatched, maxBytes: 1_048_576, reuse: true, cannot }, true, [])
      for (const { path, body, skipped } of tests) {
        if (skipped || path[0]?.includes('SyncStateBackend')) continue
        await body()
        for (const backend of opened.filter((each) => !isClosed(each))) {
          using snapshot = backend.snapshotSync()
          expect(snapshot.takenAtMs, path.join(' › ')).toBe(clocks.get(backend)?.now())
        }
      }
    })

    it('hands on nothing that another case is still busy with', async () => {
      const opened: ModelStateBackend[] = []
      const { open } = counted(opened)
      const tests = register({ open, reuse: true }, true, []).filter(({ path }) => path[1] === 'batches')
      await Promise.all(tests.slice(0, 5).map(({ body }) => body()))
      expect(opened.length).toBeGreaterThanOrEqual(5)
    })

    it('needs to be told by the runner when the tests are over', () => {
      expect(() => register({ reuse: true })).toThrow('runner.afterAll is missing')
    })

    function isClosed(backend: ModelStateBackend): boolean {
      try {
        backend.stats()
        return false
      } catch {
        return true
      }
    }

    /** Opens models that can be told to fail, and notes each. */
    function counted(opened: ModelStateBackend[]) {
      let fails = false
      class Failing extends ModelStateBackend {
        override async write(batch: WriteBatch): Promise<void> {
          if (!fails) return await super.write(batch)
        }
      }
      const open = async (options: ConformanceOpenOptions) => {
        const backend = new Failing(options)
        opened.push(backend)
        return backend
      }
      return { open, fail: (does: boolean) => void (fails = does) }
    }
  })

  it('rejects a subject that it cannot read', () => {
    const wrong = [
      { cannot: { fly: 'no wings' } },
      { cannot: { ttl: '' } },
      { cannot: { ttl: true } },
      { open: undefined, name: 5 },
      { unknown: 1 },
      { maxBytes: -1 },
    ]
    for (const subject of wrong) {
      expect(() => register(subject as unknown as Partial<ConformanceSubject>)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      )
    }
    expect(() => register({ cannot: { fly: 'x' } as object })).toThrow('subject.cannot.fly is unknown')
  })
})
