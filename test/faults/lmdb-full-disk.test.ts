import { execFile, execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { keyOf, valueOf } from './children/disk-filling.js'
import { type CompiledSources, compileSources } from './compile-sources.js'
import { titled } from './fault-kit.js'
import { mountMissing, onSmallDisk } from './mounted.js'

const missing = mountMissing()

function expectValue(backend: LmdbStateBackend, i: number): void {
  expect(valueOf(i).equals(backend.getSync(keyOf(i)) ?? Buffer.of())).toBe(true)
}

let sources: CompiledSources
beforeAll(async () => {
  sources = await compileSources()
})

describe.skipIf(missing !== undefined)(titled('LmdbStateBackend on a full disk', missing), () => {
  // A log takes more than there is: then the tree alone makes things durable.
  it.each(['', 'log'])(
    'says so, serves everything that it has accepted, and goes on where there is space again (%s)',
    (mode) =>
      onSmallDisk('size=3m', async (folder) => {
        const path = join(folder, 'store')
        const script = sources.pathOf('test/faults/children/fill-disk.ts')
        const { stdout } = await promisify(execFile)(process.execPath, [script, path, mode])
        const { durable, accepted } = JSON.parse(stdout) as { durable: number; accepted: number }
        expect(durable).toBeGreaterThan(50)
        expect(accepted).toBe(durable + 10)

        execFileSync('mount', ['-o', 'remount,size=8m', folder])
        const again = await LmdbStateBackend.open({ path })
        expect(await again.count()).toBe(durable)
        for (let i = 0; i < durable; i++) expectValue(again, i)
        expect(await again.verify()).toMatchObject({ ok: true })
        for (let i = durable; i < accepted; i++) again.putSync(keyOf(i), valueOf(i))
        await again.close()
      }),
  )

  it('does not get full below its own limit, which is an error that changes nothing', () =>
    onSmallDisk('size=8m', async (folder) => {
      const path = join(folder, 'store')
      const backend = await LmdbStateBackend.open({ path, maxBytes: 2 * 1024 * 1024 })
      let accepted = 0
      const error: unknown = await (async () => {
        for (;;) await backend.put(keyOf(accepted), valueOf(accepted++))
      })().catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'BACKEND_FULL' })
      for (let i = 0; i < 50; i++) backend.deleteSync(keyOf(i))
      await backend.flush()
      await backend.put(Buffer.from('fits again'), valueOf(1), { durable: true })
      await backend.close()
    }))
})
