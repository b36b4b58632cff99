import { StateError } from '../base/errors.js'
import { invalidArgument, type Rule, rejectViolations, rules, violationsOf } from '../base/options.js'

function check(argument: string, value: unknown, rule: Rule): void {
  const reason = rule(value)
  if (reason !== undefined) throw invalidArgument(argument, reason)
}

export function checkBytes(bytes: unknown): void {
  check('bytes', bytes, rules.bytes)
}

export function checkMaxBytes(maxBytes: unknown): void {
  check('maxBytes', maxBytes, rules.nonNegativeInteger)
}

export function checkGraceMs(graceMs: unknown): void {
  check('graceMs', graceMs, rules.nonNegativeMs)
}

export function checkAcquireOptions(options: unknown): void {
  rejectViolations(violationsOf(options, { takeOver: rules.boolean }))
}

/** The refusal of a second object with a name that is taken. */
export function publishedBefore(resource: string): StateError<'FENCED'> {
  const owner = 'the writer that published it before; objects are never overwritten, use a new name'
  return new StateError('FENCED', { resource, owner })
}

/** What every reader checks before it allocates: a range that lies wholly within the object. */
export function checkRange(what: string, offset: number, length: number, sizeBytes: number): void {
  check('offset', offset, rules.nonNegativeInteger)
  check('length', length, rules.nonNegativeInteger)
  if (offset + length <= sizeBytes) return
  throw new StateError('CORRUPTION', {
    what,
    reason: `bytes ${offset} to ${offset + length} were asked for, and it ends at ${sizeBytes}`,
  })
}
