import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { orAborted, underEither } from './abort.js'

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

describe('work under either of two signals', () => {
  const listeners = (...of: readonly AbortController[]) =>
    of.map(({ signal }) => getEventListeners(signal, 'abort').length)

  it('leaves nothing with them when it is over', async () => {
    const [first, second] = [new AbortController(), new AbortController()]
    const signals = [first.signal, second.signal]
    const during = await underEither(signals, async () => listeners(first, second))
    expect([during, listeners(first, second)]).toEqual([
      [1, 1],
      [0, 0],
    ])
    await expect(underEither(signals, () => Promise.reject(new Error('lost')))).rejects.toThrow('lost')
    expect(listeners(first, second)).toEqual([0, 0])
  })

  it('is told when one fires, or has fired, and why', async () => {
    const [first, second] = [new AbortController(), new AbortController()]
    const signals = [first.signal, second.signal]
    const told = await underEither(signals, async (either) => {
      second.abort('why')
      return either
    })
    expect([told.aborted, told.reason]).toEqual([true, 'why'])
    expect(await underEither(signals, async ({ aborted }) => aborted)).toBe(true)
    expect(listeners(first, second)).toEqual([0, 0])
  })
})
