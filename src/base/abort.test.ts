import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { orAborted } from './abort.js'

const stopped = () => new Error('stopped')

describe('work that ends with a signal', () => {
  it('leaves nothing with the signal when it has come to something', async () => {
    const { signal } = new AbortController()
    for (let i = 0; i < 10; i++) expect(await orAborted(Promise.resolve(i), signal, stopped)).toBe(i)
    await expect(orAborted(Promise.reject(new Error('lost')), signal, stopped)).rejects.toThrow('lost')
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  it('is not waited for when the signal fires, nor where it has fired', async () => {
    const controller = new AbortController()
    const waiting = orAborted(new Promise(() => {}), controller.signal, stopped)
    controller.abort()
    await expect(waiting).rejects.toThrow('stopped')
    await expect(orAborted(new Promise(() => {}), controller.signal, stopped)).rejects.toThrow('stopped')
  })
})
