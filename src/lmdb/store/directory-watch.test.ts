import { statSync } from 'node:fs'
import { chmod, cp, link, mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { letFileTimePass } from '../../../test/support/file-time.js'
import { DirectoryWatch, tellsChanges } from './directory-watch.js'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  path = join(folder, 'store')
  await mkdir(path)
  await writeFile(join(path, 'file'), '1')
  letFileTimePass(path)
})
afterEach(() => rm(folder, { recursive: true }))

/** A clock that shows so much more than the time of the directory's last change. */
function later(ms: number): { nowMs: number } {
  return { nowMs: Number(statSync(path, { bigint: true }).ctimeMs) + ms }
}

describe('a directory', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['a file is removed', () => unlink(join(path, 'file'))],
    ['a file is renamed', () => rename(join(path, 'file'), join(path, 'other'))],
    ['a file is moved away', () => rename(join(path, 'file'), join(folder, 'file'))],
    ['a file is made', () => writeFile(join(path, 'another'), '')],
    ['a file gets another name', () => link(join(path, 'file'), join(path, 'linked'))],
    [
      'another file takes the place of one',
      async () => {
        await writeFile(join(folder, 'other'), '2')
        await rename(join(folder, 'other'), join(path, 'file'))
      },
    ],
    ['it is removed', () => rm(path, { recursive: true })],
    ['it is moved away', () => rename(path, join(folder, 'moved'))],
    [
      'a copy takes its place',
      async () => {
        await cp(path, join(folder, 'copy'), { recursive: true, preserveTimestamps: true })
        await rename(path, join(folder, 'former'))
        await rename(join(folder, 'copy'), path)
      },
    ],
    [
      'a link to another one takes its place',
      async () => {
        await rename(path, join(folder, 'former'))
        await mkdir(join(folder, 'empty'))
        await symlink(join(folder, 'empty'), path)
      },
    ],
    ['a file stands where it was', () => rm(path, { recursive: true }).then(() => writeFile(path, ''))],
    ['it is given other rights', () => chmod(path, 0o700)],
  ])('is as it was until %s', async (_, happen) => {
    const clock = later(60_000)
    const watch = new DirectoryWatch(path, () => clock.nowMs)
    expect(watch.isUnchanged()).toBe(false)
    watch.confirm()
    expect([watch.isUnchanged(), watch.isUnchanged()]).toEqual(Array(2).fill(tellsChanges(path)))
    await happen()
    expect([watch.isUnchanged(), watch.isUnchanged()]).toEqual([false, false])
  })

  it('tells nothing while its last change is so recent that another one might have the same time', () => {
    const clock = later(1_999)
    const watch = new DirectoryWatch(path, () => clock.nowMs)
    const lookTwice = () => {
      const before = watch.isUnchanged()
      watch.confirm()
      return [before, watch.isUnchanged()]
    }
    expect(lookTwice()).toEqual([false, false])
    clock.nowMs -= 3_600_000
    expect(lookTwice()).toEqual([false, false])
    clock.nowMs += 3_600_001
    expect(lookTwice()).toEqual([false, tellsChanges(path)])
  })

  it('tells nothing where the process was stopped between a look at a recent change and the look at the names', () => {
    const clock = later(1)
    const watch = new DirectoryWatch(path, () => clock.nowMs)
    watch.isUnchanged()
    clock.nowMs += 60_000
    watch.confirm()
    expect(watch.isUnchanged()).toBe(false)
  })

  it('has its names looked at now and then all the same, and where time runs backwards', () => {
    const clock = later(60_000)
    const watch = new DirectoryWatch(path, () => clock.nowMs)
    const after = (ms: number) => {
      watch.isUnchanged()
      watch.confirm()
      clock.nowMs += ms
      return watch.isUnchanged()
    }
    expect([after(0), after(1_999), after(2_000), after(3_600_000), after(-1)]).toEqual([
      tellsChanges(path),
      tellsChanges(path),
      false,
      false,
      false,
    ])
  })

  it('tells nothing where it is not there', () => {
    const watch = new DirectoryWatch(join(folder, 'none'))
    expect(watch.isUnchanged()).toBe(false)
    watch.confirm()
    expect(watch.isUnchanged()).toBe(false)
  })
})
