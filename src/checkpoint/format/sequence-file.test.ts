import { describe, expect, it } from 'vitest'
import { sealJson } from './sealed-json.js'
import { FRESH_SEQUENCE, formatSequence, parseSequence, reconcileSequence } from './sequence-file.js'

describe('the persisted sequence', () => {
  it('parses back, and is readable by eye', () => {
    const state = { reserved: 43, published: 42, newest: 41 }
    expect(parseSequence(formatSequence(state))).toEqual(state)
    expect(Buffer.from(formatSequence(state)).toString()).toMatch(
      /^\{\n {2}"format": "holdfast-sequence",\n {2}"version": 1,\n {2}"reserved": 43,\n {2}"published": 42,\n {2}"newest": 41,\n {2}"checksum": "[0-9a-f]{64}"\n\}\n$/,
    )
  })

  it('notices every flipped byte and every cut', () => {
    const bytes = formatSequence({ reserved: 43, published: 42, newest: 42 })
    for (let position = 0; position < bytes.length; position++) {
      for (const pattern of [1, 2, 4, 8, 0xff]) {
        const flipped = bytes.slice()
        flipped[position] = (bytes[position] as number) ^ pattern
        expect(() => parseSequence(flipped)).toThrow(expect.objectContaining({ code: 'CORRUPTION' }))
      }
      expect(() => parseSequence(bytes.slice(0, position))).toThrow(
        expect.objectContaining({ code: 'CORRUPTION' }),
      )
    }
  })

  it.each([
    [{ reserved: 1, published: 2, newest: 1 }, 'CORRUPTION'],
    [{ reserved: 2, published: 1, newest: 2 }, 'CORRUPTION'],
    [{ reserved: -1, published: 0, newest: 0 }, 'CORRUPTION'],
    [{ reserved: 1, published: 1, newest: 1, extra: 1 }, 'INCOMPATIBLE'],
    [{ reserved: 1, published: 1, newest: 1, version: 2 }, 'INCOMPATIBLE'],
  ])('is strict: %j', (members, code) => {
    const { bytes } = sealJson({ format: 'holdfast-sequence', version: 1, ...members })
    expect(() => parseSequence(bytes)).toThrow(expect.objectContaining({ code }))
  })

  it('is only ever corrected upwards by the names that exist', () => {
    const stored = { reserved: 10, published: 9, newest: 8 }
    expect(reconcileSequence(stored, { largest: 7, largestManifest: 7 })).toEqual(stored)
    expect(reconcileSequence(stored, { largest: 12, largestManifest: 11 })).toEqual({
      reserved: 12,
      published: 11,
      newest: 11,
    })
    expect(reconcileSequence(undefined, { largest: 0, largestManifest: 0 })).toEqual(FRESH_SEQUENCE)
    expect(reconcileSequence(undefined, { largest: 5, largestManifest: 0 })).toEqual({
      reserved: 5,
      published: 5,
      newest: 0,
    })
  })
})
