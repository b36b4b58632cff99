import { StateError } from '../../base/errors.js'

/**
 * Reads the members of a parsed JSON object one by one, each by a strict rule. Members that nobody asked for
 * are an error too: they mean something to whoever wrote them, and ignoring it could lose state.
 */
export class JsonFields {
  readonly #object: object
  readonly #what: string
  readonly #asked = new Set<string>()

  /** `what` names the document, for messages. Throws `CORRUPTION` unless `value` is a JSON object. */
  constructor(value: unknown, what: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new StateError('CORRUPTION', { what, reason: 'it is not an object' })
    }
    this.#object = value
    this.#what = what
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#object, name)
  }

  /** The member as it is; `undefined` where there is none. */
  any(name: string): unknown {
    this.#asked.add(name)
    return this.has(name) ? (this.#object as Record<string, unknown>)[name] : undefined
  }

  /** An integer within limits, by default from 0 to 2^53 - 1. */
  integer(name: string, min = 0, max: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.any(name)
    if (!Number.isSafeInteger(value)) throw this.damaged(name, 'is not an integer')
    const integer = value as number
    if (integer < min || integer > max) throw this.damaged(name, `is ${integer}, beyond ${min} to ${max}`)
    return integer
  }

  finiteNumber(name: string): number {
    const value = this.any(name)
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.damaged(name, 'is not a number')
    return value
  }

  boolean(name: string): boolean {
    const value = this.any(name)
    if (typeof value !== 'boolean') throw this.damaged(name, 'is not true or false')
    return value
  }

  /** A string that a pattern (of the whole string) admits. */
  text(name: string, pattern: RegExp): string {
    const value = this.any(name)
    if (typeof value !== 'string') throw this.damaged(name, 'is not a string')
    if (!pattern.test(value)) throw this.damaged(name, `is not of the form ${pattern.source}`)
    return value
  }

  array(name: string, maxLength: number): readonly unknown[] {
    const value = this.any(name)
    if (!Array.isArray(value)) throw this.damaged(name, 'is not an array')
    if (value.length > maxLength)
      throw this.damaged(name, `has ${value.length} elements, beyond ${maxLength}`)
    return value
  }

  /** Throws `INCOMPATIBLE` where there are members that were not asked for. */
  rejectUnknown(): void {
    const unknown = Object.keys(this.#object).filter((name) => !this.#asked.has(name))
    if (unknown.length === 0) return
    const found = `unknown member ${unknown.map((name) => JSON.stringify(name.slice(0, 64))).join(', ')}`
    const supported = [...this.#asked].join(', ')
    throw new StateError('INCOMPATIBLE', { what: this.#what, found, supported })
  }

  damaged(name: string, problem: string): StateError<'CORRUPTION'> {
    return new StateError('CORRUPTION', { what: this.#what, reason: `"${name}" ${problem}` })
  }
}
