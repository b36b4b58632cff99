import { describe, expect, expectTypeOf, it } from 'vitest'
import { asynchronousBackend } from '../../../test/support/asynchronous-backend.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../codec/byte-strings.js'
import { none, tuple } from '../codec/composite.js'
import { float64, int32, uint32 } from '../codec/numbers.js'
import { struct } from '../codec/struct.js'
import { defineState } from '../schema/define-state.js'
import { boundStatesOf, StateStore } from '../store.js'
import { aggregating, list, map, reducing, value } from './definitions.js'

const schema = defineState({
  key: tuple(utf8, int32),
  states: {
    count: value(uint32, { default: () => 0 }),
    place: value(struct({ x: float64 })),
    last: list(utf8, { maxLength: 3 }),
    seen: map(utf8, none),
    prices: map(utf8, float64),
    sum: reducing(float64, (left, right) => left + right),
    total: aggregating(struct({ count: uint32, cost: float64 }), (total, cost: number) => {
      total.count++
      total.cost += cost
    }),
  },
})

async function open() {
  const store = await StateStore.open(new MemoryStateBackend(), schema)
  const { key, states } = boundStatesOf<typeof schema, 'sync'>(store)
  return { store, key, states }
}

describe('states that are bound to a key', () => {
  it('are the same states, of the key that was set last', async () => {
    const { store, key, states } = await open()
    const keys: [string, number][] = [
      ['a', 1],
      ['bb', 2],
      ['a', 1],
      ['a longer one', -3],
    ]
    for (const [i, each] of keys.entries()) {
      key.set(each)
      states.count.update((count) => count + 1)
      states.place.put({ x: i })
      states.last.append(`${i}`, `${i}!`)
      states.seen.put(`s${i}`)
      states.prices.put('p', i)
      states.prices.update('q', (price) => (price ?? 0) + i)
      states.sum.add(i)
      states.total.add(i)
      expect(states.count.get()).toBe(store.count.get(each))
      expect(states.place.view()?.x).toBe(i)
      expect(states.place.has()).toBe(true)
      expect(states.sum.get()).toBe(store.sum.get(each))
      expect(states.total.view()?.cost).toBe(store.total.get(each)?.cost)
    }
    expect(store.count.get(['a', 1])).toBe(2)
    expect(store.count.get(['bb', 2])).toBe(1)
    expect(store.last.get(['a', 1])).toEqual(['0!', '2', '2!'])
    expect([...store.seen.keys(['a', 1])]).toEqual(['s0', 's2'])
    expect(store.total.get(['a longer one', -3])).toEqual({ count: 1, cost: 3 })
    key.set(['a', 1])
    expect([...states.prices.entries()]).toEqual([
      ['p', 2],
      ['q', 2],
    ])
    expect(states.prices.size()).toBe(2)
    expect(states.last.length()).toBe(3)
    expect(states.last.at(-1)).toBe('2!')
    expect(states.count.putIfAbsent(9)).toBe(false)
    expect(states.prices.putIfAbsent('r', 9)).toBe(true)
    states.prices.delete('p')
    states.last.trim(1)
    states.seen.clear()
    states.sum.delete()
    expect(states.seen.has('s0')).toBe(false)
    expect([...states.prices.keys({ gte: 'q' })]).toEqual(['q', 'r'])
    expect(states.last.get()).toEqual(['2!'])
    states.last.clear()
    expect(store.last.length(['a', 1])).toBe(0)
    expect(store.sum.has(['a', 1])).toBe(false)
  })

  it('show by a scan the key that it was begun with, also when the key is another one', async () => {
    const { key, states } = await open()
    key.set(['a', 1])
    states.last.append('x', 'y')
    states.prices.put('p', 1)
    const values = states.last.values()
    const entries = states.prices.entries()
    key.set(['b', 2])
    states.last.append('z')
    states.prices.put('p', 2)
    expect([...values]).toEqual(['x', 'y'])
    expect([...entries]).toEqual([['p', 1]])
  })

  it('name the key that is none', async () => {
    const { key, states } = await open()
    key.set(['a', 1.5])
    expect(() => states.count.get()).toThrow(/1\.5/)
    key.set(['a', 1])
    expect(states.count.get()).toBe(0)
  })

  it('go on from an encoded key without encoding it anew', async () => {
    const { store, key, states } = await open()
    const { bytes } = store.key(['a', 7])
    key.setEncoded(['a', 7], Uint8Array.of(1, ...bytes, 9), 1, 1 + bytes.length)
    states.count.put(3)
    expect(store.count.get(['a', 7])).toBe(3)
  })

  it('have the methods without the key, as types say', async () => {
    const { states } = await open()
    expectTypeOf(states.count.get).toEqualTypeOf<() => number>()
    expectTypeOf(states.total.add).toEqualTypeOf<(added: number) => void>()
    expectTypeOf(states.last.append).toEqualTypeOf<(...elements: string[]) => void>()
    expectTypeOf(states.prices.put).toEqualTypeOf<(mapKey: string, value: number) => void>()
    expectTypeOf<keyof typeof states.count>().toEqualTypeOf<
      'get' | 'has' | 'put' | 'putIfAbsent' | 'update' | 'delete'
    >()
    expect(Object.isFrozen(states)).toBe(true)
  })

  it('give promises over an asynchronous engine, of the key that was set when they were called', async () => {
    const store = await StateStore.open(asynchronousBackend().backend, schema)
    const { key, states } = boundStatesOf<typeof schema, 'async'>(store)
    key.set(['a', 1])
    const first = states.count.put(5)
    const changed = states.count.update((count) => count + 1)
    key.set(['b', 2])
    await Promise.all([first, changed, states.count.put(7)])
    expect(await store.count.get(['a', 1])).toBe(6)
    expect(await states.count.get()).toBe(7)
  })
})
