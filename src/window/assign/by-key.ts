// Windows that depend on more than the timestamp of an event: on the other events of its key.

import { type Rule, rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'

/** What {@link session} makes. */
export interface SessionWindows {
  readonly kind: 'session'
  readonly gapMs: number
  readonly description: string
}

/**
 * Events of a key that are at most `gapMs` apart belong to one session: from the first of them until `gapMs` after the last (W6).
 */
export function session(options: { readonly gapMs: number }): SessionWindows {
  check(options, 'gapMs')
  const { gapMs } = options
  return Object.freeze({ kind: 'session', gapMs, description: `session(${gapMs})` })
}

/** What {@link sliding} makes. */
export interface SlidingWindows {
  readonly kind: 'sliding'
  readonly sizeMs: number
  readonly description: string
}

/** For each event a window that ends with it: of the events of its key that are at most `sizeMs` before it, and itself (W5). */
export function sliding(options: { readonly sizeMs: number }): SlidingWindows {
  check(options, 'sizeMs')
  const { sizeMs } = options
  return Object.freeze({ kind: 'sliding', sizeMs, description: `sliding(${sizeMs})` })
}

/** What {@link countWindows} makes. */
export interface CountWindows {
  readonly kind: 'count'
  readonly size: number
  readonly description: string
}

/** So many events of a key, as they come; time is of no matter (W19). What is left when the stream ends is a window that is not full. */
export function countWindows(options: { readonly size: number }): CountWindows {
  check(options, 'size')
  const { size } = options
  return Object.freeze({ kind: 'count', size, description: `count(${size})` })
}

/** What {@link globalWindows} makes. */
export interface GlobalWindows {
  readonly kind: 'global'
  readonly description: string
}

/** One window for each key, which ends with the stream: for early results, and for the whole of a bounded source. */
export function globalWindows(): GlobalWindows {
  return Object.freeze({ kind: 'global', description: 'global' })
}

function check(options: object, name: string): void {
  requireSettings(options, [name])
  rejectViolations(violationsOf(options, { [name]: wholeNumber }))
}

const wholeNumber: Rule = (size) =>
  rules.positiveInteger(size) === undefined ? undefined : 'must be a positive whole number'
