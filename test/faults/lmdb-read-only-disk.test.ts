import { execFileSync } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { compileSources } from './compile-sources.js'
import { titled } from './fault-kit.js'
import { mountMissing, onSmallDisk } from './mounted.js'
import { StoreProcess } from './store-process.js'

const missing = mountMissing()

describe.skipIf(missing !== undefined)(titled('a store on a file system that is read-only', missing), () => {
  it('is read and verified, and refused to whoever would write', async () => {
    const sources = await compileSources()
    await onSmallDisk('size=16m', async (folder) => {
      const path = join(folder, 'store')
      const writer = await StoreProcess.start(sources, path)
      const readers: StoreProcess[] = []
      try {
        expect(await writer.tell('open')).toBe('opened')
        await writer.tell('put a 1')
        expect(await writer.tell('close')).toBe('done')
        execFileSync('mount', ['-o', 'remount,ro', folder])
        for (let i = 0; i < 2; i++) {
          const reader = await StoreProcess.start(sources, path)
          readers.push(reader)
          expect(await reader.tell('read')).toBe('opened')
          expect(await reader.tell('get a')).toBe('1')
        }
        const [reader] = readers as [StoreProcess]
        for (let i = 0; i < 5; i++) {
          expect(await reader.tell('close')).toBe('done')
          expect(await reader.tell('read')).toBe('opened')
          expect(await reader.tell('get a')).toBe('1')
        }
        expect(filesOpenIn(folder, await reader.tell('pid'))).toHaveLength(1)
        expect(await writer.tell('verify')).toBe('whole')
        expect(await writer.tell('open')).toBe('STORAGE_ERROR')
        expect(await writer.tell('reason')).toContain('the file system is read-only')
      } finally {
        for (const each of [writer, ...readers]) await each.kill()
      }
    })
  })
})

/** The files below a folder that a process has open. */
function filesOpenIn(folder: string, pid: string): string[] {
  const descriptors = `/proc/${pid}/fd`
  return readdirSync(descriptors)
    .map((descriptor) => readlinkSync(join(descriptors, descriptor)))
    .filter((path) => path.startsWith(folder))
}
