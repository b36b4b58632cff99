import { describe, expect, it, vi } from 'vitest'
import { iterableSource } from './iterable-source.js'
import type { Position } from './source.js'

const request = { maxEvents: 10, waitMs: 0, paused: new Set<string>() }

describe('a source of a generator', () => {
  it('leaves nothing with what it waits for when that does not come: a generator may be quiet for as long as a job runs', async () => {
    let arrive: (next: IteratorResult<readonly [string, Position]>) => void = () => {}
    const next = new Promise<IteratorResult<readonly [string, Position]>>((resolve) => {
      arrive = resolve
    })
    const listens = vi.spyOn(next, 'then')
    const quiet = { [Symbol.asyncIterator]: () => ({ next: () => next }) }
    const reader = await iterableSource<string>({ from: () => quiet }).open({ positions: {} })
    for (let i = 0; i < 20; i++) expect(await reader.poll(request)).toMatchObject([{ events: [] }])
    expect(listens).toHaveBeenCalledOnce()
    const polling = reader.poll({ ...request, maxEvents: 1, waitMs: 1_000_000 })
    await new Promise(setImmediate)
    arrive({ value: ['a', 1], done: false })
    expect(await polling).toMatchObject([{ events: ['a'] }])
    await reader.close()
  })

  it('says what it wants of a generator that gives events without positions', async () => {
    const from = () => ['a'] as unknown as Iterable<readonly [string, Position]>
    const reader = await iterableSource<string>({ from }).open({ positions: {} })
    await expect(reader.poll(request)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('[event, position]'),
    })
  })
})
