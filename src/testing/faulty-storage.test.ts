import { describe, expect, it } from 'vitest'
import type { StorageLease } from '../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from './faulty-storage.js'

const BYTES = Uint8Array.of(1, 2, 3, 4)

function faulty(): FaultyCheckpointStorage {
  return new FaultyCheckpointStorage(new MemoryCheckpointStorage())
}

/** Owns the storage, past the faults, which count from now on. */
async function owned(): Promise<{ storage: FaultyCheckpointStorage; lease: StorageLease }> {
  const storage = faulty()
  return { storage, lease: await storage.acquire() }
}

async function publish(lease: StorageLease, name: string): Promise<void> {
  const writer = await lease.create(name)
  await writer.write(BYTES)
  await writer.commit()
}

describe('FaultyCheckpointStorage', () => {
  it('passes everything on while no fault is injected, and counts the calls', async () => {
    const storage = faulty()
    const lease = await storage.acquire()
    await lease.check()
    await publish(lease, 'one')
    await lease.replace('small', BYTES)
    const reader = await storage.open('one')
    expect(reader?.sizeBytes).toBe(4)
    expect(await reader?.read(1, 2)).toEqual(Uint8Array.of(2, 3))
    await reader?.close()
    expect(await storage.read('small', 10)).toEqual(BYTES)
    expect(await storage.read('none', 10)).toBeUndefined()
    expect(await storage.open('none')).toBeUndefined()
    expect((await storage.list()).map(({ name }) => name).sort()).toEqual(['one', 'small'])
    expect(await lease.remove('one')).toBe(true)
    await (await lease.create('abandoned')).abort()
    expect(await lease.discardUncommitted(0)).toBe(0)
    await lease.release()
    expect(storage.calls.map(({ operation }) => operation).join(' ')).toBe(
      'acquire lease.check create writer.write writer.commit replace open reader.read reader.close read read open ' +
        'list remove create writer.abort discardUncommitted lease.release',
    )
    expect(storage.count()).toBe(18)
    expect(storage.count('read')).toBe(2)
  })

  it('fails once at the n-th call of any kind', async () => {
    const { storage, lease } = await owned()
    storage.inject({ effect: 'fail', nth: 3 })
    await expect(publish(lease, 'one')).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      details: { operation: 'carry out writer.commit of one' },
    })
    expect(await storage.list()).toEqual([])
    await publish(lease, 'two')
  })

  it('fails for ever at one operation on one object, with the error given', async () => {
    const error = new Error('disk on fire')
    const { storage, lease } = await owned()
    storage.inject({
      effect: 'fail',
      operation: 'replace',
      object: 'mani',
      forever: true,
      error,
    })
    await lease.replace('other', BYTES)
    await expect(lease.replace('manifest', BYTES)).rejects.toBe(error)
    await expect(lease.replace('manifest', BYTES)).rejects.toBe(error)
    storage.heal()
    await lease.replace('manifest', BYTES)
  })

  it('can do the work and fail afterwards', async () => {
    const { storage, lease } = await owned()
    storage.inject({ effect: 'fail', operation: 'writer.commit', when: 'after' })
    await expect(publish(lease, 'one')).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(await storage.list()).toEqual([{ name: 'one', sizeBytes: 4 }])
  })

  it('crashes: every later call fails, also on what was handed out before', async () => {
    const { storage, lease } = await owned()
    const writer = await lease.create('one')
    storage.inject({ effect: 'crash', operation: 'writer.write' })
    await expect(writer.write(BYTES)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(storage.crashed).toBe(true)
    await expect(writer.commit()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await expect(storage.list()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(await storage.heal().list()).toEqual([])
  })

  it('cuts writes short, silently or as the last thing before a crash', async () => {
    const { storage, lease } = await owned()
    storage.inject({ effect: 'cut', operation: 'writer.write' })
    await publish(lease, 'half')
    expect(await storage.read('half', 10)).toEqual(Uint8Array.of(1, 2))
    storage.inject({ effect: 'cut', keepBytes: 3, thenCrash: true })
    await expect(lease.replace('torn', BYTES)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(storage.crashed).toBe(true)
    expect(await storage.heal().read('torn', 10)).toEqual(Uint8Array.of(1, 2, 3))
  })

  it('flips a bit of what is written or read, and leaves the bytes of the caller alone', async () => {
    const { storage, lease } = await owned()
    storage.inject({ effect: 'flip', operation: 'writer.write', offset: 0 })
    await publish(lease, 'one')
    expect(BYTES).toEqual(Uint8Array.of(1, 2, 3, 4))
    expect(await storage.read('one', 10)).toEqual(Uint8Array.of(0, 2, 3, 4))
    storage.inject({ effect: 'flip', operation: 'reader.read' })
    const reader = await storage.open('one')
    expect(await reader?.read(0, 4)).toEqual(Uint8Array.of(0, 2, 2, 4))
    expect(await reader?.read(0, 4)).toEqual(Uint8Array.of(0, 2, 3, 4))
  })

  it('strikes with bytes only at calls that carry some', async () => {
    const { storage, lease } = await owned()
    storage.inject({ effect: 'flip', nth: 2 })
    await publish(lease, 'one')
    await storage.list()
    expect(await storage.read('one', 10)).toEqual(Uint8Array.of(1, 2, 2, 4))
  })

  it('counts the calls of each fault by itself', async () => {
    const storage = faulty().inject({ effect: 'fail', operation: 'list', nth: 1 })
    storage.inject({ effect: 'fail', operation: 'list', nth: 2 })
    await expect(storage.list()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await expect(storage.list()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(await storage.list()).toEqual([])
  })
})
