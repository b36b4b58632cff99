// Engines of somebody else's: each lies in a package of its own, imports nothing but what this package exports, and goes through
// the conformance suite there.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { leftToLongRuns, runs } from './support/long.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const TIMEOUT_MS = 120_000

let scratch: string

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-engine-'))
  await mkdir(join(scratch, 'node_modules'))
  await symlink(root, join(scratch, 'node_modules/holdfast'), 'dir')
  await writeFile(join(scratch, 'package.json'), '{ "name": "my-engines", "type": "module" }')
  for (const name of ['map-engine.mjs', 'remote-engine.mjs']) {
    await copyFile(join(root, 'test/engines', name), join(scratch, name))
  }
})

afterAll(async () => {
  await rm(scratch, { recursive: true })
})

/** Runs a module there; what it prints. */
async function run(name: string, text: string): Promise<string> {
  await writeFile(join(scratch, name), text)
  const child = spawn(process.execPath, [name], { cwd: scratch, stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const [code] = (await once(child, 'close')) as [number]
  expect(code, output).toBe(0)
  return output
}

interface SuiteResult {
  readonly passed: number
  readonly failed: readonly string[]
  readonly skipped: readonly string[]
}

/**
 * What a quick run leaves out: the twins of a local engine's groups, which are the facade's, as those of our own; and cases that
 * write thousands of times, as this engine copies all it has for each of them.
 */
const LEFT_OUT =
  leftToLongRuns === undefined
    ? /^$/
    : / of StateBackend$|^replaces a large range|^a long scan is not disturbed|two thousand times$/

async function suite(name: string, imports: string, subject: string, leftOut = /^$/): Promise<SuiteResult> {
  const output = await run(
    name,
    `${imports}
    import { runConformanceSuite } from 'holdfast/testing'
    const tests = []
    const skipped = []
    const groups = []
    const describe = (title, body) => { if (!${leftOut}.test(title)) { groups.push(title); body(); groups.pop() } }
    const it = (title, body) => {
      if (!${leftOut}.test(title)) tests.push({ title: [...groups, title].join(' › '), body })
    }
    it.skip = (title) => skipped.push([...groups, title].join(' › '))
    const endings = []
    const afterAll = (body) => endings.push(body)
    runConformanceSuite({ describe, it, afterAll }, { ...${subject}, reuse: ${leftToLongRuns !== undefined} })
    const failed = []
    for (const { title, body } of tests) await body().catch((error) => failed.push(title + ': ' + error.stack))
    for (const end of endings) await end()
    console.log(JSON.stringify({ passed: tests.length - failed.length, failed, skipped }))`,
  )
  return JSON.parse(output) as SuiteResult
}

describe('an engine in a package of its own, on public exports', () => {
  it('that is local keeps the promises of both faces', { timeout: TIMEOUT_MS }, async () => {
    const { passed, failed, skipped } = await suite(
      'map-suite.mjs',
      `import { MapBackend } from './map-engine.mjs'`,
      `{
        name: 'MapBackend',
        open: async (options) => new MapBackend(options),
        maxBytes: 1_048_576,
        cannot: {
          changes: 'it keeps no history',
          share: 'its entries are on the heap',
          inPlace: 'it hands out copies',
          largeValues: 'it copies a Map for each write',
        },
      }`,
      LEFT_OUT,
    )
    expect(failed).toEqual([])
    expect(passed).toBeGreaterThan(runs(280, 140))
    expect(
      skipped.every((title) => /\(skipped: cannot (changes|share|inPlace|largeValues): /.test(title)),
    ).toBe(true)
  })

  it('that is far away keeps them as far as it says, and shows what it lacks', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const { passed, failed, skipped } = await suite(
      'remote-suite.mjs',
      `import { RemoteToyBackend } from './remote-engine.mjs'`,
      `{
        name: 'RemoteToyBackend',
        open: async () => new RemoteToyBackend(),
        cannot: {
          sync: 'it is across a network',
          clock: 'its server has its own',
          ttl: 'its server has none',
          sweep: 'nothing expires',
          maxBytes: 'its server has the limit',
          snapshots: 'its server has none',
          instantScans: 'each page of a scan is a request of its own',
          replaceAll: 'it is filled by writing',
          changes: 'it has no snapshots',
          share: 'it has no snapshots',
          inPlace: 'it is across a network',
          largeValues: 'its server takes 16 MiB',
        },
      }`,
    )
    expect(failed).toEqual([])
    expect(passed).toBeGreaterThan(60)
    expect(skipped.some((title) => title.includes('(skipped: cannot snapshots: its server has none)'))).toBe(
      true,
    )
  })

  it('that cannot be checkpointed is refused by the coordinator, which says what is missing', async () => {
    const output = await run(
      'refused.mjs',
      `import { CheckpointCoordinator, MemoryCheckpointStorage } from 'holdfast'
      import { RemoteToyBackend } from './remote-engine.mjs'
      try {
        new CheckpointCoordinator(new RemoteToyBackend(), { storage: new MemoryCheckpointStorage() })
      } catch (error) {
        console.log(JSON.stringify({ code: error.code, violations: error.details.violations }))
      }`,
    )
    expect(JSON.parse(output)).toEqual({
      code: 'INVALID_ARGUMENT',
      violations: [
        {
          argument: 'backend',
          reason:
            "'remote-toy' cannot be checkpointed: it lacks snapshots (supports.snapshots), which checkpoints are made of, " +
            'and replaceAll (supports.replace), which a restore needs',
        },
      ],
    })
  })

  it('that is local is checkpointed and restored', async () => {
    const output = await run(
      'checkpointed.mjs',
      `import { CheckpointCoordinator, MemoryCheckpointStorage } from 'holdfast'
      import { MapBackend } from './map-engine.mjs'
      const storage = new MemoryCheckpointStorage()
      const backend = new MapBackend()
      const coordinator = new CheckpointCoordinator(backend, { storage })
      await backend.put(Buffer.from('a'), Buffer.from('1'))
      const { kind, entryCount } = await coordinator.createCheckpoint()
      await coordinator.shutdown()
      const fresh = new MapBackend()
      const again = new CheckpointCoordinator(fresh, { storage })
      await again.restoreLatest()
      await again.shutdown()
      console.log(JSON.stringify([kind, entryCount, String(Buffer.from(await fresh.get(Buffer.from('a'))))]))
      await backend.close()
      await fresh.close()`,
    )
    expect(JSON.parse(output)).toEqual(['full', 1, '1'])
  })
})
