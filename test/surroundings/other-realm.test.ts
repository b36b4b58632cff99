import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const DIST = resolve(import.meta.dirname, '../../dist')
const CHILD = join(import.meta.dirname, 'children/in-a-context.mjs')

it('the library works in a realm of its own, with values and errors of another one and a second copy beside it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-realm-'))
  try {
    const args = ['--no-warnings', '--experimental-vm-modules', CHILD, DIST, directory]
    const { stdout } = await promisify(execFile)(process.execPath, args)
    const content = { keys: ['batch', 'i', 'outer'], source: '{"offset":1,"list":[{"a":null}]}' }
    expect(JSON.parse(stdout)).toEqual({
      foreign: true,
      memory: content,
      lmdb: content,
      verified: true,
      fenced: true,
    })
  } finally {
    await rm(directory, { recursive: true })
  }
})
