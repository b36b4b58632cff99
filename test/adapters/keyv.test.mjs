// Keyv's own suite on Keyv 5, what Keyv 6 asks of a store, and cache-manager.

import keyvTestSuite, { keyvIteratorTests } from '@keyv/test-suite'
import { createCache } from 'cache-manager'
import { MemoryStateBackend } from 'holdfast'
import { KeyvStore } from 'holdfast/keyv'
import { Keyv } from 'keyv'
import { Keyv as Keyv6 } from 'keyv6'
import * as test from 'vitest'

const { afterAll, describe, expect, it } = test

const backend = new MemoryStateBackend()
afterAll(() => backend.close())
let opened = 0
const fresh = () => new KeyvStore({ backend, prefix: String(opened++) })

describe('Keyv 5', () => {
  // The suite makes a store for each Keyv, and expects that they share what they hold.
  keyvTestSuite(test, Keyv, () => new KeyvStore({ backend }))
  keyvIteratorTests(test, Keyv, () => new KeyvStore({ backend, prefix: 'iterated' }))
})

describe('Keyv 6', () => {
  it('keeps, lists and clears by namespace, with one prefix for both', async () => {
    const [prefix] = [String(opened++)]
    const people = new Keyv6({ store: new KeyvStore({ backend, prefix }), namespace: 'people' })
    const places = new Keyv6({ store: new KeyvStore({ backend, prefix }), namespace: 'places' })
    await people.set('a', { name: 'Ada' })
    await people.setMany([
      { key: 'b', value: 1 },
      { key: 'c', value: 2, ttl: 60_000 },
    ])
    await places.set('a', 'here')
    expect(await people.get('a')).toEqual({ name: 'Ada' })
    expect(await people.getMany(['b', 'c', 'd'])).toEqual([1, 2, undefined])
    const seen = []
    for await (const [key] of people.iterator()) seen.push(key)
    expect(seen).toEqual(['a', 'b', 'c'])
    expect(await people.delete('b')).toBe(true)
    await people.clear()
    expect(await people.has('a')).toBe(false)
    expect(await places.get('a')).toBe('here')
  })

  it('has lives that end, in the store too', async () => {
    const store = fresh()
    const keyv = new Keyv6({ store })
    await keyv.set('a', 1, 30)
    expect(await keyv.get('a')).toBe(1)
    await expect.poll(() => store.has('a')).toBe(false)
    expect(await keyv.get('a')).toBeUndefined()
  })
})

describe('cache-manager', () => {
  it('works on Keyv 5', async () => {
    const cache = createCache({ stores: [new Keyv({ store: fresh() })], ttl: 60_000 })
    let made = 0
    const make = () => cache.wrap('key', async () => ++made)
    expect(await make()).toBe(1)
    expect(await make()).toBe(1)
    await cache.mset([
      { key: 'a', value: 'x' },
      { key: 'b', value: 'y' },
    ])
    expect(await cache.mget(['a', 'b', 'c'])).toEqual(['x', 'y', undefined])
    await cache.del('a')
    await cache.clear()
    expect(await cache.get('b')).toBeUndefined()
  })
})
