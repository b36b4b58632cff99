import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { CheckpointCoordinator, MemoryCheckpointStorage, MemoryStateBackend } from '../index.js'
import { LmdbStateBackend } from '../lmdb.js'
import { SCHEMA_KEY } from '../state.js'
import { openEntries } from './entries.js'
import { storedPlace } from './place.js'

/** No schema that this version reads. */
const RECORD = Buffer.from('{"format":99}')

it('closes a checkpoint whose schema it cannot read', async () => {
  const storage = new MemoryCheckpointStorage()
  const backend = new MemoryStateBackend()
  const coordinator = new CheckpointCoordinator(backend, { storage })
  backend.putSync(SCHEMA_KEY, Buffer.from('no schema'))
  await coordinator.createCheckpoint()
  await coordinator.shutdown()
  const place = storedPlace('there', storage, false)
  const opened = vi.spyOn(place.archive, 'open')
  await expect(openEntries(place, undefined)).rejects.toThrow(/schema/)
  const reader = await opened.mock.results[0]?.value
  await expect(reader?.get(SCHEMA_KEY)).rejects.toMatchObject({ code: 'CLOSED' })
  opened.mockRestore()
})

it('closes a store whose schema it cannot read', async () => {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-entries-'))
  const written = await LmdbStateBackend.open({ path })
  written.putSync(SCHEMA_KEY, RECORD)
  await written.close()
  const opened = vi.spyOn(LmdbStateBackend, 'open')
  await expect(openEntries({ kind: 'store', path }, undefined)).rejects.toMatchObject({
    code: 'INCOMPATIBLE',
  })
  const backend = await (opened.mock.results[0]?.value as Promise<LmdbStateBackend> | undefined)
  await expect(backend?.get(SCHEMA_KEY)).rejects.toMatchObject({ code: 'CLOSED' })
  opened.mockRestore()
  rmSync(path, { recursive: true, force: true })
})
