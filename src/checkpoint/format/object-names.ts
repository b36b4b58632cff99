// Every name that a checkpoint has in a storage is built and parsed here, and nowhere else.
//
//   id       := 'chk-' sequence in decimal, padded with zeros to ten digits
//   manifest := id '.manifest'
//   segment  := id '.' ('base' | 'delta' | 'merged' | 'savepoint') '.segment'
//   sequence := 'sequence'
//
// (1) A name parses only if building it again gives the same name: no two names mean one thing.
// (2) Names that do not parse belong to somebody else; holdfast never touches them.
// (3) A merged segment bears the number of the newest checkpoint that was merged into it, so the numbers of a checkpoint's
//     segments rise also where it begins with one.
// (4) A savepoint is known by the name of its segment, so that retention spares it even if its manifest is damaged.

import { invalidArgument } from '../../base/options.js'
import type { CheckpointId } from '../types.js'

/** What a segment was written as. A savepoint's only segment is a base, and so is what was merged. */
export type SegmentKind = 'base' | 'delta' | 'merged' | 'savepoint'

/** The object that holds the persisted sequence. */
export const SEQUENCE_NAME = 'sequence'

export type ObjectName =
  | { readonly type: 'sequence' }
  | { readonly type: 'manifest'; readonly sequence: number }
  | { readonly type: 'segment'; readonly sequence: number; readonly kind: SegmentKind }

const ID_DIGITS = 10

export function checkpointId(sequence: number): CheckpointId {
  return `chk-${String(sequence).padStart(ID_DIGITS, '0')}` as CheckpointId
}

/** The number in an id; `undefined` where the text is no id. */
export function sequenceOf(id: string): number | undefined {
  const digits = /^chk-(\d{10,16})$/.exec(id)?.[1]
  if (digits === undefined) return undefined
  const sequence = Number(digits)
  const canonical = Number.isSafeInteger(sequence) && sequence > 0 && checkpointId(sequence) === id
  return canonical ? sequence : undefined
}

/** The number in an id that a caller passed; `INVALID_ARGUMENT` where it is none. */
export function checkedSequence(id: string): number {
  const sequence = typeof id === 'string' ? sequenceOf(id) : undefined
  if (sequence === undefined)
    throw invalidArgument('id', "must be a checkpoint's id, such as 'chk-0000000042'")
  return sequence
}

export function manifestName(sequence: number): string {
  return `${checkpointId(sequence)}.manifest`
}

export function segmentName(sequence: number, kind: SegmentKind): string {
  return `${checkpointId(sequence)}.${kind}.segment`
}

/** What an object's name says; `undefined` where it is none of ours. */
export function parseObjectName(name: string): ObjectName | undefined {
  if (name === SEQUENCE_NAME) return { type: 'sequence' }
  const match = /^(chk-\d+)\.(?:manifest|(base|delta|merged|savepoint)\.segment)$/.exec(name)
  const sequence = sequenceOf(match?.[1] ?? '')
  if (sequence === undefined) return undefined
  const kind = match?.[2] as SegmentKind | undefined
  return kind === undefined ? { type: 'manifest', sequence } : { type: 'segment', sequence, kind }
}
