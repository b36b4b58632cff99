// The object `sequence` remembers which numbers were given out, so that none is given out twice.
// It is sealed JSON (sealed-json.ts):
//
//   { "format": "holdfast-sequence", "version": 1, "reserved": R, "published": P, "newest": N }
//
// (1) R is the largest number ever reserved. It is written, durably, before anything is named after it.
// (2) P is the largest number ever published. It is written after the manifest, so it may be one publication behind.
// (3) N is the newest published checkpoint that nobody deleted on purpose; 0: none. If its manifest is missing, it was lost.
// (4) N <= P <= R.

import { StateError } from '../../base/errors.js'
import { SEQUENCE_NAME } from './object-names.js'
import { JsonFields, sealJson, unsealJson } from './sealed-json.js'

const FORMAT = 'holdfast-sequence'
const VERSION = 1

export const MAX_SEQUENCE_FILE_BYTES = 4_096

export interface SequenceState {
  readonly reserved: number
  readonly published: number
  readonly newest: number
}

/** The sequence of a storage that never held a checkpoint. */
export const FRESH_SEQUENCE: SequenceState = { reserved: 0, published: 0, newest: 0 }

export function formatSequence({ reserved, published, newest }: SequenceState): Uint8Array {
  return sealJson({ format: FORMAT, version: VERSION, reserved, published, newest }).bytes
}

/** Throws `CORRUPTION` or `INCOMPATIBLE`. */
export function parseSequence(bytes: Uint8Array): SequenceState {
  const what = `object ${SEQUENCE_NAME}`
  const fields = new JsonFields(unsealJson(bytes, what).content, what)
  if (fields.text('format', /^.{1,64}$/su) !== FORMAT) throw fields.damaged('format', `is not ${FORMAT}`)
  const version = fields.integer('version', 1)
  if (version !== VERSION) {
    throw new StateError('INCOMPATIBLE', {
      what,
      found: `version ${version}`,
      supported: `version ${VERSION}`,
    })
  }
  const reserved = fields.integer('reserved')
  const published = fields.integer('published', 0, reserved)
  const newest = fields.integer('newest', 0, published)
  fields.rejectUnknown()
  return { reserved, published, newest }
}

/** What the names of the objects in a storage tell about its past. */
export interface NamedSequences {
  /** Largest number in any name; 0: there is none. */
  readonly largest: number
  /** Largest number of a manifest; 0: there is none. */
  readonly largestManifest: number
}

/**
 * Where the sequence stands, from what was stored (`undefined`: lost or damaged) and from the names that exist.
 * The names correct it upwards only. Without a stored sequence, everything that has a name counts as published:
 * that errs towards "there was a checkpoint", never towards "there was none".
 */
export function reconcileSequence(stored: SequenceState | undefined, names: NamedSequences): SequenceState {
  if (stored === undefined) {
    return { reserved: names.largest, published: names.largest, newest: names.largestManifest }
  }
  return {
    reserved: Math.max(stored.reserved, names.largest),
    published: Math.max(stored.published, names.largestManifest),
    newest: Math.max(stored.newest, names.largestManifest),
  }
}
