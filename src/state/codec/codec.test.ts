import { readFileSync } from 'node:fs'
import { runInNewContext } from 'node:vm'
import { type } from 'arktype'
import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { compareBytes } from '../../base/bytes.js'
import { isStateError } from '../../base/errors.js'
import { bigint, bytes, utf8 } from './byte-strings.js'
import { ByteReader, ByteWriter } from './bytes.js'
import type { Codec, KeyCodec } from './codec.js'
import { CodecError } from './codec-error.js'
import { none, optional, tuple } from './composite.js'
import { json } from './json.js'
import { messagePack } from './message-pack.js'
import { bigint64, bool, date, enumeration, float64, int32, int64, uint32 } from './numbers.js'
import { struct } from './struct.js'

function encode<Value>(codec: Codec<unknown, Value>, value: Value): Uint8Array {
  const writer = new ByteWriter(1)
  codec.write(value, writer)
  return writer.copy()
}

function encodeKey<Value>(codec: KeyCodec<unknown, Value>, value: Value): Uint8Array {
  const writer = new ByteWriter(1)
  codec.writeKey(value, writer)
  return writer.copy()
}

function decode<Value>(codec: Codec<Value, never>, encoded: Uint8Array): Value {
  const reader = new ByteReader().fromBytes(encoded)
  const value = codec.read(reader)
  reader.assertEnd()
  return value
}

function decodeKey<Value>(codec: KeyCodec<Value, never>, encoded: Uint8Array): Value {
  const reader = new ByteReader().fromBytes(encoded)
  const value = codec.readKey(reader)
  reader.assertEnd()
  return value
}

const hex = (encoded: Uint8Array): string => Buffer.from(encoded).toString('hex')

const state = enumeration('queued', 'running', 'done')
const point = struct({ count: uint32, sum: float64, at: date, open: bool, state })

/** A value, and what the codec makes of it. The same lines stand in docs/format/state.md. */
interface Vector {
  readonly name: string
  readonly shown: string
  readonly value: string
  readonly key?: string
}

function vector<Value>(
  name: string,
  shown: string,
  codec: Codec<Value>,
  value: Value,
  keyCodec?: KeyCodec<Value>,
): Vector {
  const encoded = encode(codec, value)
  expect(decode(codec, encoded)).toEqual(value)
  if (keyCodec === undefined) return { name, shown, value: hex(encoded) }
  const key = encodeKey(keyCodec, value)
  expect(decodeKey(keyCodec, key)).toEqual(value)
  return { name, shown, value: hex(encoded), key: hex(key) }
}

const key = <Value>(name: string, shown: string, codec: KeyCodec<Value>, value: Value) =>
  vector(name, shown, codec, value, codec)

const vectors = (): Vector[] => [
  key('bool', 'true', bool, true),
  key('uint32', '258', uint32, 258),
  key('int32', '-2', int32, -2),
  key('int64', '-2', int64, -2),
  key('int64', '2^53 - 1', int64, Number.MAX_SAFE_INTEGER),
  key('bigint64', '-2^63', bigint64, -(2n ** 63n)),
  key('float64', '1.5', float64, 1.5),
  key('float64', '-1.5', float64, -1.5),
  key('date', '1970-01-01T00:00:01Z', date, new Date(1_000)),
  key('enumeration', "'done' of 'queued', 'running', 'done'", state, 'done' as const),
  key('utf8', "'ä€'", utf8, 'ä€'),
  key('utf8', "'a', U+0000, U+0001", utf8, 'a\0\x01'),
  key('bytes', '00 01 02', bytes, Uint8Array.of(0, 1, 2)),
  key('bigint', '0', bigint, 0n),
  key('bigint', '256', bigint, 256n),
  key('bigint', '-256', bigint, -256n),
  key('tuple(utf8, uint32)', "['a', 1]", tuple(utf8, uint32), ['a', 1] as [string, number]),
  key('optional(utf8)', 'undefined', optional(utf8), undefined),
  key('optional(utf8)', "'a'", optional(utf8), 'a'),
  vector('none', 'undefined', none, undefined),
  vector('json', "{ a: [1, 'ä'] }", json<{ a: (number | string)[] }>(), { a: [1, 'ä'] }),
  vector('messagePack', '{ b: 1n, a: 1970-01-01 }', messagePack<{ b: bigint; a: Date }>(), {
    b: 1n,
    a: new Date(0),
  }),
  vector('struct', '{ count: 1, sum: 1.5, at: 1970-01-01, open: true, state: running }', point, {
    count: 1,
    sum: 1.5,
    at: new Date(0),
    open: true,
    state: 'running' as const,
  }),
]

describe('golden bytes', () => {
  it('are those of docs/format/state.md', () => {
    const document = readFileSync(new URL('../../../docs/format/state.md', import.meta.url), 'utf8')
    for (const { name, shown, value, key: keyBytes } of vectors()) {
      const cell = (text: string | undefined) =>
        text === undefined ? '–' : text === '' ? '(none)' : `\`${text}\``
      expect(document).toContain(`| ${name} | ${shown} | ${cell(value)} | ${cell(keyBytes)} |`)
    }
  })
})

const anyText = fc.string({ unit: 'binary', maxLength: 80 })
const anyDate = fc.date({ noInvalidDate: true })
const anyInt64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const anyName = fc.constantFrom('queued' as const, 'running' as const, 'done' as const)
const anyBytes = fc.uint8Array({ maxLength: 80 })
const number = fc.double({ noNaN: true }).map((value) => value + 0)

const compareNumbers = (left: number | bigint, right: number | bigint) =>
  left < right ? -1 : left > right ? 1 : 0
const compareText = (left: string, right: string) => compareBytes(Buffer.from(left), Buffer.from(right))
const places = ['queued', 'running', 'done']

interface Subject<Value> {
  readonly codec: Codec<Value>
  readonly values: fc.Arbitrary<Value>
}
interface KeySubject<Value> {
  readonly codec: KeyCodec<Value>
  readonly values: fc.Arbitrary<Value>
  readonly compare: (left: Value, right: Value) => number
}

const keySubject = <Value>(
  codec: KeyCodec<Value>,
  values: fc.Arbitrary<Value>,
  compare: (left: Value, right: Value) => number,
): KeySubject<unknown> => ({ codec, values, compare }) as unknown as KeySubject<unknown>
const subject = <Value>(codec: Codec<Value>, values: fc.Arbitrary<Value>): Subject<unknown> =>
  ({ codec, values }) as unknown as Subject<unknown>

const keys: { readonly [name: string]: KeySubject<unknown> } = {
  bool: keySubject(bool, fc.boolean(), (left, right) => Number(left) - Number(right)),
  uint32: keySubject(uint32, fc.nat({ max: 2 ** 32 - 1 }), compareNumbers),
  int32: keySubject(int32, fc.integer(), compareNumbers),
  int64: keySubject(int64, fc.maxSafeInteger(), compareNumbers),
  bigint64: keySubject(bigint64, anyInt64, compareNumbers),
  float64: keySubject(float64, number, compareNumbers),
  date: keySubject(date, anyDate, (left, right) => left.getTime() - right.getTime()),
  enumeration: keySubject(state, anyName, (left, right) => places.indexOf(left) - places.indexOf(right)),
  utf8: keySubject(utf8, anyText, compareText),
  bytes: keySubject(bytes, anyBytes, compareBytes),
  bigint: keySubject(bigint, fc.bigInt({ min: -(2n ** 200n), max: 2n ** 200n }), compareNumbers),
  tuple: keySubject(
    tuple(utf8, int32, bytes),
    fc.tuple(anyText, fc.integer({ min: -2, max: 2 }), anyBytes),
    (left, right) => compareText(left[0], right[0]) || left[1] - right[1] || compareBytes(left[2], right[2]),
  ),
  optional: keySubject(optional(utf8), fc.option(anyText, { nil: undefined }), (left, right) => {
    if (left === undefined || right === undefined)
      return Number(left !== undefined) - Number(right !== undefined)
    return compareText(left, right)
  }),
}

const values: { readonly [name: string]: Subject<unknown> } = {
  ...keys,
  none: subject(none, fc.constant(undefined)),
  json: subject(
    json<unknown>() as Codec<unknown>,
    fc
      .jsonValue({ noUnicodeString: false, depthSize: 'small' })
      .filter((value) => value !== null && !JSON.stringify(value).includes('-0'))
      .map((value) => JSON.parse(JSON.stringify(value)) as unknown),
  ),
  messagePack: subject(
    messagePack<unknown>() as Codec<unknown>,
    fc
      .anything({
        withBigInt: false,
        withDate: false,
        values: [fc.string(), fc.integer(), fc.boolean(), anyDate, anyInt64, anyBytes],
      })
      .filter((value) => isPackable(value)),
  ),
  struct: subject(
    point,
    fc.record(
      { count: fc.nat(), sum: number, at: anyDate, open: fc.boolean(), state: anyName },
      { noNullPrototype: true },
    ),
  ),
  nested: subject(
    tuple(optional(utf8), struct({ n: int64 }), bytes),
    fc.tuple(
      fc.option(anyText, { nil: undefined }),
      fc.record({ n: fc.maxSafeInteger() }, { noNullPrototype: true }),
      anyBytes,
    ),
  ),
}

/** Values that fast-check draws and MessagePack has no name for. */
function isPackable(value: unknown): boolean {
  try {
    encode(messagePack<unknown>() as Codec<unknown>, value)
  } catch {
    return false
  }
  const text = String(fc.stringify(value))
  return !/undefined|__proto__|create\(null|Object\.assign/.test(text)
}

describe.each(Object.entries(values))('%s', (_name, { codec, values: drawn }) => {
  it('reads back what it wrote', () => {
    fc.assert(
      fc.property(drawn, (value) => {
        expect(decode(codec, encode(codec, value))).toEqual(value)
      }),
    )
  })

  it('reads any bytes as a value or refuses them, and never reads beyond them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (random) => {
        expect(() => refusal(() => decode(codec, random))).not.toThrow()
      }),
      { numRuns: 300 },
    )
  })

  it('refuses every cut of what it wrote, or reads another value', () => {
    fc.assert(
      fc.property(drawn, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (value, part) => {
        const whole = encode(codec, value)
        const cut = whole.subarray(0, Math.floor(whole.length * part))
        expect(() => refusal(() => decode(codec, cut))).not.toThrow()
      }),
    )
  })
})

/** Runs what may throw a `CodecError`; anything else is thrown on. */
function refusal(run: () => unknown): void {
  try {
    run()
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
  }
}

describe.each(Object.entries(keys))('%s as a key', (_name, { codec, values: drawn, compare }) => {
  it('reads back what it wrote', () => {
    fc.assert(
      fc.property(drawn, (value) => {
        expect(decodeKey(codec, encodeKey(codec, value))).toEqual(value)
      }),
    )
  })

  it('sorts as its values do, and no key is the beginning of another one', () => {
    fc.assert(
      fc.property(drawn, drawn, (left, right) => {
        const a = encodeKey(codec, left)
        const b = encodeKey(codec, right)
        expect(Math.sign(compareBytes(a, b))).toBe(Math.sign(compare(left, right)))
        if (a.length < b.length) expect(hex(b).startsWith(hex(a))).toBe(false)
      }),
      { numRuns: 500 },
    )
  })

  it('has one form for each value: what it reads, it writes again', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 24 }), (random) => {
        refusal(() => expect(hex(encodeKey(codec, decodeKey(codec, random)))).toBe(hex(random)))
      }),
      { numRuns: 500 },
    )
  })
})

describe('values that are refused', () => {
  const expectRefused = <Value>(codec: Codec<unknown, Value>, value: unknown) =>
    expect(() => encode(codec, value as Value), String(value)).toThrow(CodecError)
  const expectRefusedKey = <Value>(codec: KeyCodec<unknown, Value>, value: unknown) =>
    expect(() => encodeKey(codec, value as Value), String(value)).toThrow(CodecError)

  it('K1: NaN is one key behind all others, and -0 is 0', () => {
    const payload = new DataView(new ArrayBuffer(8))
    payload.setBigUint64(0, 0xfff8000000000123n)
    expect(hex(encodeKey(float64, payload.getFloat64(0)))).toBe(hex(encodeKey(float64, Number.NaN)))
    expect(compareBytes(encodeKey(float64, Number.NaN), encodeKey(float64, Infinity))).toBeGreaterThan(0)
    expect(decodeKey(float64, encodeKey(float64, Number.NaN))).toBeNaN()
    expect(hex(encodeKey(float64, -0))).toBe(hex(encodeKey(float64, 0)))
  })

  it('K2: a lone surrogate', () => {
    for (const text of ['\ud800', 'a\udc00b', `${'x'.repeat(100)}\ud83d`]) {
      expectRefused(utf8, text)
      expectRefusedKey(utf8, text)
      expectRefused(tuple(uint32, utf8), [1, text])
    }
    expect(decode(utf8, encode(utf8, '😀'))).toBe('😀')
    expect(decode(utf8, encode(utf8, '\ufffd'))).toBe('\ufffd')
  })

  it('K3: null and undefined, but for optional', () => {
    for (const absence of [null, undefined]) {
      for (const codec of [utf8, bytes, bool, uint32, int32, int64, bigint64, float64, date, bigint, state]) {
        expectRefused(codec as Codec<unknown, unknown>, absence)
        expectRefusedKey(codec as KeyCodec<unknown, unknown>, absence)
      }
      for (const codec of [json<string>(), messagePack<string>(), struct({ n: uint32 }), tuple(utf8)]) {
        expectRefused(codec as Codec<unknown, unknown>, absence)
      }
    }
    expectRefused(optional(utf8), null)
  })

  it('K6: an invalid Date, and what is none', () => {
    for (const value of [new Date(Number.NaN), 0, '2020-01-01']) {
      expectRefused(date, value)
      expectRefusedKey(date, value)
    }
    expectRefused(messagePack<{ at: Date }>(), { at: new Date(Number.NaN) })
  })

  it('W20: overflow of an integer, NaN, and sums beyond 2^53', () => {
    for (const value of [-1, 2 ** 32, 1.5, Number.NaN, '1', 1n]) expectRefused(uint32, value)
    for (const value of [-(2 ** 31) - 1, 2 ** 31, 0.5, Number.NaN]) expectRefused(int32, value)
    for (const value of [2 ** 53, -(2 ** 53), Infinity, Number.NaN, 1n]) expectRefused(int64, value)
    for (const value of [2n ** 63n, -(2n ** 63n) - 1n, 1]) expectRefused(bigint64, value)
    for (const value of [Number.NaN, '1', 1n]) expectRefused(float64, value)
  })

  it('strings that an enumeration does not have, arrays of another length, structs without a field', () => {
    expectRefused(state, 'lost')
    expectRefused(tuple(utf8, utf8), ['a'])
    expectRefused(tuple(utf8), 'a')
    expect(() => encode(point, { count: 1 } as never)).toThrow(expect.objectContaining({ path: '.sum' }))
    expect(() => encode(tuple(utf8, uint32), ['a', -1])).toThrow(expect.objectContaining({ path: '[1]' }))
  })

  it('what JSON would change without a word', () => {
    const any = json<unknown>() as Codec<unknown>
    const holes = [1, 2, 3]
    delete holes[1]
    for (const value of [
      { a: Number.NaN },
      [1, undefined],
      holes,
      { a: new Map([[1, 2]]) },
      { at: new Date(0) },
      { a: Buffer.from('x') },
      { a: Uint8Array.of(1) },
      () => 1,
      Symbol('s'),
      10n,
      { a: { b: [() => 1] } },
    ]) {
      expectRefused(any, value)
    }
    expect(decode(any, encode(any, { a: 1, b: undefined, c: null, d: {}, e: 'null{}' }))).toEqual({
      a: 1,
      c: null,
      d: {},
      e: 'null{}',
    })
    const circle: { self?: unknown } = {}
    circle.self = circle
    expectRefused(any, circle)
  })

  it('what MessagePack would change without a word', () => {
    const any = messagePack<unknown>() as Codec<unknown>
    for (const value of [
      [undefined],
      { a: () => 1 },
      new Map(),
      { a: new Set() },
      2n ** 64n,
      -(2n ** 63n) - 1n,
      Symbol('s'),
      new Float64Array(1),
      // What decodes it refuses the whole value: it could be written, and never be read.
      JSON.parse('{"a":{"__proto__":1}}') as unknown,
      // In a long string it became another character, in a short one bytes that are no UTF-8.
      ['a\ud800'],
      { a: `${'a'.repeat(300)}\ud800` },
      { '\udc00': 1 },
    ]) {
      expectRefused(any, value)
    }
    expect(decode(any, encode(any, { a: 2n ** 64n - 1n, b: 2 ** 40, c: undefined }))).toEqual({
      a: 2n ** 64n - 1n,
      b: 2 ** 40,
    })
    expect(hex(encode(any, { b: 1, a: 2 }))).toBe(hex(encode(any, { a: 2, b: 1 })))
  })
})

it('MessagePack keeps dates and bytes of another realm', () => {
  const any = messagePack<unknown>() as Codec<unknown>
  const foreign = runInNewContext('[new Date(7), { at: new Date(-1) }, new Uint8Array([1, 2])]') as unknown
  expect(decode(any, encode(any, foreign))).toEqual([new Date(7), { at: new Date(-1) }, Uint8Array.of(1, 2)])
})

describe('a codec over another one', () => {
  it('int64 and bigint64 write the same bytes: which of them a program uses is its own affair', () => {
    expect(int64.descriptor).toEqual(bigint64.descriptor)
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        expect(hex(encode(int64, value))).toBe(hex(encode(bigint64, BigInt(value))))
        expect(hex(encodeKey(int64, value))).toBe(hex(encodeKey(bigint64, BigInt(value))))
      }),
    )
    expect(() => decode(int64, encode(bigint64, 2n ** 60n))).toThrow(CodecError)
  })

  it('definitions that make no sense are INVALID_ARGUMENT', () => {
    const wrong = (make: () => unknown) => {
      try {
        make()
      } catch (error) {
        return isStateError(error, 'INVALID_ARGUMENT')
      }
      return false
    }
    expect(wrong(() => enumeration('a', 'a'))).toBe(true)
    expect(wrong(() => struct({}))).toBe(true)
    expect(wrong(() => struct({ 1: uint32 }))).toBe(true)
    expect(wrong(() => struct({ name: utf8 } as never))).toBe(true)
    expect(wrong(() => optional(none))).toBe(true)
    expect(wrong(() => json({} as never))).toBe(true)
  })
})

describe('a struct', () => {
  const grown = struct({ count: uint32, sum: float64, at: date, open: bool, state, more: int64 })

  it('that was stored without its last fields has zeros there', () => {
    const value = { count: 7, sum: 2, at: new Date(5), open: true, state: 'done' as const }
    expect(decode(grown, encode(point, value))).toEqual({ ...value, more: 0 })
  })

  it('that ends inside a field, or behind the last one, is refused', () => {
    const whole = encode(point, { count: 7, sum: 2, at: new Date(5), open: true, state: 'done' })
    const ends = new Set([4, 12, 20, 21, 23])
    for (let length = 0; length < whole.length; length++) {
      const cut = whole.subarray(0, length)
      if (ends.has(length)) expect(decode(point, cut)).toHaveProperty('count', 7)
      else expect(() => decode(point, cut), String(length)).toThrow(CodecError)
    }
    expect(() => decode(point, Uint8Array.of(...whole, 0))).toThrow(CodecError)
  })
})

describe('json with a validator of', () => {
  const checks = (codec: Codec<{ name: string; age: number }>) => {
    expect(decode(codec, encode(codec, { name: 'a', age: 1 }))).toEqual({ name: 'a', age: 1 })
    const wrong = { name: 'a', age: 'old' } as never
    expect(() => encode(codec, wrong)).toThrow(expect.objectContaining({ path: '.age' }))
    expect(() => decode(codec, Buffer.from('{"name":"a"}'))).toThrow(CodecError)
    expect(() => decode(codec, Buffer.from('{"name":'))).toThrow(CodecError)
  }
  it('zod', () => checks(json(z.object({ name: z.string(), age: z.number() }))))
  it('valibot', () => checks(json(v.object({ name: v.string(), age: v.number() }))))
  it('arktype', () => checks(json(type({ name: 'string', age: 'number' }))))

  it('zod with a default: what is read is the output, what is written the input', () => {
    const codec = json(z.object({ name: z.string(), age: z.number().default(18) }))
    expect(decode(codec, encode(codec, { name: 'a' }))).toEqual({ name: 'a', age: 18 })
  })

  it('an asynchronous kind is refused, when written and when read', () => {
    const codec = json(
      v.objectAsync({
        name: v.pipeAsync(
          v.string(),
          v.checkAsync(async () => false),
        ),
      }),
    )
    expect(() => encode(codec, { name: 'a' })).toThrow(/asynchronous/)
    expect(() => decode(codec, Buffer.from('{"name":"a"}'))).toThrow(/asynchronous/)
  })
})
