import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { runs } from '../support/long.js'
import { type CompiledSources, compileSources } from './compile-sources.js'

/** How Node and node-addon-api end a process whose thread is terminated at the wrong moment: decision 30. */
const KNOWN_DEATH = /ThrowAsJavaScriptException napi_throw|Assertion failed: \(data\.first\) != nullptr/
/** It has been seen twice in 720. More often, it is something of ours. */
const DEATHS_AT_MOST = 3

describe('a thread that is terminated while it writes to a store', () => {
  let sources: CompiledSources
  let folder: string

  beforeAll(async () => {
    sources = await compileSources()
    folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  })

  afterAll(() => rm(folder, { recursive: true, force: true }))

  const kinds = [
    { kind: 'put', what: 'whatever its commit is about', threads: runs(60, 2) },
    { kind: 'replace', what: 'also where its content is being replaced', threads: runs(20, 1) },
  ] as const
  for (const { kind, what, threads } of kinds) {
    it(`ends, and its store opens again, ${what}`, async () => {
      let deaths = 0
      for (let ended = 0; ended < threads; ) {
        const run = await terminateWriters(kind, ended, threads)
        ended += run.ended
        if (run.code === 0) continue
        expect(run.errorOutput, `${run.signal ?? run.code}`).toMatch(KNOWN_DEATH)
        expect(++deaths).toBeLessThanOrEqual(DEATHS_AT_MOST)
        await (await LmdbStateBackend.open({ path: join(folder, kind, `${ended}`) })).close()
        ended++
      }
    })
  }

  async function terminateWriters(kind: string, from: number, until: number) {
    const script = sources.pathOf('test/faults/children/terminate-writers.ts')
    const args = [script, kind, join(folder, kind), `${from}`, `${until}`]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let errorOutput = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    child.stderr.on('data', (chunk: Buffer) => {
      errorOutput += chunk.toString()
    })
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
    return { code, signal, errorOutput, ended: output.split('\n').length - 1 }
  }
})
