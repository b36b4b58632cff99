// Small files of holdfast are JSON objects, readable by eye, that carry a digest over themselves:
//
//   file   := prefix ',\n  "checksum": "' digest '"\n}\n'
//   prefix := the object's other members as JSON.stringify(object, null, 2) prints them, up to the last one's end
//   digest := SHA-256 of the bytes of prefix, 64 lower-case hexadecimal digits
//
// (1) The tail has a fixed length and form, so a reader finds the digest without parsing.
// (2) Every byte is under the digest or is compared with the one value that it may have.
// (3) This outer form is the same for every version of the content.

import { StateError } from '../../base/errors.js'
import { sha256Hex } from '../../codec/checksum.js'

const TAIL_START = ',\n  "checksum": "'
const TAIL_END = '"\n}\n'
const DIGEST_CHARACTERS = 64
const TAIL_BYTES = TAIL_START.length + DIGEST_CHARACTERS + TAIL_END.length

export interface SealedJson {
  readonly bytes: Uint8Array
  readonly checksum: string
}

/** Formats an object, which must have members, and seals it. */
export function sealJson(content: object): SealedJson {
  const text = JSON.stringify(content, null, 2)
  const prefix = Buffer.from(text.slice(0, text.lastIndexOf('\n}')))
  const checksum = sha256Hex(prefix)
  return { bytes: Buffer.concat([prefix, Buffer.from(TAIL_START + checksum + TAIL_END)]), checksum }
}

/** Checks the seal and parses. `CORRUPTION`, with `what` in it, for anything that `sealJson` did not make. */
export function unsealJson(bytes: Uint8Array, what: string): { content: object; checksum: string } {
  const damaged = (reason: string, cause?: unknown) =>
    new StateError('CORRUPTION', { what, reason }, cause === undefined ? undefined : { cause })
  if (bytes.length <= TAIL_BYTES) throw damaged(`it has ${bytes.length} bytes`)
  const prefix = bytes.subarray(0, bytes.length - TAIL_BYTES)
  const tail = Buffer.from(bytes.subarray(bytes.length - TAIL_BYTES)).toString('latin1')
  const checksum = sha256Hex(prefix)
  if (!tail.startsWith(TAIL_START) || !tail.endsWith(TAIL_END))
    throw damaged('it does not end with a checksum')
  if (tail !== TAIL_START + checksum + TAIL_END) throw damaged('its checksum does not match its content')
  let content: unknown
  try {
    content = JSON.parse(`${new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(prefix)}\n}`)
  } catch (error) {
    throw damaged('it is not JSON', error)
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw damaged('it is not a JSON object')
  }
  return { content, checksum }
}

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
