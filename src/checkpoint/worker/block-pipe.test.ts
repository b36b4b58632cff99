import { MessageChannel, markAsUntransferable, receiveMessageOnPort } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { BlockInbox, CreditGate, ownBytes, postBytes } from './block-pipe.js'

async function settled(promise: Promise<void>): Promise<boolean> {
  let over = false
  const note = () => {
    over = true
  }
  promise.then(note, note)
  await new Promise(setImmediate)
  return over
}

describe('the gate', () => {
  it('lets through what is within the limit, and the rest when credit comes back', async () => {
    const gate = new CreditGate(100)
    await gate.take(60)
    await gate.take(40)
    const third = gate.take(50)
    expect(await settled(third)).toBe(false)
    gate.give(40)
    expect(await settled(third)).toBe(false)
    gate.give(60)
    await third
  })

  it('lets a block through that is larger than the limit, alone', async () => {
    const gate = new CreditGate(100)
    await gate.take(1_000)
    const next = gate.take(1)
    expect(await settled(next)).toBe(false)
    gate.give(1_000)
    await next
  })

  it('rejects whoever waits, and whoever comes later, once it failed', async () => {
    const gate = new CreditGate(10)
    await gate.take(10)
    const waiting = gate.take(1)
    gate.fail(new Error('gone'))
    await expect(waiting).rejects.toThrow('gone')
    await expect(gate.take(1)).rejects.toThrow('gone')
  })
})

describe('the inbox', () => {
  const block = (bytes: number) => ({ bytes: new Uint8Array(bytes), entryCount: 1 })

  it('gives the blocks in order, each with its credit, and then the end', async () => {
    const taken: number[] = []
    const inbox = new BlockInbox((bytes) => taken.push(bytes))
    const first = inbox.next()
    inbox.push(block(1))
    inbox.push(block(2))
    inbox.end()
    expect((await first)?.bytes.length).toBe(1)
    expect(taken).toEqual([1])
    expect((await inbox.next())?.bytes.length).toBe(2)
    expect(await inbox.next()).toBeUndefined()
    expect(taken).toEqual([1, 2])
  })

  it('tells a failure before what is still waiting', async () => {
    const inbox = new BlockInbox(() => {})
    inbox.push(block(1))
    inbox.fail(new Error('broken'))
    inbox.end()
    await expect(inbox.next()).rejects.toThrow('broken')
  })
})

describe('bytes that change hands', () => {
  it('have memory of their own', () => {
    const whole = new Uint8Array(8)
    expect(ownBytes(whole)).toBe(whole)
    for (const part of [whole.subarray(2, 4), new Uint8Array(new SharedArrayBuffer(4)), Buffer.from('abc')]) {
      const own = ownBytes(part)
      expect(own.buffer).toBeInstanceOf(ArrayBuffer)
      expect(own.byteLength).toBe(own.buffer.byteLength)
      expect([...own]).toEqual([...part])
    }
  })

  it('are handed over, or copied where their memory cannot be', () => {
    const { port1, port2 } = new MessageChannel()
    const bytes = new Uint8Array([1, 2, 3])
    postBytes(port1, { bytes }, bytes)
    expect(bytes.length).toBe(0)
    const kept = new Uint8Array([4])
    markAsUntransferable(kept.buffer)
    postBytes(port1, { bytes: kept }, kept)
    expect([...kept]).toEqual([4])
    expect(receiveMessageOnPort(port2)).toEqual({ message: { bytes: new Uint8Array([1, 2, 3]) } })
    expect(receiveMessageOnPort(port2)).toEqual({ message: { bytes: kept } })
    port1.close()
  })
})
