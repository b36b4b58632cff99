import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { StorageLease } from '../../src/storage/checkpoint-storage.js'
import { FileCheckpointStorage } from '../../src/storage/file-checkpoint-storage.js'
import { titled } from './fault-kit.js'
import { mountMissing, onSmallDisk } from './mounted.js'

const missing = mountMissing()

describe.skipIf(missing !== undefined)(titled('FileCheckpointStorage on a full disk', missing), () => {
  const block = new Uint8Array(100_000).fill(7)

  async function publish(lease: StorageLease, name: string, blocks: number): Promise<void> {
    const writer = await lease.create(name)
    for (let i = 0; i < blocks; i++) await writer.write(block)
    await writer.commit()
  }

  it('rejects what does not fit, keeps what is there, leaves no garbage, and goes on with what fits', () =>
    onSmallDisk('size=1m', async (folder) => {
      const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
      const lease = await storage.acquire()
      await publish(lease, 'fits', 4)
      const failure = {
        code: 'STORAGE_ERROR',
        message: expect.stringContaining('no space is left; free some'),
        cause: expect.objectContaining({ code: 'ENOSPC' }),
      }
      await expect(publish(lease, 'too-large', 12)).rejects.toMatchObject(failure)
      await expect(lease.replace('latest', new Uint8Array(2_000_000))).rejects.toMatchObject(failure)

      expect(await storage.list()).toEqual([{ name: 'fits', sizeBytes: 400_000 }])
      expect(
        Buffer.compare((await storage.read('fits', 400_000)) ?? block, new Uint8Array(400_000).fill(7)),
      ).toBe(0)
      const names = await readdir(join(folder, 'checkpoints'))
      expect(names.filter((name) => name.startsWith('.tmp-'))).toEqual([])

      await publish(lease, 'small', 3)
      await lease.check()
      await lease.release()
    }))

  it('needs no space to remove objects, and then has it', () =>
    onSmallDisk('size=1m', async (folder) => {
      const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
      const lease = await storage.acquire()
      await publish(lease, 'old', 9)
      await expect(publish(lease, 'new', 9)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
      expect(await lease.remove('old')).toBe(true)
      await publish(lease, 'new', 9)
      expect(await storage.list()).toEqual([{ name: 'new', sizeBytes: 900_000 }])
      await lease.release()
    }))

  it('rejects where no more files can be made', () =>
    onSmallDisk('size=1m,nr_inodes=6', async (folder) => {
      const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
      const lease = await storage.acquire()
      await publish(lease, 'a', 1)
      await publish(lease, 'b', 1)
      const third = publish(lease, 'c', 1).then(() => publish(lease, 'd', 1))
      await expect(third).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
      await lease.remove('a')
      await publish(lease, 'e', 1)
      await lease.remove('e')
      await lease.release()
    }))
})
