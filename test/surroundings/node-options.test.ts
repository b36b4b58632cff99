import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const DIST = resolve(import.meta.dirname, '../../dist')

const SCRIPT = `
const { CheckpointCoordinator, isStateError, MemoryCheckpointStorage, MemoryStateBackend } = await import('${join(DIST, 'index.js')}')
const { LmdbStateBackend } = await import('${join(DIST, 'lmdb.js')}')
const told = {}
const step = async (name, action) => {
  try { told[name] = await action() ?? 'done' } catch (error) { told[name] = isStateError(error) ? error.message : String(error) }
}
const storage = new MemoryCheckpointStorage()
const backend = new MemoryStateBackend()
backend.putSync(Buffer.from('key'), Buffer.from('value'))
await step('checkpoint', async () => { await new CheckpointCoordinator(backend, { storage }).createCheckpoint() })
let store
await step('open', async () => { store = await LmdbStateBackend.temporary() })
if (store) {
  await store.put(Buffer.from('key'), Buffer.from('value'), { durable: true })
  await step('verify', async () => { await store.verify() })
  await step('compact', () => store.compact())
  await step('close', () => store.close())
}
console.log(JSON.stringify(told))
process.exit(0)
`

/** Its name was another one before it was stable. */
const MODEL = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission'
const FILES = [MODEL, '--allow-fs-read=*', '--allow-fs-write=*']

async function toldWith(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--no-warnings', ...args, '-e', SCRIPT], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  })
  return JSON.parse(stdout)
}

const everything = { checkpoint: 'done', open: 'done', verify: 'done', compact: 'done', close: 'done' }

it('threads and processes start beside --input-type in NODE_OPTIONS and as an argument', async () => {
  expect(await toldWith([], { NODE_OPTIONS: '--input-type=module' })).toEqual(everything)
  expect(await toldWith(['--input-type=module'])).toEqual(everything)
})

it('a console that is frozen keeps no store from committing', async () => {
  expect(await toldWith([], { NODE_OPTIONS: '--input-type=module --frozen-intrinsics' })).toEqual(everything)
})

/** It forbids fsync from late releases of Node.js 24 on: nothing can be made durable there. */
const FORBIDS_SYNC = Number.parseInt(process.versions.node, 10) >= 24

it.skipIf(FORBIDS_SYNC)(
  'where only the package and the directories may be read, everything works',
  async () => {
    // Node.js is mistaken where one path that is allowed lies in another one, as a clone does that is made among temporary files.
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-permission-'))
    const read = [resolve(DIST, '..'), folder].map((path) => `--allow-fs-read=${path}/*`)
    const write = `--allow-fs-write=${folder}/*`
    const rest = ['--allow-worker', '--allow-addons', '--allow-child-process', '--input-type=module']
    try {
      expect(await toldWith([MODEL, ...read, write, ...rest], { TMPDIR: folder })).toEqual(everything)
    } finally {
      await rm(folder, { recursive: true })
    }
  },
)

it.skipIf(FORBIDS_SYNC).each([
  [
    'processes',
    ['--allow-worker', '--allow-addons'],
    { checkpoint: 'done', open: 'done', close: 'done' },
    ['verify', 'compact'],
    /allow-child-process/,
  ],
  ['threads', ['--allow-child-process', '--allow-addons'], {}, ['checkpoint', 'open'], /allow-worker/],
  ['addons', ['--allow-child-process', '--allow-worker'], {}, ['open'], /package lmdb .*addons/],
] as const)(
  'where %s are forbidden, what needs them says so, and the rest works',
  async (_, permissions, works, forbidden, reason) => {
    const told = await toldWith([...FILES, ...permissions, '--input-type=module'])
    expect(told).toMatchObject(works)
    for (const name of forbidden) expect(told).toHaveProperty(name, expect.stringMatching(reason))
  },
)
