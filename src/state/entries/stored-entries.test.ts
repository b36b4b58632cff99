import * as fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { runThrough } from '../../base/slices.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { uint32 } from '../codec/numbers.js'
import { value } from '../kinds/definitions.js'
import { defineState } from '../schema/define-state.js'
import { openStateOf, StateStore } from '../store.js'
import { storedEntries, unsortedEntries } from './stored-entries.js'

const STATES = ['first', 'second', 'third'] as const
const schema = defineState({
  key: uint32,
  states: { first: value(uint32), second: value(uint32), third: value(uint32) },
})

async function openStore() {
  const backend = new MemoryStateBackend()
  const scans = vi.spyOn(backend, 'scanSync')
  const store = await StateStore.open(backend, schema)
  scans.mockClear()
  return { backend, store, scans }
}

function keysOf(store: object, name: string): { keys: string[]; steps: number } {
  const { context, entries } = openStateOf(store, name)
  const keys: string[] = []
  const work = storedEntries(context, entries, (storedKey, bytes) => {
    keys.push(`${Buffer.from(storedKey).toString('hex')} ${Buffer.from(bytes).toString('hex')}`)
  })
  let steps = 0
  while (work.next().done !== true) steps++
  return { keys, steps }
}

describe('storedEntries', () => {
  it('finds what each group has of a state, whatever lies between of other states', async () => {
    const writes = fc.array(fc.tuple(fc.constantFrom(...STATES), fc.nat({ max: 400 })), { maxLength: 300 })
    await fc.assert(
      fc.asyncProperty(writes, async (all) => {
        const { backend, store } = await openStore()
        for (const [name, key] of all) store[name].put(key, key)
        for (const name of STATES) {
          const { id, keyGroups } = openStateOf(store, name).context
          const expected: string[] = []
          for (const [key, bytes] of backend.scanSync()) {
            const view = new DataView(key.buffer, key.byteOffset)
            if (view.getUint16(0) < keyGroups && view.getUint16(2) === id)
              expected.push(`${Buffer.from(key).toString('hex')} ${Buffer.from(bytes).toString('hex')}`)
          }
          expect(keysOf(store, name).keys).toEqual(expected)
          expect(expected.length).toBe(new Set(all.filter(([of]) => of === name).map(([, key]) => key)).size)
        }
        await backend.close()
      }),
      { numRuns: 40 },
    )
  })

  it('asks an empty store once, and one that has a key of another state a few times', async () => {
    const { store, scans } = await openStore()
    expect(keysOf(store, 'second').keys).toEqual([])
    expect(scans).toHaveBeenCalledTimes(1)
    store.first.put(7, 7)
    store.third.put(8, 8)
    scans.mockClear()
    expect(keysOf(store, 'second').keys).toEqual([])
    expect(scans.mock.calls.length).toBeLessThanOrEqual(4)
  })

  it('goes on through all groups in one scan where nothing else is met', async () => {
    const { store, scans } = await openStore()
    for (let key = 0; key < 1_000; key++) store.second.put(key, key)
    const { keys, steps } = keysOf(store, 'second')
    expect(keys.length).toBe(1_000)
    expect(steps).toBeGreaterThan(10)
    expect(scans).toHaveBeenCalledTimes(1)
  })

  it('finds the same in any order, without a scan, and has nothing sorted', async () => {
    const writes = fc.array(fc.tuple(fc.constantFrom(...STATES), fc.nat({ max: 400 })), { maxLength: 300 })
    await fc.assert(
      fc.asyncProperty(writes, async (all) => {
        const { backend, store, scans } = await openStore()
        for (const [name, key] of all) store[name].put(key, key)
        const { orderBytes } = backend.memoryUsage()
        const found = STATES.map((name) => {
          const { context, entries } = openStateOf(store, name)
          const keys: string[] = []
          const work = unsortedEntries(context, entries, (storedKey, bytes) => {
            keys.push(`${Buffer.from(storedKey).toString('hex')} ${Buffer.from(bytes).toString('hex')}`)
          })
          runThrough(work)
          return keys.sort()
        })
        expect(scans).not.toHaveBeenCalled()
        expect(backend.memoryUsage().orderBytes).toBe(orderBytes)
        expect(found).toEqual(STATES.map((name) => keysOf(store, name).keys))
        await backend.close()
      }),
      { numRuns: 40 },
    )
  })

  it('has others take their turns while it finds nothing', async () => {
    const { store } = await openStore()
    for (let key = 0; key < 20_000; key++) store.first.put(key, key)
    const { context, entries } = openStateOf(store, 'second')
    const work = unsortedEntries(context, entries, () => expect.unreachable())
    let steps = 0
    while (work.next().done !== true) steps++
    expect(steps).toBeGreaterThan(3)
  })

  it('takes each group by itself where others are not at hand', async () => {
    const { backend, store, scans } = await openStore()
    for (let key = 0; key < 100; key++) for (const name of STATES) store[name].put(key, key)
    const all = keysOf(store, 'second').keys
    scans.mockClear()
    Object.assign(backend, { isAtHand: () => false })
    expect(keysOf(store, 'second').keys).toEqual(all)
    const { keyGroups } = openStateOf(store, 'second').context
    expect(scans).toHaveBeenCalledTimes(keyGroups)
  })

  it('fails with what takes an entry', async () => {
    const { store } = await openStore()
    store.first.put(1, 1)
    const { context, entries } = openStateOf(store, 'first')
    const work = storedEntries(context, entries, () => {
      throw new Error('not taken')
    })
    expect(() => runThrough(work)).toThrow('not taken')
  })
})
