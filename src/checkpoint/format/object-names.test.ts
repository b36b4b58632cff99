import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkpointId, manifestName, parseObjectName, segmentName, sequenceOf } from './object-names.js'

describe('names of stored objects', () => {
  it('are these', () => {
    expect(checkpointId(42)).toBe('chk-0000000042')
    expect(manifestName(42)).toBe('chk-0000000042.manifest')
    expect(segmentName(42, 'base')).toBe('chk-0000000042.base.segment')
    expect(segmentName(12_345_678_901, 'delta')).toBe('chk-12345678901.delta.segment')
    expect(segmentName(7, 'merged')).toBe('chk-0000000007.merged.segment')
    expect(segmentName(1, 'savepoint')).toBe('chk-0000000001.savepoint.segment')
  })

  it('parse back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (sequence) => {
        expect(sequenceOf(checkpointId(sequence))).toBe(sequence)
        expect(parseObjectName(manifestName(sequence))).toEqual({ type: 'manifest', sequence })
        for (const kind of ['base', 'delta', 'merged', 'savepoint'] as const) {
          expect(parseObjectName(segmentName(sequence, kind))).toEqual({ type: 'segment', sequence, kind })
        }
      }),
    )
    expect(parseObjectName('sequence')).toEqual({ type: 'sequence' })
  })

  it.each([
    '',
    'chk-42.manifest',
    'chk-00000000042.manifest',
    'chk-0000000000.manifest',
    'chk-9007199254740993.manifest',
    'chk-0000000042.manifest.bak',
    'xchk-0000000042.manifest',
    'chk-0000000042.other.segment',
    'chk-0000000042.segment',
    'chk-0000000042',
    'chk-0000000042.base.segment\n',
    '../chk-0000000042.manifest',
    'README',
  ])('leave %j to others', (name) => {
    expect(parseObjectName(name)).toBeUndefined()
  })
})
