import { describe, expect, it } from 'vitest'
import { isStateError, type StateErrorCode } from '../../base/errors.js'
import { sha256Hex } from '../../codec/checksum.js'
import { formatManifest, MAX_MANIFEST_BYTES, type Manifest, metadataOf, parseManifest } from './manifest.js'
import { checkpointId, segmentName } from './object-names.js'
import { sealJson } from './sealed-json.js'

const segment = {
  name: 'chk-0000000042.base.segment',
  role: 'base',
  sizeBytes: 1_234,
  rawBytes: 5_678,
  entryCount: 90,
  sha256: 'ab'.repeat(32),
} as const

const manifest: Manifest = {
  id: checkpointId(42),
  sequence: 42,
  createdAt: new Date('2026-03-04T05:06:07.089Z'),
  kind: 'full',
  savepoint: false,
  validated: true,
  backend: 'memory',
  compression: 'lz4',
  clockMs: 1_772_600_767_089.5,
  entryCount: 90,
  segments: [segment],
  holdfast: '0.1.0',
  source: { partitions: [17, { offset: 'é' }], done: null },
}

const golden = `{
  "format": "holdfast-checkpoint",
  "version": 1,
  "id": "chk-0000000042",
  "sequence": 42,
  "createdAt": "2026-03-04T05:06:07.089Z",
  "kind": "full",
  "savepoint": false,
  "validated": true,
  "backend": "memory",
  "compression": "lz4",
  "clockMs": 1772600767089.5,
  "entryCount": 90,
  "segments": [
    {
      "name": "chk-0000000042.base.segment",
      "role": "base",
      "sizeBytes": 1234,
      "rawBytes": 5678,
      "entryCount": 90,
      "sha256": "abababababababababababababababababababababababababababababababab"
    }
  ],
  "schema": {},
  "holdfast": "0.1.0",
  "source": {
    "partitions": [
      17,
      {
        "offset": "é"
      }
    ],
    "done": null
  },
  "checksum": "da87c9bf6774f4d7246e5c4c13ab8c31d2c44960006800a72de43f30c8e08810"
}
`

function contentOf(text: string): Record<string, unknown> {
  const content = JSON.parse(text) as Record<string, unknown>
  delete content['checksum']
  return content
}

function codeOf(bytes: Uint8Array, sequence = 42): StateErrorCode | undefined {
  try {
    parseManifest(bytes, sequence)
    return undefined
  } catch (error) {
    if (isStateError(error)) return error.code
    throw error
  }
}

describe('a manifest', () => {
  it('has these exact bytes', () => {
    const { bytes, checksum } = formatManifest(manifest)
    expect(Buffer.from(bytes).toString()).toBe(golden)
    expect(checksum).toBe(sha256Hex(golden.slice(0, golden.indexOf(',\n  "checksum"'))))
  })

  it('parses back, and gives its metadata', () => {
    const { bytes, checksum } = formatManifest(manifest)
    const stored = parseManifest(bytes, 42)
    expect(stored.manifest).toEqual(manifest)
    expect(metadataOf(stored)).toEqual({
      id: 'chk-0000000042',
      sequence: 42,
      createdAt: manifest.createdAt,
      kind: 'full',
      savepoint: false,
      entryCount: 90,
      sizeBytes: 1_234 + bytes.length,
      checksum,
      validated: true,
      version: 1,
      source: manifest.source,
    })
    const { source: _, ...without } = manifest
    expect(metadataOf(parseManifest(formatManifest(without).bytes, 42))).not.toHaveProperty('source')
  })

  it('may begin with a merged segment, which is a base, and has an earlier number', () => {
    const merged = { ...segment, name: segmentName(40, 'merged') }
    const delta = { ...segment, name: segmentName(42, 'delta'), role: 'delta' } as const
    const incremental: Manifest = { ...manifest, kind: 'incremental', segments: [merged, delta] }
    expect(parseManifest(formatManifest(incremental).bytes, 42).manifest).toEqual(incremental)
    const late = { ...merged, name: segmentName(42, 'merged') }
    expect(codeOf(formatManifest({ ...incremental, segments: [late, delta] }).bytes)).toBe('CORRUPTION')
    const asDelta = { ...merged, role: 'delta' } as const
    expect(codeOf(formatManifest({ ...incremental, segments: [asDelta, delta] }).bytes)).toBe('CORRUPTION')
  })

  it('is detected as damaged for every byte, every bit pattern and every length', () => {
    const { bytes } = formatManifest(manifest)
    for (let position = 0; position < bytes.length; position++) {
      for (const pattern of [0x01, 0x20, 0x80, 0xff]) {
        const flipped = bytes.slice()
        flipped[position] = (bytes[position] as number) ^ pattern
        expect(codeOf(flipped), `byte ${position}`).toBe('CORRUPTION')
      }
    }
    for (let length = 0; length < bytes.length; length++) {
      expect(codeOf(bytes.slice(0, length))).toBe('CORRUPTION')
    }
    expect(codeOf(Buffer.concat([bytes, Buffer.from('\n')]))).toBe('CORRUPTION')
  })

  it('of another checkpoint is CORRUPTION: its id must match its name', () => {
    expect(codeOf(formatManifest(manifest).bytes, 43)).toBe('CORRUPTION')
  })

  it.each<[string, (content: Record<string, unknown>) => void, StateErrorCode]>([
    ['another version', (c) => (c['version'] = 2), 'INCOMPATIBLE'],
    ['a version that is no number', (c) => (c['version'] = '1'), 'CORRUPTION'],
    ['another format', (c) => (c['format'] = 'x'), 'CORRUPTION'],
    ['an unknown member', (c) => (c['encryption'] = 'aes'), 'INCOMPATIBLE'],
    ['an unknown compression', (c) => (c['compression'] = 'brotli'), 'INCOMPATIBLE'],
    ['an unknown kind', (c) => (c['kind'] = 'partial'), 'CORRUPTION'],
    ['a fraction of an entry', (c) => (c['entryCount'] = 0.5), 'CORRUPTION'],
    ['an unsafe integer', (c) => (c['entryCount'] = 2 ** 53), 'CORRUPTION'],
    ['another entry count', (c) => (c['entryCount'] = 89), 'CORRUPTION'],
    ['a date without a time zone', (c) => (c['createdAt'] = '2026-03-04T05:06:07.089'), 'CORRUPTION'],
    ['no date', (c) => (c['createdAt'] = 'the day before yesterday'), 'CORRUPTION'],
    ['no clock', (c) => delete c['clockMs'], 'CORRUPTION'],
    ['a clock that is text', (c) => (c['clockMs'] = '1'), 'CORRUPTION'],
    ['no segments', (c) => (c['segments'] = []), 'CORRUPTION'],
    ['segments that are no list', (c) => (c['segments'] = { length: 1 }), 'CORRUPTION'],
    ['a segment that is null', (c) => (c['segments'] = [null]), 'CORRUPTION'],
    [
      'too many segments',
      (c) => (c['segments'] = Array.from({ length: 2_000 }, () => segment)),
      'CORRUPTION',
    ],
    ['the same segment twice', (c) => (c['segments'] = [segment, segment]), 'CORRUPTION'],
    ['a path', (c) => (c['segments'] = [{ ...segment, name: '../../etc/passwd' }]), 'CORRUPTION'],
    [
      'a later segment',
      (c) => (c['segments'] = [{ ...segment, name: 'chk-0000000043.base.segment' }]),
      'CORRUPTION',
    ],
    [
      'a manifest as a segment',
      (c) => (c['segments'] = [{ ...segment, name: 'chk-0000000042.manifest' }]),
      'CORRUPTION',
    ],
    [
      'a delta only',
      (c) => (c['segments'] = [{ ...segment, name: 'chk-0000000042.delta.segment', role: 'delta' }]),
      'CORRUPTION',
    ],
    ['a role against its name', (c) => (c['segments'] = [{ ...segment, role: 'delta' }]), 'CORRUPTION'],
    [
      'a digest in capitals',
      (c) => (c['segments'] = [{ ...segment, sha256: 'AB'.repeat(32) }]),
      'CORRUPTION',
    ],
    ['a negative size', (c) => (c['segments'] = [{ ...segment, sizeBytes: -1 }]), 'CORRUPTION'],
    ['more entries than bytes', (c) => (c['segments'] = [{ ...segment, rawBytes: 90 }]), 'CORRUPTION'],
    ['an unknown member of a segment', (c) => (c['segments'] = [{ ...segment, key: 'x' }]), 'INCOMPATIBLE'],
    ['a savepoint with a plain segment', (c) => (c['savepoint'] = true), 'CORRUPTION'],
    ['incremental without deltas', (c) => (c['kind'] = 'incremental'), 'CORRUPTION'],
    ['a schema that is none', (c) => (c['schema'] = 'x'), 'CORRUPTION'],
    ['a schema that is a list', (c) => (c['schema'] = []), 'CORRUPTION'],
    ['a schema that is not known here', (c) => (c['schema'] = { version: 1 }), 'INCOMPATIBLE'],
    [
      'a schema that is not known here, beside what else only its version knows',
      (c) => Object.assign(c, { schema: { version: 1 }, segments: 'elsewhere', kind: 'partial' }),
      'INCOMPATIBLE',
    ],
  ])('with a valid checksum is still checked: %s', (_, change, code) => {
    const content = contentOf(Buffer.from(formatManifest(manifest).bytes).toString())
    change(content)
    expect(codeOf(sealJson(content).bytes)).toBe(code)
  })

  it('with base and deltas, oldest first, is understood', () => {
    const delta = { ...segment, name: 'chk-0000000042.delta.segment', role: 'delta' } as const
    const base = { ...segment, name: 'chk-0000000040.base.segment' }
    const incremental: Manifest = {
      ...manifest,
      kind: 'incremental',
      entryCount: 100,
      segments: [base, delta],
    }
    expect(parseManifest(formatManifest(incremental).bytes, 42).manifest).toEqual(incremental)
    const swapped = { ...incremental, segments: [delta, base] }
    expect(codeOf(formatManifest(swapped).bytes)).toBe('CORRUPTION')
  })

  it('carries __proto__ keys as plain data', () => {
    const source = JSON.parse(
      '{ "__proto__": { "polluted": true }, "constructor": 1 }',
    ) as Manifest['source'] & object
    const stored = parseManifest(formatManifest({ ...manifest, source }).bytes, 42)
    expect(JSON.stringify(metadataOf(stored).source)).toBe(JSON.stringify(source))
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
    const top = Buffer.from(formatManifest(manifest).bytes).toString()
    const prefix = top.slice(0, top.indexOf(',\n  "checksum"')).replace('{', '{ "__proto__": { "id": "x" },')
    const sealed = `${prefix},\n  "checksum": "${sha256Hex(prefix)}"\n}\n`
    expect(codeOf(Buffer.from(sealed))).toBe('INCOMPATIBLE')
  })

  it.each([
    ['not an object', '[1]'],
    ['deeply nested', `{"a":${'['.repeat(500_000)}`],
    ['bytes that are no UTF-8', '{"a":"\u0000'],
  ])('that is JSON in form only is CORRUPTION: %s', (_, prefix) => {
    const sealed = `${prefix},\n  "checksum": "${sha256Hex(prefix)}"\n}\n`
    expect(codeOf(Buffer.from(sealed))).toBe('CORRUPTION')
  })

  it('beyond its largest size is not written', () => {
    const source = 'x'.repeat(MAX_MANIFEST_BYTES)
    expect(() => formatManifest({ ...manifest, source })).toThrow(/limit is 16777216/)
  })
})
