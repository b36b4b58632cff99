import { isStateError, StateError, type StateErrorCode, type StateErrorDetails } from '../../base/errors.js'
import { isErrorLike } from '../../base/shapes.js'

/** An error in a form that structured clone carries whole: code, details and causes included. */
export type PackedError =
  /** One that the receiver has sent before. */
  | { readonly returned: number }
  | {
      readonly sent: number
      readonly name: string
      readonly message: string
      readonly stack: string | undefined
      /** Of a `StateError` with its details, or of the operating system. */
      readonly code: string | undefined
      readonly details: unknown
      readonly cause: PackedError | undefined
      readonly errors: readonly PackedError[] | undefined
    }

/**
 * Carries errors between two threads; each side has one of its own. An error that comes back to the side that it came
 * from is the very same object there.
 */
export class ErrorCourier {
  readonly #sent: unknown[] = []
  readonly #received = new WeakMap<object, number>()

  pack(error: unknown): PackedError {
    const known = typeof error === 'object' && error !== null ? this.#received.get(error) : undefined
    if (known !== undefined) return { returned: known }
    const sent = this.#sent.push(error) - 1
    if (!isErrorLike(error)) {
      const message = String(error)
      const nothing = { stack: undefined, code: undefined, details: undefined, cause: undefined }
      return { sent, name: 'Error', message, ...nothing, errors: undefined }
    }
    const { code, errors } = error as { readonly code?: unknown; readonly errors?: unknown }
    return {
      sent,
      name: error.name,
      message: error.message,
      stack: error.stack,
      code: typeof code === 'string' ? code : undefined,
      details: isStateError(error) ? error.details : undefined,
      cause: error.cause === undefined ? undefined : this.pack(error.cause),
      errors: Array.isArray(errors) ? errors.map((each) => this.pack(each)) : undefined,
    }
  }

  unpack(packed: PackedError): unknown {
    if ('returned' in packed) return this.#sent[packed.returned]
    const error = this.#rebuild(packed)
    if (packed.stack !== undefined) error.stack = packed.stack
    this.#received.set(error, packed.sent)
    return error
  }

  #rebuild(packed: Exclude<PackedError, { readonly returned: number }>): Error {
    const { name, message, code, details, errors } = packed
    const options = packed.cause === undefined ? {} : { cause: this.unpack(packed.cause) }
    if (code !== undefined && details !== undefined) {
      return new StateError(code as StateErrorCode, details as StateErrorDetails[StateErrorCode], options)
    }
    const error =
      errors === undefined
        ? new Error(message, options)
        : new AggregateError(
            errors.map((each) => this.unpack(each)),
            message,
            options,
          )
    if (name !== error.name) Object.defineProperty(error, 'name', { value: name, configurable: true })
    return code === undefined ? error : Object.assign(error, { code })
  }
}
