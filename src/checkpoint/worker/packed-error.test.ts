import { describe, expect, it } from 'vitest'
import { StateError } from '../../base/errors.js'
import { ErrorCourier, type PackedError } from './packed-error.js'

/** As between threads: everything is cloned. */
function carried(from: ErrorCourier, to: ErrorCourier, error: unknown): unknown {
  return to.unpack(structuredClone<PackedError>(from.pack(error)))
}

describe('errors between threads', () => {
  it('keep code, details and causes', () => {
    const system = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
    const details = { storage: 'file:/x', operation: 'write', reason: 'full' }
    const error = new StateError('STORAGE_ERROR', details, {
      cause: new AggregateError([system, 'thrown'], 'both'),
    })
    const arrived = carried(new ErrorCourier(), new ErrorCourier(), error) as StateError
    expect(arrived).toBeInstanceOf(StateError)
    expect(arrived).toMatchObject({
      code: 'STORAGE_ERROR',
      details,
      message: error.message,
      stack: error.stack,
    })
    const cause = arrived.cause as AggregateError
    expect(cause).toBeInstanceOf(AggregateError)
    expect(cause.errors).toMatchObject([{ code: 'ENOSPC', message: system.message }, { message: 'thrown' }])
  })

  it('keep the name of what is a bug', () => {
    const error = new TypeError('x is not a function')
    expect(String(carried(new ErrorCourier(), new ErrorCourier(), error))).toBe(
      'TypeError: x is not a function',
    )
  })

  it('are the same object again where they came from, as a cause too', () => {
    const main = new ErrorCourier()
    const thread = new ErrorCourier()
    const original = new Error('disk on fire')
    const there = carried(main, thread, original) as Error
    expect(there).not.toBe(original)
    expect(carried(thread, main, there)).toBe(original)
    expect((carried(thread, main, new Error('wrapped', { cause: there })) as Error).cause).toBe(original)
    const value = carried(main, thread, 'no error at all')
    expect(carried(thread, main, value)).toBe('no error at all')
  })
})
