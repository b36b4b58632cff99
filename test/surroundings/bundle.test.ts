import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const DIST = resolve(import.meta.dirname, '../../dist')

const APPLICATION = `
import { CheckpointCoordinator, isStateError, MemoryCheckpointStorage, MemoryStateBackend } from '${DIST}/index.js'
import { LmdbStateBackend } from '${DIST}/lmdb.js'
const step = async (name, action) => {
  try { console.log(name, await action()) } catch (error) { console.log(name, isStateError(error), error.message) }
}
const main = async () => {
  const state = new MemoryStateBackend()
  const key = Buffer.from('key')
  await step('memory', () => { state.putSync(key, key); return state.getSync(key).length })
  await step('checkpoint', () =>
    new CheckpointCoordinator(state, { storage: new MemoryCheckpointStorage() }).createCheckpoint())
  await step('lmdb', () => LmdbStateBackend.temporary())
  await step('verify', () => LmdbStateBackend.verify(process.argv[2]))
}
void main()
`

describe('an application that a bundler has put into one file', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-bundle-'))
    await writeFile(join(folder, 'application.js'), APPLICATION)
  })
  afterAll(() => rm(folder, { recursive: true }))

  // esbuild leaves no import.meta.url in CommonJS; others put the file's place there.
  it.each<[string, 'esm' | 'cjs', Record<string, string>]>([
    ['an ES module', 'esm', {}],
    ['CommonJS', 'cjs', {}],
    ['CommonJS without import.meta', 'cjs', { 'import.meta.url': 'undefined' }],
  ])(
    'loads as %s, uses the memory engine, and is told to keep holdfast external for the rest',
    async (name, format, define) => {
      const file = join(folder, `${name.replaceAll(/\W+/g, '-')}.${format === 'esm' ? 'mjs' : 'cjs'}`)
      const bundle = await rolldown({
        input: join(folder, 'application.js'),
        platform: 'node',
        transform: { define },
        logLevel: 'silent',
      })
      await bundle.write({ file, format, codeSplitting: false })
      await bundle.close()
      const { stdout } = await promisify(execFile)(process.execPath, [file, folder])
      const lines = Object.fromEntries(
        stdout
          .trim()
          .split('\n')
          .map((line) => [line.split(' ', 1)[0], line.slice(line.indexOf(' ') + 1)]),
      )
      expect(lines).toMatchObject({
        memory: '3',
        checkpoint: expect.stringMatching(/^true .*external/),
        lmdb: expect.stringMatching(/^true .*external/),
      })
    },
  )
})
