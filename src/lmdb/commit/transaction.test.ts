import { describe, expect, it } from 'vitest'
import { damageTold } from './transaction.js'

const messageAt = (position: number) =>
  `Attempting to write page at position ${position}, size 212992, blocks 5, buffer sizes 65536 65536 65536`
const failure = (message: string) => new Error(`Input/output error: ${message}`)

describe("LMDB's message about a page that was not written", () => {
  it('tells by its length that it took more memory than there was for it', () => {
    const fits = messageAt(14_745_600_000)
    // The package asks for 100 bytes, of which allocators make 104, and writes a zero at the end.
    expect(fits.length + 1).toBe(104)
    expect(damageTold(failure(fits))).toBeUndefined()
    const cause = failure(messageAt(147_456_000_000))
    expect(damageTold(cause)).toMatchObject({
      code: 'STORAGE_ERROR',
      details: { storage: 'lmdb', operation: 'commit', memoryDamaged: true },
      cause,
    })
  })

  it('is not every reason for which a commit fails', () => {
    expect(damageTold(failure(''))).toBeUndefined()
    expect(damageTold(new Error(`${'.'.repeat(200)}`))).toBeUndefined()
    expect(damageTold(undefined)).toBeUndefined()
  })
})
