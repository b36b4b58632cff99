import { compareBytes, copyBytes, prefixEnd } from '../base/bytes.js'
import type { Violation } from '../base/errors.js'
import { invalidArgument, rejectViolations, rules, unsetViolations, violationsOf } from '../base/options.js'
import type { KeyRange, ScanRange } from './types.js'

/** A half-open stretch of keys. */
export interface KeyStretch {
  /** First key that may be in it. */
  readonly from: Uint8Array
  /** First key after it; `undefined`: no upper end. */
  readonly until: Uint8Array | undefined
}

/** A checked range, reduced to one stretch of keys. */
export interface KeyInterval extends KeyStretch {
  readonly reverse: boolean
  /** At most this many entries; `Infinity`: all. */
  readonly limit: number
  readonly signal: AbortSignal | undefined
}

/** Every key, in order. */
export const EVERYTHING: KeyInterval = {
  from: new Uint8Array(0),
  until: undefined,
  reverse: false,
  limit: Infinity,
  signal: undefined,
}

const keyRangeRules = {
  prefix: rules.bytes,
  gt: rules.bytes,
  gte: rules.bytes,
  lt: rules.bytes,
  lte: rules.bytes,
}

const scanRangeRules = {
  ...keyRangeRules,
  reverse: rules.boolean,
  limit: (value: unknown) => (value === Infinity ? undefined : rules.nonNegativeInteger(value)),
  signal: rules.signal,
}

/**
 * Checks a range (`INVALID_ARGUMENT` with every violation) and intersects its bounds and prefix.
 * The bounds are copied: changing the caller's bytes later has no effect.
 */
export function keyInterval(range: ScanRange | undefined): KeyInterval {
  rejectViolations(violationsOf(range, scanRangeRules, 'range'))
  const { prefix, gt, gte, lt, lte, reverse = false, limit = Infinity, signal } = range ?? {}
  let from: Uint8Array = new Uint8Array(0)
  let until: Uint8Array | undefined
  const raise = (bound: Uint8Array) => {
    if (compareBytes(bound, from) > 0) from = bound
  }
  const lower = (bound: Uint8Array | undefined) => {
    if (bound !== undefined && (until === undefined || compareBytes(bound, until) < 0)) until = bound
  }
  if (prefix !== undefined) {
    raise(copyBytes(prefix))
    lower(prefixEnd(prefix))
  }
  if (gte !== undefined) raise(copyBytes(gte))
  if (gt !== undefined) raise(successor(gt))
  if (lt !== undefined) lower(copyBytes(lt))
  if (lte !== undefined) lower(successor(lte))
  return { from, until, reverse, limit, signal }
}

/**
 * As {@link keyInterval}, for keys that are to be removed or replaced: what only a scan has (`limit`, `reverse`, `signal`) is
 * `INVALID_ARGUMENT`, and so is a bound that is named but `undefined`: to take it for absent would remove more than was meant. A
 * scan takes it for absent, since the first of many pages is asked for that way.
 */
export function keyStretch(range: KeyRange): KeyInterval {
  rejectViolations(keyRangeViolations(range, 'range'))
  return keyInterval(range)
}

export function keyRangeViolations(range: unknown, label: string): Violation[] {
  return [
    ...violationsOf(range ?? null, keyRangeRules, label),
    ...unsetViolations(range, Object.keys(keyRangeRules), label),
  ]
}

/** The range of `listKeys`, which has no default. */
export function prefixRange(prefix: Uint8Array): KeyRange {
  const reason = rules.bytes(prefix)
  if (reason !== undefined) throw invalidArgument('prefix', reason)
  return { prefix }
}

/** No key is in it. */
export function isEmptyInterval({ from, until }: KeyStretch): boolean {
  return until !== undefined && compareBytes(from, until) >= 0
}

/** Whether a key lies in a stretch of keys: at `from` or above it, and below `until`. */
export function isInInterval(key: Uint8Array, { from, until }: KeyStretch): boolean {
  return compareBytes(key, from) >= 0 && (until === undefined || compareBytes(key, until) < 0)
}

/** Every key is in it. */
export function isEverything({ from, until }: KeyStretch): boolean {
  return from.length === 0 && until === undefined
}

/**
 * For methods that return an iterator: takes the range as it is at the moment of the call, and reports what is wrong
 * with it when the iterator is first asked.
 */
export function capturedInterval(range: ScanRange | undefined): () => KeyInterval {
  try {
    const interval = keyInterval(range)
    return () => interval
  } catch (error) {
    return () => {
      throw error
    }
  }
}

/** The smallest key above `key`: the same bytes and a zero. */
function successor(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1)
  next.set(key)
  return next
}
