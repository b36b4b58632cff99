import { expect, it } from 'vitest'
import { remoteStorage } from './storage-service.js'

it('bytes that the thread writes go over with memory of their own, and stay its own', async () => {
  const sent: { readonly bytes?: Uint8Array; readonly memory: ArrayBuffer | undefined }[] = []
  const storage = remoteStorage(async (call, memory) => {
    sent.push({ ...(call.operation === 'write' && { bytes: call.bytes }), memory })
    // As a message does it.
    if (memory !== undefined) structuredClone(memory, { transfer: [memory] })
    return 1
  })
  const writer = await storage.create('object')
  const bytes = new Uint8Array(Buffer.from('some bytes'))
  await writer.write(bytes.subarray(5))
  expect(sent.map(({ memory }) => memory === undefined)).toEqual([true, false])
  expect(sent[1]?.bytes?.byteLength).toBe(0)
  expect(Buffer.from(bytes).toString()).toBe('some bytes')
})
