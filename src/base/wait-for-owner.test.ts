import { describe, expect, it } from 'vitest'
import { StateError } from './errors.js'
import { waitForOwner } from './wait-for-owner.js'

const refusal = new StateError('FENCED', { resource: 'store', owner: 'another one' })

describe('waiting for an owner to let go', () => {
  it('is one attempt where nothing is to be waited', async () => {
    let attempts = 0
    const refused = waitForOwner(
      () => {
        attempts++
        return Promise.reject(refusal)
      },
      0,
      () => Promise.reject(new Error('waited')),
    )
    await expect(refused).rejects.toBe(refusal)
    expect(attempts).toBe(1)
  })

  it('ends with success as soon as the owner has let go', async () => {
    let attempts = 0
    const acquire = () => (++attempts < 4 ? Promise.reject(refusal) : Promise.resolve('owner'))
    expect(await waitForOwner(acquire, 60_000, async () => {})).toBe('owner')
    expect(attempts).toBe(4)
  })

  it('ends with the refusal when the time is over', async () => {
    let waitedMs = 0
    const wait = async (ms: number) => void (waitedMs += ms)
    await expect(waitForOwner(() => Promise.reject(refusal), 60_000, wait)).rejects.toBe(refusal)
    expect(waitedMs).toBeGreaterThan(50_000)
    expect(waitedMs).toBeLessThanOrEqual(60_000)
  })

  it('ends at once with any other error', async () => {
    const error = new Error('disk on fire')
    const wait = () => Promise.reject(new Error('waited'))
    await expect(waitForOwner(() => Promise.reject(error), 60_000, wait)).rejects.toBe(error)
  })
})
