import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openBelow } from '../../test/support/open-files.js'
import { FileCheckpointStorage } from '../storage/file-checkpoint-storage.js'
import { ManualClock } from '../testing/manual-clock.js'
import { DurableDirectory } from './durable-directory.js'
import { FileLease, LEASE_MS, RENEW_LEASE_MS } from './file-lease.js'
import { LeaseWatch } from './lease-watch.js'
import { thisThread } from './process-identity.js'
import { TemporaryFile } from './temporary-file.js'

describe('the lease of FileCheckpointStorage', () => {
  let directory: string
  let storage: FileCheckpointStorage

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-lease-'))
    storage = new FileCheckpointStorage(directory)
  })

  afterEach(() => rm(directory, { recursive: true, force: true }))

  /** Puts a lease file there as some other owner would have, changed as given. */
  async function plant(token: number, changes: object): Promise<string> {
    const record = { version: 1, token, ...(await thisThread()), nonce: 'planted', released: false }
    const path = join(directory, `.lease-${String(token).padStart(10, '0')}`)
    await writeFile(path, JSON.stringify({ ...record, ...changes }))
    return path
  }

  const content = async (token: number): Promise<unknown> =>
    JSON.parse(await readFile(join(directory, `.lease-${String(token).padStart(10, '0')}`), 'utf8'))

  /** Another owner that renews its lease while somebody waits. */
  const renewing = (path: string) => async (ms: number) => {
    const later = new Date(Date.now() + 60_000 + ms)
    await utimes(path, later, later)
  }

  const leaseFiles = async () =>
    (await readdir(directory)).filter((name) => name.startsWith('.lease-')).sort()

  it('keeps one small file, whose token grows with every owner', async () => {
    for (let token = 1; token <= 12; token++) {
      const lease = await storage.acquire()
      expect(lease.token).toBe(token)
      expect(await leaseFiles()).toEqual([`.lease-${String(token).padStart(10, '0')}`])
      await lease.release()
    }
    const record: unknown = JSON.parse(await readFile(join(directory, '.lease-0000000012'), 'utf8'))
    expect(record).toMatchObject({ version: 1, token: 12, pid: process.pid, hostname: hostname() })
    expect(record).toMatchObject({ released: true })
  })

  it('says whose it was before where that one may live, and not where it has let go, is dead or there was none', async () => {
    const before = async (takeOver: boolean) => {
      let owner: unknown = 'not told'
      const beforeClaim = async (record: unknown) => {
        owner = record
      }
      const wait = async () => {}
      await FileLease.acquire(new DurableDirectory(directory), { takeOver, beforeClaim, wait }).then(
        (lease) => lease.release(),
      )
      return owner
    }
    expect(await before(false)).toBeUndefined()
    expect(await before(false)).toBeUndefined()
    await plant(3, { processStartedAt: 1 })
    expect(await before(false)).toBeUndefined()
    await plant(5, { nonce: 'of this process' })
    expect(await before(true)).toMatchObject({ token: 5, pid: process.pid })
    // Nothing is known of it but that it was silent.
    await plant(7, { hostname: 'elsewhere' })
    expect(await before(false)).toMatchObject({ token: 7, hostname: 'elsewhere' })
  })

  it('goes on beyond ten digits', async () => {
    await plant(9_999_999_999, { released: true })
    const lease = await storage.acquire()
    expect(lease.token).toBe(10_000_000_000)
    expect(await leaseFiles()).toEqual(['.lease-10000000000'])
    await lease.check()
  })

  it('names the owner and the way out: this process, another one here, one elsewhere', async () => {
    await plant(3, {})
    await expect(storage.acquire()).rejects.toMatchObject({
      code: 'FENCED',
      message: expect.stringMatching(/which is this process: release that lease first/),
    })
    const parentStart = await startOf(process.ppid)
    await plant(3, { pid: process.ppid, processStartedAt: parentStart, threadId: null })
    await expect(storage.acquire()).rejects.toMatchObject({
      code: 'FENCED',
      message: expect.stringContaining(`process ${process.ppid} on host '${hostname()}' (lease 3); stop it`),
    })
    const path = await plant(3, { hostname: 'elsewhere', pid: 1 })
    await expect(
      FileLease.acquire(new DurableDirectory(directory), { wait: renewing(path) }),
    ).rejects.toMatchObject({
      code: 'FENCED',
      message: expect.stringContaining(`take over (takeOver: true, or remove ${path})`),
    })
    await rm(path)
    await (await storage.acquire()).check()
  })

  it.runIf(process.platform === 'linux')('takes over where the pid went to another process', async () => {
    await plant(5, { processStartedAt: 1 })
    expect((await storage.acquire()).token).toBe(6)
  })

  it.each([
    ['another host', { hostname: 'elsewhere' }],
    ['another numbering of processes', { pidNamespace: 'pid:[1]' }],
    ['another start of the machine', { bootId: '00000000-0000-0000-0000-000000000000' }],
    ['a system that told less', { bootId: null, pidNamespace: null, processStartedAt: null }],
  ])('takes over from an owner of %s that is silent for as long as a lease lasts', async (_, changes) => {
    const path = await plant(5, { pid: 2 ** 22 + 1, ...changes })
    const files = new DurableDirectory(directory)
    await expect(FileLease.acquire(files, { wait: renewing(path) })).rejects.toMatchObject({ code: 'FENCED' })
    let waitedMs = 0
    const lease = await FileLease.acquire(files, { wait: async (ms) => void (waitedMs += ms) })
    expect(lease.token).toBe(6)
    expect(waitedMs).toBe(LEASE_MS)
    await lease.release()
  })

  it('is FENCED where another one takes over while it is being acquired', async () => {
    const files = new DurableDirectory(directory)
    const names = files.names.bind(files)
    let taken: FileLease | undefined
    let listings = 0
    files.names = async (operation) => {
      const listed = await names(operation)
      // The second time, to see whether somebody has a higher token.
      if (++listings === 2)
        taken = await FileLease.acquire(new DurableDirectory(directory), { takeOver: true })
      return listed
    }
    await expect(FileLease.acquire(files)).rejects.toMatchObject({ code: 'FENCED' })
    expect(taken?.token).toBe(2)
    await taken?.check()
    await taken?.release()
  })

  it('does not wait for an owner that lets go while it is watched, nor where it is to take over', async () => {
    await plant(5, { hostname: 'elsewhere' })
    const files = new DurableDirectory(directory)
    let looks = 0
    const lease = await FileLease.acquire(files, {
      wait: async () => void (looks++, await plant(5, { released: true })),
    })
    expect([lease.token, looks]).toEqual([6, 1])
    const never = () => Promise.reject(new Error('waited'))
    const heir = await FileLease.acquire(files, { takeOver: true, wait: never })
    await expect(lease.check()).rejects.toMatchObject({
      code: 'FENCED',
      message: expect.stringContaining('(lease 7)'),
    })
    await lease.release()
    await heir.check()
    await heir.release()
  })

  it('is renewed by a timer while it is held, and by a check that comes later than that', async () => {
    const clock = new ManualClock()
    const lease = await FileLease.acquire(new DurableDirectory(directory), { clock })
    const path = join(directory, '.lease-0000000001')
    const longAgo = new Date(1_000)
    const age = async () => {
      await utimes(path, longAgo, longAgo)
    }
    for (let i = 0; i < 3; i++) {
      await age()
      clock.advance(RENEW_LEASE_MS)
      await expect.poll(async () => (await stat(path)).mtimeMs).toBeGreaterThan(1_000)
    }
    await age()
    vi.spyOn(performance, 'now').mockReturnValueOnce(performance.now() + RENEW_LEASE_MS)
    await lease.check()
    expect((await stat(path)).mtimeMs).toBeGreaterThan(1_000)
    await lease.release()
    expect(clock.pendingTimers).toBe(0)
  })

  it('removes what the owner before has begun, so that it cannot be given a name any more', async () => {
    const files = new DurableDirectory(directory)
    const old = await FileLease.acquire(files)
    const file = await TemporaryFile.create(files)
    await file.write(Buffer.from('x'))
    // As if it were checked right before the take-over.
    const guard = { check: vi.fn<() => Promise<void>>(async () => {}) }
    await storage.acquire({ takeOver: true })
    await expect(file.publishAs('late', guard)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    guard.check.mockImplementationOnce(async () => {}).mockImplementationOnce(() => old.check())
    const next = await TemporaryFile.create(files)
    await rm(files.pathOf((await readdir(directory)).find((name) => name.startsWith('.tmp-')) as string))
    await expect(next.replaceAs('late', guard)).rejects.toMatchObject({ code: 'FENCED' })
    expect((await readdir(directory)).filter((name) => !name.startsWith('.lease-'))).toEqual([])
  })

  it.runIf(process.platform === 'linux')(
    'is taken over at once from a thread of this process that has ended',
    async () => {
      const script = `
      const { parentPort, workerData } = require('node:worker_threads')
      import('holdfast').then(async ({ FileCheckpointStorage }) => {
        await new FileCheckpointStorage(workerData).acquire()
        parentPort.once('message', () => {})
        parentPort.postMessage('acquired')
      })`
      const worker = new Worker(script, { eval: true, workerData: directory })
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      await expect(storage.acquire()).rejects.toMatchObject({ code: 'FENCED' })
      await worker.terminate()
      expect((await storage.acquire()).token).toBe(2)
    },
  )

  it('lets nobody in over a lease file that cannot be read, and says what to do', async () => {
    const good = await readFile(await plant(2, {}), 'utf8')
    const damages = [
      '',
      '{',
      good.slice(0, -10),
      'null',
      '[]',
      '"text"',
      '{}',
      `${good}\xff`,
      'x'.repeat(4_097),
      good.replace('"token":2', '"token":3'),
      ...['pid', 'hostname', 'bootId', 'processStartedAt', 'nonce', 'released', 'version'].flatMap(
        (field) => [
          JSON.stringify({ ...JSON.parse(good), [field]: ['wrong'] }),
          JSON.stringify({ ...JSON.parse(good), [field]: undefined }),
        ],
      ),
    ]
    const path = join(directory, '.lease-0000000002')
    for (const damaged of damages) {
      await writeFile(path, damaged, 'latin1')
      await expect(storage.acquire(), damaged).rejects.toMatchObject({ code: 'CORRUPTION' })
    }
    await writeFile(path, '')
    await expect(storage.acquire()).rejects.toThrow(
      `make sure that no process writes to this directory, then remove that file`,
    )
    await rm(path)
    await (await storage.acquire()).release()
  })

  it('refuses a lease file of a later version', async () => {
    await plant(2, { version: 2, nonce: undefined })
    await expect(storage.acquire()).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
  })

  it('does not follow a directory or a link in place of the lease file', async () => {
    await mkdir(join(directory, '.lease-0000000002'))
    await expect(storage.acquire()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  })

  it('ignores names that only resemble lease files', async () => {
    for (const name of ['.lease-1', '.lease-00000000012', '.lease-0000000000', '.lease-0000000007.bak']) {
      await writeFile(join(directory, name), 'x')
    }
    expect((await storage.acquire()).token).toBe(1)
  })

  it('is fenced once its file is gone, even when the token comes back', async () => {
    const first = await storage.acquire()
    await rm(join(directory, '.lease-0000000001'))
    await expect(first.check()).rejects.toMatchObject({ code: 'FENCED' })
    const second = await storage.acquire()
    expect(second.token).toBe(first.token)
    await expect(first.check()).rejects.toMatchObject({ code: 'FENCED' })
    await first.release()
    await second.check()
  })

  it('follows the highest lease and removes the lower ones', async () => {
    await plant(1, { released: true })
    await plant(2, { released: true })
    await plant(7, { released: true })
    expect((await storage.acquire()).token).toBe(8)
    expect(await leaseFiles()).toEqual(['.lease-0000000008'])
  })

  it('withdraws when what it had read was outdated: a higher lease came and the one it takes was free again', async () => {
    // Between its first listing and its link, others took leases 2 and 3 and removed what was below.
    await plant(3, {})
    const slow = new DurableDirectory(directory)
    const list = slow.names.bind(slow)
    let listings = 0
    slow.names = async (operation) => {
      if (++listings > 1) return list(operation)
      await plant(1, { released: true })
      return ['.lease-0000000001']
    }
    await expect(FileLease.acquire(slow)).rejects.toMatchObject({
      code: 'FENCED',
      message: expect.stringContaining('(lease 3)'),
    })
    expect(listings).toBeGreaterThan(2)
    expect(await leaseFiles()).toEqual(['.lease-0000000001', '.lease-0000000003'])
  })

  it('lets this process in again after a release that could not be written', async () => {
    const lease = await storage.acquire()
    vi.spyOn(TemporaryFile, 'create').mockRejectedValueOnce(new Error('disk on fire'))
    await expect(lease.release()).rejects.toThrow('disk on fire')
    await expect(lease.check()).rejects.toMatchObject({ code: 'CLOSED' })
    const next = await storage.acquire()
    expect(next.token).toBe(2)
    await lease.release()
    await next.check()
  })

  it.skipIf(process.platform !== 'linux')(
    'keeps no descriptor of a lease whose release could not be written',
    async () => {
      const lease = await storage.acquire()
      expect(await openIn(directory)).toEqual(['.lease-0000000001'])
      vi.spyOn(TemporaryFile, 'create').mockRejectedValueOnce(new Error('disk on fire'))
      await expect(lease.release()).rejects.toThrow('disk on fire')
      expect(await openIn(directory)).toEqual([])
      await lease.release()
      expect(await content(1)).toMatchObject({ released: true })
    },
  )

  it('lets this process in again where the directory was away when the lease was let go of', async () => {
    const lease = await storage.acquire()
    await rename(directory, `${directory}-away`)
    await lease.release()
    await rename(`${directory}-away`, directory)
    const next = await storage.acquire()
    expect(next.token).toBe(2)
    await next.release()
  })

  it('leaves a lease alone that has come under the name of one whose release could not be written', async () => {
    const lease = await storage.acquire()
    vi.spyOn(TemporaryFile, 'create').mockRejectedValueOnce(new Error('disk on fire'))
    await expect(lease.release()).rejects.toThrow('disk on fire')
    vi.spyOn(LeaseWatch.prototype, 'newerOwner').mockResolvedValueOnce(undefined)
    await plant(1, {})
    await lease.release()
    expect(await content(1)).toMatchObject({ nonce: 'planted', released: false })
  })
})

/** Names of files in a folder that this process has open. */
const openIn = async (folder: string): Promise<string[]> =>
  (await openBelow(folder)).map((path) => basename(path))

async function startOf(pid: number): Promise<number | null> {
  if (process.platform !== 'linux') return null
  const text = await readFile(`/proc/${pid}/stat`, 'latin1')
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19])
}
