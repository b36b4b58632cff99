import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asOwner } from '../../test/support/checkpoints.js'
import { openBelow } from '../../test/support/open-files.js'
import { isStateError, type StateErrorCode } from '../base/errors.js'
import { runStorageConformanceSuite } from '../testing/storage-conformance.js'
import type { SharedStorage, StorageLease } from './checkpoint-storage.js'
import { FileCheckpointStorage } from './file-checkpoint-storage.js'
import { openSharedSource, openSharedStorage } from './shared-file-storage.js'

const onPosix = process.platform !== 'win32'

runStorageConformanceSuite({ describe, it }, 'FileCheckpointStorage', async () => {
  const parent = await mkdtemp(join(tmpdir(), 'holdfast-storage-'))
  const directory = join(parent, 'checkpoints')
  return {
    storage: new FileCheckpointStorage(directory),
    reopen: () => new FileCheckpointStorage(directory),
    killOwner: async () => {
      const name = (await readdir(directory)).find((entry) => entry.startsWith('.lease-'))
      const path = join(directory, name as string)
      const record = JSON.parse(await readFile(path, 'utf8')) as object
      await writeFile(path, JSON.stringify({ ...record, pid: deadPid() }))
    },
    dispose: () => rm(parent, { recursive: true }),
  }
})

describe('FileCheckpointStorage', () => {
  let parent: string
  let directory: string
  let storage: FileCheckpointStorage

  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), 'holdfast-storage-'))
    directory = join(parent, 'deep', 'checkpoints')
    storage = new FileCheckpointStorage(directory)
  })

  const leases: StorageLease[] = []

  /** A lease that is let go of after the test. */
  async function acquire(options?: { readonly takeOver: true }): Promise<StorageLease> {
    const lease = await storage.acquire(options)
    leases.push(lease)
    return lease
  }

  afterEach(async () => {
    for (const lease of leases.splice(0)) await lease.release()
    const left = await openBelow(parent)
    await rm(parent, { recursive: true, force: true })
    if (left.length > 0) throw new Error(`files are left open: ${left.join(', ')}`)
  })

  async function publish(name: string, text: string): Promise<void> {
    await asOwner(storage, async (lease) => {
      const writer = await lease.create(name)
      await writer.write(Buffer.from(text))
      await writer.commit()
    })
  }

  it('rejects a directory that is no path', () => {
    for (const bad of ['', 'a\0b', undefined, 7, new URL('file:///tmp')]) {
      expect(() => new FileCheckpointStorage(bad as string)).toThrow('directory must be a path')
    }
  })

  it('is named after the absolute path', () => {
    expect(new FileCheckpointStorage('some/where').name).toBe(`file:${join(process.cwd(), 'some/where')}`)
  })

  it('touches nothing until it is owned', async () => {
    await storage.list()
    await storage.read('a', 1)
    await storage.open('a')
    expect(await readdir(parent)).toEqual([])
  })

  it.runIf(onPosix)('gives nobody else access: directories 0700, files 0600', async () => {
    await publish('a', 'x')
    const lease = await acquire()
    await lease.replace('b', Buffer.from('x'))
    expect((await stat(join(parent, 'deep'))).mode & 0o777).toBe(0o700)
    expect((await stat(directory)).mode & 0o777).toBe(0o700)
    const names = (await readdir(directory)).sort()
    expect(names).toEqual(['.lease-0000000002', 'a', 'b'])
    for (const name of names) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600)
  })

  it.runIf(onPosix)('leaves the permissions of a directory that exists as they are', async () => {
    await mkdir(directory, { recursive: true })
    await chmod(directory, 0o750)
    await publish('a', 'x')
    expect((await stat(directory)).mode & 0o777).toBe(0o750)
  })

  it.runIf(process.platform === 'linux')(
    'gives up where a directory cannot be made although its parent exists',
    async () => {
      const nowhere = new FileCheckpointStorage('/proc/holdfast-nowhere')
      await expect(nowhere.acquire()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    },
  )

  it('lists more objects than it looks at together, each once with its own size', async () => {
    await mkdir(directory, { recursive: true })
    const expected = Array.from({ length: 50 }, (_, i) => ({ name: `o${i + 10}`, sizeBytes: i }))
    for (const { name, sizeBytes } of expected)
      await writeFile(join(directory, name), Buffer.alloc(sizeBytes))
    await mkdir(join(directory, 'a-directory'))
    const listed = await storage.list()
    expect(listed.toSorted((left, right) => (left.name < right.name ? -1 : 1))).toEqual(expected)
  })

  it('lists regular files and links with object names only', async () => {
    await publish('good', 'x')
    await mkdir(join(directory, 'subdirectory'))
    await symlink('good', join(directory, 'link'))
    await symlink('moved-away', join(directory, 'broken'))
    for (const hostile of ['UPPER', '.hidden', 'with space', 'new\nline', 'ü', '.tmp-zz', 'x'.repeat(129)]) {
      await writeFile(join(directory, hostile), 'x')
    }
    expect((await storage.list()).toSorted((left, right) => (left.name < right.name ? -1 : 1))).toEqual([
      { name: 'broken', sizeBytes: 'moved-away'.length },
      { name: 'good', sizeBytes: 1 },
      { name: 'link', sizeBytes: 'good'.length },
    ])
  })

  it.runIf(onPosix)('opens regular files only, and does not hang on a FIFO', async () => {
    await publish('good', 'x')
    await mkdir(join(directory, 'subdirectory'))
    await symlink(join(directory, 'good'), join(directory, 'link'))
    await symlink('/etc/hostname', join(directory, 'escape'))
    execFileSync('mkfifo', [join(directory, 'fifo')])
    for (const name of ['subdirectory', 'link', 'escape', 'fifo']) {
      const error = await failure('STORAGE_ERROR', storage.open(name))
      expect(error.message).toContain(join(directory, name))
      await failure('STORAGE_ERROR', storage.read(name, 100))
    }
  })

  it('says path and next step where the directory is a file, or lies under one', async () => {
    await writeFile(join(parent, 'plain'), 'x')
    for (const path of [join(parent, 'plain'), join(parent, 'plain', 'below')]) {
      const broken = new FileCheckpointStorage(path)
      const attempts = [() => broken.list(), () => broken.acquire(), () => broken.open('a')]
      for (const attempt of attempts) {
        const error = await failure('STORAGE_ERROR', attempt())
        expect(error.message).toContain(path)
        expect(error.message).toMatch(/move (it|that file) away or use another directory/)
        expect(error.message).not.toContain('\n')
        expect(error.details).toMatchObject({ storage: `file:${path}` })
        expect(error.cause).toBeInstanceOf(Error)
      }
    }
  })

  it('names the directory that is where a file is to be replaced', async () => {
    const lease = await acquire()
    await mkdir(join(directory, 'latest'))
    const error = await failure('STORAGE_ERROR', lease.replace('latest', Buffer.from('x')))
    expect(error.message).toContain(
      `${join(directory, 'latest')}: a directory is where a file should be; move it away`,
    )
  })

  it('keeps the error for every later call once a writer has failed', async () => {
    const writer = await (await acquire()).create('a')
    await writer.write(Buffer.from('x'))
    await rm(directory, { recursive: true })
    const first = await failure('STORAGE_ERROR', writer.commit())
    expect(await failure('STORAGE_ERROR', writer.commit())).toBe(first)
    expect(await failure('STORAGE_ERROR', writer.write(Buffer.from('x')))).toBe(first)
    await writer.abort()
  })

  it('makes its directory again, and those above it, where somebody has removed them', async () => {
    await (await acquire()).release()
    await rm(parent, { recursive: true })
    await (await acquire()).replace('latest', Buffer.from('x'))
    expect((await readdir(directory)).sort()).toEqual(['.lease-0000000001', 'latest'])
  })

  it('leaves no temporary file behind a commit that is refused, nor behind one that succeeds', async () => {
    const lease = await acquire()
    const first = await lease.create('a')
    const second = await lease.create('a')
    await first.commit()
    await failure('FENCED', second.commit())
    expect((await readdir(directory)).sort()).toEqual(['.lease-0000000001', 'a'])
  })

  it('refuses a call on a writer while another one is under way', async () => {
    const writer = await (await acquire()).create('a')
    const writing = writer.write(Buffer.from('x'))
    await failure('INVALID_ARGUMENT', writer.write(Buffer.from('y')))
    await failure('INVALID_ARGUMENT', writer.commit())
    await writing
    await writer.commit()
    expect(await storage.read('a', 1)).toEqual(Uint8Array.of(0x78))
  })

  it('notices an object that was cut short while it was open', async () => {
    await publish('a', 'x'.repeat(100))
    const reader = await storage.open('a')
    await writeFile(join(directory, 'a'), 'x'.repeat(50))
    expect(await reader?.read(0, 50)).toHaveLength(50)
    await failure('CORRUPTION', reader?.read(40, 20) ?? Promise.resolve())
    await reader?.close()
  })

  it.runIf(process.platform === 'linux')('leaves no file open, whether calls succeed or not', async () => {
    const openFiles = async () => (await readdir('/proc/self/fd')).length
    await publish('a', 'x'.repeat(10))
    await mkdir(join(directory, 'subdirectory'))
    const before = await openFiles()
    for (let i = 0; i < 20; i++) {
      await storage.read('a', 10)
      await failure('CORRUPTION', storage.read('a', 9))
      await failure('STORAGE_ERROR', storage.open('subdirectory'))
      await asOwner(storage, async (lease) => {
        await lease.replace('latest', Buffer.from('x'))
        const writer = await lease.create('a')
        await failure('FENCED', writer.commit())
        await (await lease.create('b')).abort()
      })
    }
    expect(await openFiles()).toBe(before)
  })

  it('discards what was left behind once it is old enough, and nothing else', async () => {
    await publish('a', 'x')
    const leftBehind = `.tmp-${'1'.repeat(32)}`
    const lease = await acquire()
    const begun = await lease.create('b')
    await begun.write(Buffer.from('x'))
    await writeFile(join(directory, leftBehind), 'x')
    await writeFile(join(directory, '.tmp-not-ours'), 'x')
    await mkdir(join(directory, `.tmp-${'0'.repeat(32)}`))

    expect(await lease.discardUncommitted(3_600_000)).toBe(0)
    const hoursAgo = new Date(Date.now() - 3_700_000)
    await utimes(join(directory, leftBehind), hoursAgo, hoursAgo)
    await utimes(join(directory, 'a'), hoursAgo, hoursAgo)
    expect(await lease.discardUncommitted(3_600_000)).toBe(1)
    expect(await lease.discardUncommitted(0)).toBe(0)
    await begun.commit()

    expect((await storage.list()).map(({ name }) => name).sort()).toEqual(['a', 'b'])
    await lease.check()
    expect(existsSync(join(directory, '.tmp-not-ours'))).toBe(true)
  })

  it('leaves what a thread that its lease is shared with is writing, until that has let go', async () => {
    const lease = await acquire()
    const shared = lease.share?.() as SharedStorage
    const theirs = openSharedStorage(structuredClone(shared.data))
    const abandoned = await theirs.create('a')
    await abandoned.write(Buffer.from('x'))
    const writer = await theirs.create('b')
    await writer.write(Buffer.from('y'))
    expect(await lease.discardUncommitted(0)).toBe(0)
    await writer.commit()
    expect(await storage.read('b', 1)).toEqual(Uint8Array.of(0x79))
    const reader = await theirs.open('b')
    expect(reader?.sizeBytes).toBe(1)
    await reader?.close()
    shared.release()
    shared.release()
    expect(await lease.discardUncommitted(0)).toBe(1)
    await abandoned.abort()
  })

  it('refuses what a thread that its lease is shared with writes once another owner has it', async () => {
    const shared = (await acquire()).share?.() as SharedStorage
    const theirs = openSharedStorage(structuredClone(shared.data))
    const begun = await theirs.create('a')
    await begun.write(Buffer.from('x'))
    await acquire({ takeOver: true })
    await failure('FENCED', begun.commit())
    await failure('FENCED', theirs.create('b'))
    expect(await storage.list()).toEqual([])
  })

  it('is read by another thread without a lease', async () => {
    await publish('a', 'x')
    const source = openSharedSource(structuredClone(storage.share().data))
    const reader = await source.open('a')
    expect(reader?.sizeBytes).toBe(1)
    await reader?.close()
    expect(await source.open('b')).toBeUndefined()
  })

  it('discards a file of this very instant with a grace period of 0', async () => {
    const lease = await acquire()
    for (let i = 0; i < 20; i++) {
      await writeFile(join(directory, `.tmp-${'1'.repeat(32)}`), 'x')
      expect(await lease.discardUncommitted(0)).toBe(1)
    }
  })
})

/** A pid that was in use a moment ago and is not any more. */
function deadPid(): number {
  return Number(execFileSync(process.execPath, ['-p', 'process.pid'], { encoding: 'utf8' }))
}

async function failure(code: StateErrorCode, work: Promise<unknown>) {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toMatchObject({ code })
  if (!isStateError(error)) throw new Error('unreachable')
  return error
}
