import { describe, expect, it } from 'vitest'
import { isStateError } from '../../base/errors.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { KeyvStore } from './keyv-store.js'

// @keyv/test-suite and both Keyvs run in `npm run test:adapters`; here is what they do not ask.

function open(options: { readonly prefix?: string } = {}) {
  const clock = new ManualClock()
  const backend = new MemoryStateBackend({ clock })
  return { clock, backend, store: new KeyvStore({ backend, ...options }) }
}

async function keysOf(store: KeyvStore, namespace?: string): Promise<string[]> {
  const keys: string[] = []
  for await (const [key] of store.iterator(namespace)) keys.push(key)
  return keys
}

describe('a store for Keyv', () => {
  it('removes what has expired though nobody asks for it, up to any life', async () => {
    const { clock, backend, store } = open()
    await store.setMany([
      { key: 'a', value: 'x', ttl: 1_000 },
      { key: 'b', value: 'x', ttl: 2 ** 31 + 1 },
      { key: 'c', value: 'x', ttl: Infinity },
      { key: 'd', value: 'x' },
    ])
    clock.advance(1_000)
    expect(await store.hasMany(['a', 'b', 'c', 'd'])).toEqual([false, true, true, true])
    await expect.poll(() => backend.stats().entries).toBe(3)
    await backend.close()
  })

  it('ends lives beyond 2^31 milliseconds when they end, and not before', async () => {
    const clock = new ManualClock()
    // Its sweep would come two million times on the way.
    const backend = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
    const store = new KeyvStore({ backend })
    await store.set('a', 'x', 2 ** 31 + 1)
    clock.advance(2 ** 31)
    expect(await store.get('a')).toBe('x')
    clock.advance(1)
    expect(await store.get('a')).toBeUndefined()
    await backend.close()
  })

  it('takes a life that is over for a removal, and no number for a mistake of the caller', async () => {
    const { store, backend } = open()
    for (const ttl of [0, -1, -Infinity]) {
      await store.set('a', 'x')
      expect(await store.set('a', 'y', ttl)).toBe(true)
      expect(await store.get('a')).toBeUndefined()
    }
    const refused = await store.set('a', 'x', Number.NaN).catch((error: unknown) => error)
    expect(isStateError(refused, 'INVALID_ARGUMENT')).toBe(true)
    await backend.close()
  })

  it('gives back what was set, with or without a serializer', async () => {
    const { store, backend } = open()
    const values = [
      '',
      'text',
      '\ufefftext',
      'half \ud83d',
      { value: 1n, at: new Date(0) },
      new Map([['a', [1]]]),
      null,
      7,
    ]
    for (const value of values) {
      await store.set('key', value)
      expect(await store.get('key')).toEqual(value)
    }
    const refused = await store.set('key', () => {}).catch((error: unknown) => error)
    expect(isStateError(refused, 'SERIALIZATION_FAILED')).toBe(true)
    expect(await store.get('key')).toBe(7)
    await backend.close()
  })

  it('clears and iterates over its namespace only, whatever others begin with', async () => {
    const { backend, store } = open()
    const other = new KeyvStore({ backend, prefix: 'keyv2' })
    await other.set('people:1', 'x')
    for (const key of ['people:1', 'people2:1', 'people', 'x']) await store.set(key, key)
    store.namespace = 'people'
    expect(await keysOf(store, 'people')).toEqual(['people:1'])
    await store.clear()
    expect(await keysOf(store)).toEqual(['people', 'people2:1', 'x'])
    const all = new KeyvStore({ backend })
    await all.clear()
    expect(await keysOf(store)).toEqual([])
    expect(await keysOf(other)).toEqual(['people:1'])
    await backend.close()
  })

  it('tells of keys as they were set, and refuses those that are no text', async () => {
    const { store, backend } = open()
    const keys = ['', 'a', '\ud83d\ude00', '\ufeffa']
    for (const key of keys) await store.set(key, key)
    expect((await keysOf(store)).toSorted()).toEqual(keys.toSorted())
    // UTF-8 has one form for all halves of a character.
    for (const half of ['\ud83d', 'a\ude00']) {
      for (const work of [store.set(half, 'x'), store.get(half), store.delete(half), keysOf(store, half)]) {
        await expect(work).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      }
      expect(() => open({ prefix: half })).toThrow('options.prefix')
    }
    expect(await keysOf(store)).toHaveLength(keys.length)
    await backend.close()
  })

  it('sets and deletes many in one step, and tells whether all were there', async () => {
    const { store, backend } = open()
    const tooLong = 'k'.repeat(3_000)
    const refused = await store
      .setMany([
        { key: 'a', value: 'x' },
        { key: tooLong, value: 'x' },
      ])
      .catch((error: unknown) => error)
    expect(isStateError(refused, 'INVALID_ARGUMENT')).toBe(true)
    expect(await store.has('a')).toBe(false)
    await store.setMany([{ key: 'a', value: 'x' }])
    expect(await store.deleteMany(['a', 'b'])).toBe(false)
    expect(await store.delete('a')).toBe(false)
    await backend.close()
  })

  it('has nothing that tells Keyv 6 that it knows of namespaces or of absolute times', () => {
    const { store } = open()
    expect('namespace' in store).toBe(false)
    expect('capabilities' in store).toBe(false)
  })
})
