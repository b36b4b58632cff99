import { expect, it } from 'vitest'
import { WriteBatch } from '../backend/write-batch.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const bytes = (text: string) => Buffer.from(text)

it('where keys are in order, an asynchronous deleteRange happens in the step of its call: what is put after it stays', async () => {
  await using backend = new MemoryStateBackend()
  for (let i = 0; i < 100; i++) backend.putSync(bytes(`k${i}`), bytes('v'))
  expect([...backend.scanSync({ limit: 1 })].length).toBe(1)
  const deleted = backend.deleteRange({ prefix: bytes('k1') })
  backend.putSync(bytes('k1'), bytes('later'))
  const written = backend.write(
    new WriteBatch().deleteRange({ prefix: bytes('k2') }).put(bytes('k3'), bytes('batch')),
  )
  backend.putSync(bytes('k3'), bytes('later'))
  await Promise.all([deleted, written])
  expect(backend.getSync(bytes('k1'))).toEqual(Uint8Array.from(bytes('later')))
  expect(backend.getSync(bytes('k3'))).toEqual(Uint8Array.from(bytes('later')))
  expect(backend.stats().entries).toBe(100 - 11 - 11 + 1)
})
