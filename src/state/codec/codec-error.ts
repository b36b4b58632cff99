import { reasonOf } from '../../base/errors.js'
import { brandClass, hasBrand } from '../../base/shapes.js'

const CODEC_ERROR = Symbol.for('holdfast.CodecError')

/** What a codec was about to do when it failed. */
export type CodecDirection = 'write' | 'read'

/**
 * A value that a codec cannot write, or bytes that it cannot read. It never leaves `src/state`: whoever knows the state and
 * the key turns it into `SERIALIZATION_FAILED` or `DESERIALIZATION_FAILED` that names them.
 */
export class CodecError extends Error {
  static {
    brandClass(CodecError, CODEC_ERROR)
  }

  override readonly name = 'CodecError'
  /** Where in the value: `.count`, `[1]`; empty for the value itself. */
  readonly path: string
  /** Where a function of the user reads and writes fields, only the field knows. */
  readonly direction: CodecDirection | undefined

  constructor(message: string, path = '', options?: ErrorOptions, direction?: CodecDirection) {
    super(message, options)
    this.path = path
    this.direction = direction
  }
}

/** Whether `error` is a `CodecError`, also of another copy of this package. */
export function isCodecError(error: unknown): error is CodecError {
  return hasBrand(error, CODEC_ERROR)
}

/**
 * The error of a part, as one of the whole: `step` is where the part is. Only for what the codec of the part has thrown, which may be anything: it
 * may be one of the user's.
 */
export function within(step: string, error: unknown, direction?: CodecDirection): CodecError {
  if (!isCodecError(error)) return new CodecError(reasonOf(error), step, { cause: error }, direction)
  return new CodecError(
    error.message,
    step + error.path,
    { cause: error.cause },
    direction ?? error.direction,
  )
}

/** What a call of a codec has thrown, told from what functions of the user throw: a codec of the user's own throws what it likes. */
export function codecErrorOf(error: unknown, direction?: CodecDirection): CodecError {
  return within('', error, direction)
}

/** What a value is, for a message: its type, and what it says where that is short. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return value.length > 32 ? 'a string' : `the string ${JSON.stringify(value)}`
  if (typeof value === 'bigint') return `the bigint ${String(value).slice(0, 32)}`
  if (typeof value === 'number') return `the number ${Object.is(value, -0) ? '-0' : value}`
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return typeof value === 'function' || typeof value === 'symbol' ? `a ${typeof value}` : String(value)
}
