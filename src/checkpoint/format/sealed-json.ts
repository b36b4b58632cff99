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
