import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FileCheckpointStorage } from '../../src/storage/file-checkpoint-storage.js'
import { titled } from './fault-kit.js'

const missing = mountMissing()

/** Runs `body` in a file system of its own, of the given size. */
async function onSmallDisk(options: string, body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-full-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'pipe' })
    try {
      await body(folder)
    } finally {
      execFileSync('umount', [folder])
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function mountMissing(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux'
  if (process.getuid?.() !== 0) return 'needs root, to mount a small file system'
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-full-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], { stdio: 'pipe' })
    execFileSync('umount', [folder])
    return undefined
  } catch {
    return 'needs the permission to mount a small file system'
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe.skipIf(missing !== undefined)(titled('FileCheckpointStorage on a full disk', missing), () => {
  const block = new Uint8Array(100_000).fill(7)

  async function publish(storage: FileCheckpointStorage, name: string, blocks: number): Promise<void> {
    const writer = await storage.create(name)
    for (let i = 0; i < blocks; i++) await writer.write(block)
    await writer.commit()
  }

  it('rejects what does not fit, keeps what is there, leaves no garbage, and goes on with what fits', () =>
    onSmallDisk('size=1m', async (folder) => {
      const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
      const lease = await storage.acquire()
      await publish(storage, 'fits', 4)
      const failure = {
        code: 'STORAGE_ERROR',
        message: expect.stringContaining('no space is left; free some'),
        cause: expect.objectContaining({ code: 'ENOSPC' }),
      }
      await expect(publish(storage, 'too-large', 12)).rejects.toMatchObject(failure)
      await expect(storage.replace('latest', new Uint8Array(2_000_000))).rejects.toMatchObject(failure)

      expect(await storage.list()).toEqual([{ name: 'fits', sizeBytes: 400_000 }])
      expect(
        Buffer.compare((await storage.read('fits', 400_000)) ?? block, new Uint8Array(400_000).fill(7)),
      ).toBe(0)
      const names = await readdir(join(folder, 'checkpoints'))
      expect(names.filter((name) => name.startsWith('.tmp-'))).toEqual([])

      await publish(storage, 'small', 3)
      await lease.check()
      await lease.release()
    }))

  it('needs no space to remove objects, and then has it', () =>
    onSmallDisk('size=1m', async (folder) => {
      const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
      await publish(storage, 'old', 9)
      await expect(publish(storage, 'new', 9)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
      expect(await storage.remove('old')).toBe(true)
      await publish(storage, 'new', 9)
      expect(await storage.list()).toEqual([{ name: 'new', sizeBytes: 900_000 }])
    }))

  it('rejects where no more files can be made', () =>
    onSmallDisk('size=1m,nr_inodes=5', async (folder) => {
      const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
      await publish(storage, 'a', 1)
      await publish(storage, 'b', 1)
      const third = publish(storage, 'c', 1).then(() => publish(storage, 'd', 1))
      await expect(third).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
      await storage.remove('a')
      await publish(storage, 'e', 1)
    }))
})
