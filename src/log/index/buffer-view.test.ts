import { describe, expect, it } from 'vitest'
import { BufferView } from './buffer-view.js'

function metOften(view: BufferView, bytes: Uint8Array): boolean {
  for (let i = 0; i < 80; i++) view.met(bytes)
  return view.bytes === bytes
}

describe('the view of the buffer that keys come in', () => {
  it('is that of a buffer that is met again and again, whatever part of its memory it is', () => {
    const view = new BufferView()
    const bytes = new Uint8Array(new ArrayBuffer(64), 7, 32).map((_, i) => i)
    const part = bytes.subarray(3, 20)
    expect(metOften(view, part)).toBe(true)
    expect(view.view.getInt32(1, true)).toBe(Buffer.from(part).readInt32LE(1))
    expect(metOften(view, bytes), 'another one takes its place').toBe(true)
  })

  it('is not that of buffers that are met once each', () => {
    const view = new BufferView()
    for (let i = 0; i < 100; i++) {
      const bytes = new Uint8Array(8)
      view.met(bytes)
      expect(view.bytes).not.toBe(bytes)
    }
  })

  it('holds on to no large buffer, and to none whose length may change or that is gone', () => {
    const view = new BufferView()
    expect(metOften(view, Buffer.from('a key in the pool of small buffers'))).toBe(true)
    expect(metOften(view, new Uint8Array(140_000).subarray(0, 8))).toBe(false)
    expect(metOften(view, new Uint8Array(0))).toBe(false)
    const resizable = Reflect.construct(ArrayBuffer, [16, { maxByteLength: 32 }]) as ArrayBuffer
    expect(metOften(view, new Uint8Array(resizable))).toBe(false)
    const transferred = new Uint8Array(8)
    view.met(transferred)
    structuredClone(transferred.buffer, { transfer: [transferred.buffer] })
    expect(metOften(view, transferred)).toBe(false)
  })
})
