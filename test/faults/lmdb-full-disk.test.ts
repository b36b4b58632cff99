import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { titled } from './fault-kit.js'
import { mountMissing, onSmallDisk } from './mounted.js'

const missing = mountMissing()
const VALUE_BYTES = 20_000
const bytes = (text: string) => Buffer.from(text)
const valueOf = (i: number) => Buffer.alloc(VALUE_BYTES, i % 251)

function expectValue(backend: LmdbStateBackend, i: number): void {
  expect(valueOf(i).equals(backend.getSync(bytes(`key ${i}`)) ?? bytes(''))).toBe(true)
}

describe.skipIf(missing !== undefined)(titled('LmdbStateBackend on a full disk', missing), () => {
  it('says so, serves everything that it has accepted, and goes on where there is space again', () =>
    onSmallDisk('size=3m', async (folder) => {
      const path = join(folder, 'store')
      const backend = await LmdbStateBackend.open({ path, flushIntervalMs: Infinity })
      const failures: Error[] = []
      backend.on('failed', ({ error }) => failures.push(error))
      let durable = 0
      let accepted = 0
      const failure: unknown = await (async () => {
        for (;;) {
          for (let i = 0; i < 10; i++) backend.putSync(bytes(`key ${accepted}`), valueOf(accepted++))
          await backend.flush()
          durable = accepted
        }
      })().catch((error: unknown) => error)
      const full = { code: 'STORAGE_ERROR', message: expect.stringContaining('No space left') }
      expect(failure).toMatchObject(full)
      expect(failures).toMatchObject([full])
      expect(durable).toBeGreaterThan(50)
      expect(accepted).toBe(durable + 10)

      expect(() => backend.putSync(bytes('more'), valueOf(0))).toThrow(/No space left/)
      for (let i = 0; i < accepted; i++) expectValue(backend, i)
      expect([...backend.scanSync({ prefix: bytes('key ') })]).toHaveLength(accepted)
      await expect(backend.close()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })

      execFileSync('mount', ['-o', 'remount,size=8m', folder])
      const again = await LmdbStateBackend.open({ path })
      expect(await again.count()).toBe(durable)
      for (let i = 0; i < durable; i++) expectValue(again, i)
      expect(await again.verify()).toMatchObject({ ok: true })
      for (let i = durable; i < accepted; i++) again.putSync(bytes(`key ${i}`), valueOf(i))
      await again.close()
    }))

  it('does not get full below its own limit, which is an error that changes nothing', () =>
    onSmallDisk('size=8m', async (folder) => {
      const path = join(folder, 'store')
      const backend = await LmdbStateBackend.open({ path, maxBytes: 2 * 1024 * 1024 })
      let accepted = 0
      const error: unknown = await (async () => {
        for (;;) await backend.put(bytes(`key ${accepted}`), valueOf(accepted++))
      })().catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'BACKEND_FULL' })
      for (let i = 0; i < 50; i++) backend.deleteSync(bytes(`key ${i}`))
      await backend.flush()
      await backend.put(bytes('fits again'), valueOf(1), { durable: true })
      await backend.close()
    }))
})
