import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { describe, expect, it, onTestFinished } from 'vitest'
import { nextTurn } from '../../base/slices.js'
import { BuilderLink, BYTES_AT_ONCE, type FromBuilder, type ToBuilder } from './builder-link.js'
import { ErrorCourier } from './packed-error.js'
import { MAX_BYTES_IN_FLIGHT } from './worker-protocol.js'

interface Bench {
  readonly link: BuilderLink
  readonly port: MessagePort
  readonly inbox: ToBuilder[]
  readonly controller: AbortController
}

function bench(): Bench {
  const { port1, port2 } = new MessageChannel()
  const inbox: ToBuilder[] = []
  port2.on('message', (message: ToBuilder) => inbox.push(message))
  const controller = new AbortController()
  onTestFinished(() => port1.close())
  return { link: new BuilderLink(port1, controller.signal), port: port2, inbox, controller }
}

const blockOf = (byteLength: number, fill: number) => ({
  bytes: new Uint8Array(byteLength).fill(fill),
  entryCount: fill,
})

function post(port: MessagePort, message: FromBuilder): void {
  port.postMessage(message)
}

/** The other thread's end, which sees that each block holds one byte again and again: its count of entries. */
class Builder {
  readonly memory: Uint8Array[] = []
  readonly taken: { readonly byteLength: number; readonly fill: number | undefined }[] = []

  take(message: ToBuilder): number[] {
    if (message.kind === 'finish') return []
    return message.blocks.map(({ place, memory, byteLength, entryCount }) => {
      if (memory !== undefined) this.memory[place] = new Uint8Array(memory)
      const bytes = (this.memory[place] as Uint8Array).subarray(0, byteLength)
      const isWhole = Buffer.compare(bytes, Buffer.alloc(byteLength, entryCount)) === 0
      this.taken.push({ byteLength, fill: isWhole ? entryCount : undefined })
      return place
    })
  }
}

describe('blocks on their way to the thread that puts them together', () => {
  it('come as they were and in order, whatever their sizes, from places that are used again when they were taken', async () => {
    const { link, port, inbox } = bench()
    const builder = new Builder()
    const sizes = [1, 300_000, MAX_BYTES_IN_FLIGHT + 5, 7, BYTES_AT_ONCE, 250_000, MAX_BYTES_IN_FLIGHT]
    const blocks = Array.from({ length: 35 }, (_, i) => blockOf(sizes[i % sizes.length] as number, i + 1))
    let added = 0
    const adding = (async () => {
      for (const block of blocks) {
        await link.add(block)
        // The memory is the caller's again.
        block.bytes.fill(0)
        added++
      }
      return await link.finish()
    })()
    let isOver = false
    while (!isOver) {
      await nextTurn()
      const message = inbox.shift()
      if (message === undefined) continue
      const places = builder.take(message)
      if (message.kind === 'finish') isOver = true
      else post(port, { kind: 'taken', places })
    }
    post(port, { kind: 'built', built: { data: 'done', transferList: [] } })
    expect((await adding).data).toBe('done')
    expect(added).toBe(blocks.length)
    expect(builder.taken).toEqual(
      blocks.map(({ bytes, entryCount }) => ({ byteLength: bytes.length, fill: entryCount })),
    )
    expect(builder.memory.length).toBeLessThan(40)
  })

  it('wait where too many are on their way', async () => {
    const { link, inbox } = bench()
    let added = 0
    const adding = (async () => {
      for (;;) {
        await link.add(blockOf(1_000_000, 1))
        added++
      }
    })()
    adding.catch(() => {})
    for (let i = 0; i < 50; i++) await nextTurn()
    expect(added).toBe(Math.floor(MAX_BYTES_IN_FLIGHT / 1_000_000))
    const sent = inbox.flatMap((message) => (message.kind === 'blocks' ? message.blocks : []))
    expect(sent).toHaveLength(added)
  })

  it('are not taken any more after a failure, which is told by the calls that wait and by those that come', async () => {
    const { link, port } = bench()
    const waiting = (async () => {
      for (;;) await link.add(blockOf(MAX_BYTES_IN_FLIGHT, 1))
    })()
    post(port, { kind: 'failed', error: new ErrorCourier().pack(new RangeError('no memory')) })
    await expect(waiting).rejects.toThrow('no memory')
    await expect(link.add(blockOf(1, 1))).rejects.toThrow('no memory')
    await expect(link.finish()).rejects.toThrow('no memory')
  })

  it('are not taken any more when the job is aborted', async () => {
    const { link, controller } = bench()
    const waiting = (async () => {
      for (;;) await link.add(blockOf(MAX_BYTES_IN_FLIGHT, 1))
    })()
    const finished = link.finish()
    controller.abort(new Error('no longer wanted'))
    await expect(waiting).rejects.toThrow('no longer wanted')
    await expect(finished).rejects.toThrow('no longer wanted')
  })
})
