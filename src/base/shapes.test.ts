import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { anotherCopy } from '../../test/support/another-copy.js'
import * as ownBatches from '../backend/write-batch.js'
import * as ownErrors from './errors.js'
import {
  brandClass,
  hasBrand,
  isAbortSignal,
  isArrayBuffer,
  isBytes,
  isErrorLike,
  isPlainObject,
  isThenable,
} from './shapes.js'

/** Evaluated in a realm of its own. */
const foreign = (code: string): unknown => runInNewContext(code, { SharedArrayBuffer })

describe('shapes, of this realm and of another', () => {
  it('tell bytes from what only resembles them', () => {
    const bytes = [new Uint8Array(3), Buffer.alloc(3), foreign('new Uint8Array(3)')]
    for (const value of [...bytes, foreign('new (class Mine extends Uint8Array {})(3)')])
      expect(isBytes(value)).toBe(true)
    const others = [undefined, null, 'text', [1], { length: 1, 0: 1 }, new ArrayBuffer(1), new Int8Array(1)]
    const disguised = { [Symbol.toStringTag]: 'Uint8Array', length: 0 }
    const foreigners = ['new Uint8ClampedArray(1)', 'new Uint16Array(1)', 'new DataView(new ArrayBuffer(1))']
    for (const value of [...others, disguised, ...foreigners.map(foreign)]) expect(isBytes(value)).toBe(false)
  })

  it('tell memory of one thread from shared memory', () => {
    expect(isArrayBuffer(new ArrayBuffer(1))).toBe(true)
    expect(isArrayBuffer(foreign('new ArrayBuffer(1)') as ArrayBuffer)).toBe(true)
    expect(isArrayBuffer(new SharedArrayBuffer(1))).toBe(false)
  })

  it('tell errors', () => {
    const errors = [
      new Error('x'),
      new ownErrors.StateError('CLOSED', { component: 'x' }),
      AbortSignal.abort().reason,
    ]
    for (const value of [...errors, foreign('new RangeError("x")')]) expect(isErrorLike(value)).toBe(true)
    for (const value of [undefined, null, 'text', {}, { message: 'x' }, () => {}, foreign('({ name: "x" })')])
      expect(isErrorLike(value)).toBe(false)
  })

  it('say no to what throws where it is looked at, and a reason is found for it', () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    const trapped = new Proxy(
      {},
      {
        get() {
          throw new Error('trap')
        },
      },
    )
    const unreadable = {
      name: 'x',
      get message() {
        throw new Error('getter')
      },
    }
    for (const value of [proxy, trapped, unreadable]) {
      expect(isErrorLike(value)).toBe(false)
      expect(ownErrors.isStateError(value)).toBe(false)
      expect(ownErrors.reasonOf(value)).toMatch(/object/)
    }
    expect(ownErrors.reasonOf(Object.create(null))).toBe('an object that gives no reason')
  })

  it('tell signals, those of a library too', () => {
    const own = { aborted: false, addEventListener() {}, removeEventListener() {} }
    for (const value of [new AbortController().signal, own]) expect(isAbortSignal(value)).toBe(true)
    for (const value of [undefined, null, {}, new AbortController(), new EventTarget(), { aborted: true }])
      expect(isAbortSignal(value)).toBe(false)
  })

  it('tell promises', () => {
    for (const value of [Promise.resolve(), foreign('Promise.resolve()')])
      expect(isThenable(value)).toBe(true)
    for (const value of [undefined, null, 1, {}]) expect(isThenable(value)).toBe(false)
  })

  it('tell plain objects from instances of a class', () => {
    for (const value of [{}, Object.create(null), foreign('({ a: 1 })'), foreign('Object.create(null)')])
      expect(isPlainObject(value as object)).toBe(true)
    const instances = [new Date(), new Map(), [], new URL('x:y'), Object.create(Object.create(null))]
    for (const value of [...instances, foreign('new Date()'), foreign('new (class Mine {})()')])
      expect(isPlainObject(value as object)).toBe(false)
  })
})

describe('a brand', () => {
  const BRAND = Symbol.for('holdfast.test')
  class Branded {
    static {
      brandClass(Branded, BRAND)
    }
    readonly value = 1
  }

  it('is on what a class makes, and on nothing else', () => {
    expect(hasBrand(new Branded(), BRAND)).toBe(true)
    expect(hasBrand(new (class extends Branded {})(), BRAND)).toBe(true)
    for (const value of [undefined, null, 'text', {}, Branded]) expect(hasBrand(value, BRAND)).toBe(false)
  })

  it('does not show', () => {
    expect(Object.keys(new Branded())).toEqual(['value'])
    expect(JSON.stringify(new Branded())).toBe('{"value":1}')
  })
})

describe('two copies of the package', () => {
  it('know the errors and the batches of each other', async () => {
    const one = { ...ownErrors, ...ownBatches }
    const two = {
      ...((await anotherCopy('base/errors')) as typeof ownErrors),
      ...((await anotherCopy('backend/write-batch')) as typeof ownBatches),
    }
    expect(two.StateError).not.toBe(one.StateError)
    const error: unknown = new one.StateError('CLOSED', { component: 'x' })
    expect(two.isStateError(error)).toBe(true)
    expect(two.isStateError(error, 'CLOSED')).toBe(true)
    expect(two.isStateError(error, 'FENCED')).toBe(false)
    expect(two.isStateError(new Error('x'))).toBe(false)
    expect(two.isWriteBatch(new one.WriteBatch())).toBe(true)
    expect(two.isWriteBatch({ cursor() {} })).toBe(false)
  })
})
