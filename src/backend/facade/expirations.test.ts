import { describe, expect, it } from 'vitest'
import { Listeners } from '../../base/events.js'
import { nextTurn } from '../../base/slices.js'
import type { ExpiryEvents } from '../types.js'
import { Expirations } from './expirations.js'

const key = (text: string) => () => new TextEncoder().encode(text)

function setUp() {
  const listeners = new Listeners<ExpiryEvents>(['expired'])
  const told: string[] = []
  listeners.on('expired', ({ keys }) => told.push(keys.map((each) => new TextDecoder().decode(each)).join()))
  return { listeners, told, expirations: new Expirations(listeners) }
}

describe('entries that have expired', () => {
  it('are told together, once, by the call that found them', async () => {
    const { told, expirations } = setUp()
    expirations.add(key('a'))
    expirations.add(key('b'))
    expect(told).toEqual([])
    expirations.tell()
    expirations.tell()
    await nextTurn()
    expect(told).toEqual(['a,b'])
    expect(expirations.count).toBe(2)
  })

  it('are told when the step is over where the call that found them cannot do so', async () => {
    const { told, expirations } = setUp()
    expirations.add(key('a'))
    await Promise.resolve()
    expirations.add(key('b'))
    expect(told).toEqual(['a'])
    await Promise.resolve()
    expect(told).toEqual(['a', 'b'])
  })

  it('are counted, but their keys not copied, while nobody listens', () => {
    const expirations = new Expirations(new Listeners<ExpiryEvents>(['expired']))
    expirations.add(() => expect.unreachable())
    expect(expirations.count).toBe(1)
  })

  it('in calls of a listener are told later, and leave the event loop its turns, however many times they do it again', async () => {
    const { listeners, told, expirations } = setUp()
    let depth = 0
    listeners.on('expired', () => {
      expect(depth++).toBe(0)
      expirations.add(key('again'))
      expirations.tell()
      depth--
    })
    expirations.add(key('a'))
    expirations.tell()
    expect(told).toEqual(['a'])
    await nextTurn()
    const after = told.length
    expect(after).toBeLessThan(4)
    await nextTurn()
    await nextTurn()
    expect(told.length).toBeGreaterThan(after)
    expect(told.length).toBeLessThan(8)
  })
})
