import { basename, join, resolve } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  checkObjectName,
  isObjectName,
  isTemporaryName,
  leaseFileName,
  leaseTokenOf,
  newTemporaryName,
} from './file-names.js'

describe('object names', () => {
  it('are 1 to 128 characters of a-z 0-9 . - and do not begin with a dot', () => {
    for (const good of ['a', '0', '-', 'a.', 'a..b', 'chk-0000000042.manifest', 'x'.repeat(128)]) {
      expect(isObjectName(good), good).toBe(true)
    }
    for (const bad of [
      '',
      '.',
      '..',
      '.a',
      'A',
      'a/b',
      'a\\b',
      'a\0',
      'a\n',
      'ı',
      'x'.repeat(129),
      null,
      1,
    ]) {
      expect(isObjectName(bad), String(bad)).toBe(false)
      expect(() => checkObjectName(bad)).toThrow('must be 1 to 128 characters')
    }
  })

  it('never leave the directory, whatever the string', () => {
    const text = fc.oneof(
      fc.string({ unit: fc.constantFrom('a', 'Z', '0', '.', '-', '/', '\\', '\0', '%'), maxLength: 12 }),
      fc.string({ unit: 'binary', maxLength: 140 }),
    )
    fc.assert(
      fc.property(text, (name) => {
        if (!isObjectName(name)) return
        expect(resolve('/base', name)).toBe(join('/base', name))
        expect(basename(name)).toBe(name)
        expect(name.toLowerCase()).toBe(name)
      }),
      { numRuns: 500 },
    )
  })

  it('are disjoint from lease and temporary files', () => {
    expect(isObjectName(leaseFileName(7))).toBe(false)
    expect(isObjectName(newTemporaryName())).toBe(false)
    expect(isTemporaryName(newTemporaryName())).toBe(true)
    expect(isTemporaryName(leaseFileName(7))).toBe(false)
    expect(leaseTokenOf(newTemporaryName())).toBeUndefined()
  })

  it('carry lease tokens, in one spelling only', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (token) => {
        expect(leaseTokenOf(leaseFileName(token))).toBe(token)
      }),
    )
    for (const other of [
      '.lease-1',
      '.lease-0000000000',
      '.lease-00000000001',
      '.lease-9999999999999999',
      'lease-0000000001',
    ]) {
      expect(leaseTokenOf(other), other).toBeUndefined()
    }
  })
})
