import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../..')
const APPLICATION = join(import.meta.dirname, 'children/job-application.mjs')
const EVENTS = 2_000

describe('a job of an application that has holdfast as a package', () => {
  let project: string
  beforeAll(async () => {
    project = await mkdtemp(join(tmpdir(), 'holdfast-job-application-'))
    await mkdir(join(project, 'node_modules'))
    await symlink(ROOT, join(project, 'node_modules/holdfast'))
    await copyFile(APPLICATION, join(project, 'application.mjs'))
    const bundle = await rolldown({
      input: APPLICATION,
      platform: 'node',
      external: [/^holdfast/],
      logLevel: 'silent',
    })
    await bundle.write({ file: join(project, 'bundled.mjs'), format: 'esm', codeSplitting: false })
    await bundle.close()
  })
  afterAll(() => rm(project, { recursive: true, force: true }))

  async function outputsOf(file: string, where: string, engine: string): Promise<string[]> {
    const folder = await mkdtemp(join(project, 'run-'))
    const args = [join(project, file), where, engine, folder, String(EVENTS)]
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args)
    expect([stdout, stderr]).toEqual(['done\n', ''])
    return (await readFile(join(folder, 'outputs.ndjson'), 'utf8')).trimEnd().split('\n').sort()
  }

  function expected(): string[] {
    const counts = new Map<string, number>()
    for (let i = 0; i < EVENTS; i++) {
      const name = `${Math.floor(i / 100) * 100},${i % 7}`
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    return Array.from(counts, ([name, count]) => `[${name},${count}]`).sort()
  }

  for (const engine of ['memory', 'lmdb']) {
    it.each([
      ['runs in the main thread, bundled with holdfast external', 'bundled.mjs', 'main'],
      ['runs in a worker', 'application.mjs', 'worker'],
      ['runs in a worker, bundled with holdfast external', 'bundled.mjs', 'worker'],
      ['goes on where a worker was ended in the middle', 'application.mjs', 'ended'],
    ])(`%s, on the ${engine} engine`, async (_, file, where) => {
      expect(await outputsOf(file, where, engine)).toEqual(expected())
    })
  }
})
