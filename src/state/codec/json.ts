// JSON, and the interface by which validators of any library check it (https://standardschema.dev).

import { reasonOf } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import { isThenable } from '../../base/shapes.js'
import type { ByteReader, ByteWriter } from './bytes.js'
import type { Codec, StateTypeError } from './codec.js'
import { CodecError, describeValue } from './codec-error.js'

/** What zod, valibot, arktype and others have in common: the part of Standard Schema that is used here. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] }

interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

type SchemaInput<S> = S extends { readonly '~standard': { readonly types?: infer Types } }
  ? NonNullable<Types> extends { readonly input: infer Input }
    ? Input
    : unknown
  : unknown
type SchemaOutput<S> = S extends { readonly '~standard': { readonly types?: infer Types } }
  ? NonNullable<Types> extends { readonly output: infer Output }
    ? Output
    : unknown
  : unknown

/** Whether JSON gives a value of the type back: `true`, or the name of what it would lose. */
type JsonLoss<T> = unknown extends T
  ? never
  : T extends string | number | boolean | null | undefined
    ? never
    : T extends bigint
      ? 'a bigint'
      : T extends symbol | ((...args: never) => unknown)
        ? 'a function or a symbol'
        : T extends Date
          ? 'a Date'
          : T extends ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> | ArrayBufferView
            ? 'a Map, a Set or bytes'
            : T extends readonly (infer Item)[]
              ? JsonLoss<Item>
              : { [Name in keyof T]-?: JsonLoss<T[Name]> }[keyof T]

type CheckedJson<Value, Input> = [JsonLoss<Input>] extends [never]
  ? Codec<Value, Input>
  : StateTypeError<`json(…) does not give ${JsonLoss<Input>} back; messagePack keeps dates, bigints and bytes`>

/**
 * JSON as UTF-8. With a validator of any library that implements Standard Schema, what is written is checked before it is
 * stored (`SERIALIZATION_FAILED`), and what is read before it is handed out (`DESERIALIZATION_FAILED`); what is stored is the
 * input of the validator, what is read its output. Without one, the type is taken at its word.
 *
 * What JSON would change without a word is refused: NaN and infinities, `undefined` in an array, a `Date`, a `Map`. A property
 * that is `undefined` is left out. The validator is no part of the encoded form; an asynchronous one is refused.
 *
 * @example value(json(z.object({ name: z.string() })))
 */
export function json<Value>(): CheckedJson<Value, Value>
export function json<S extends StandardSchema>(schema: S): CheckedJson<SchemaOutput<S>, SchemaInput<S>>
export function json(schema?: StandardSchema): Codec<unknown> {
  const standard = schema?.['~standard']
  if (schema !== undefined && typeof standard?.validate !== 'function') {
    throw invalidArgument('schema', "must implement Standard Schema ('~standard'.validate)")
  }
  const validated = (value: unknown): unknown => {
    if (standard === undefined) return value
    const result = standard.validate(value)
    if (isPromise(result)) {
      // Its failure is nobody's: the call fails here.
      result.then(undefined, () => {})
      throw new CodecError(
        `the validator (${standard.vendor}) is asynchronous; values are read and written at once`,
      )
    }
    if (result.issues !== undefined) throw failureOf(result.issues)
    return result.value
  }
  const codec: Codec<unknown> = {
    descriptor: 'json',
    fixedBytes: undefined,
    isOpenEnded: true,
    ...(standard === undefined ? {} : { former: json<unknown>() }),
    through: (value: unknown) => {
      assertPlain(value, '')
      return validated(value)
    },
    write: (value: unknown, to: ByteWriter) => {
      validated(value)
      to.text(textOf(value))
    },
    read: (from: ByteReader) => {
      const text = from.text(from.rest())
      let parsed: unknown
      try {
        parsed = JSON.parse(text)
      } catch (error) {
        throw new CodecError('bytes that are not JSON', '', { cause: error })
      }
      return validated(parsed)
    },
  }
  return Object.freeze(codec)
}

const isPromise = <Output>(
  result: SchemaResult<Output> | Promise<SchemaResult<Output>>,
): result is Promise<SchemaResult<Output>> => isThenable(result)

function failureOf(issues: readonly SchemaIssue[]): CodecError {
  const [first] = issues
  const path = (first?.path ?? []).map((step) => {
    const key = typeof step === 'object' ? step.key : step
    return typeof key === 'number' ? `[${key}]` : `.${String(key)}`
  })
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : ''
  return new CodecError(`${first?.message ?? 'not valid'}${more}`, path.join(''))
}

function textOf(value: unknown): string {
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (error) {
    const reason = reasonOf(error)
    throw new CodecError(`${describeValue(value)} that is not JSON: ${reason}`, '', { cause: error })
  }
  if (text === undefined || value === null) throw new CodecError(`${describeValue(value)} is not JSON`)
  // Everything that JSON changes in silence leaves one of these marks: `null` for what is no number or no value, `{}` for a Map
  // or a Set, the end of a date. Where one is in the text, for this or a better reason, the value is looked at.
  if (CHANGED.test(text)) assertPlain(value, '')
  return text
}

const CHANGED = /null|\{\}|Z"|"type":"Buffer"|"0":/

/** Refuses what `JSON.stringify` has written as something else. */
function assertPlain(value: unknown, path: string): void {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new CodecError(`${describeValue(value)} is not JSON`, path)
  }
  if (typeof value === 'function' || typeof value === 'symbol' || value === undefined) {
    throw new CodecError(`${describeValue(value)} is not JSON`, path)
  }
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) {
    value.forEach((item: unknown, i) => assertPlain(item, `${path}[${i}]`))
    // `forEach` passes over holes.
    if (Object.keys(value).length < value.length)
      throw new CodecError('an array with holes is not JSON', path)
    return
  }
  const kind = Object.prototype.toString.call(value)
  if (kind !== '[object Object]') throw new CodecError(`${kind.slice(8, -1)} is not JSON`, path)
  for (const [name, item] of Object.entries(value)) {
    if (item !== undefined) assertPlain(item, `${path}.${name}`)
  }
}
