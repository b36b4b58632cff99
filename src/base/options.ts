import { StateError, type Violation } from './errors.js'
import { isAbortSignal, isBytes, isPlainObject } from './shapes.js'

/** What a setting must be; returns what is wrong with the value, or `undefined`. */
export type Rule = (value: unknown) => string | undefined

type RuleName =
  | 'positiveMs'
  | 'nonNegativeMs'
  | 'timeMs'
  | 'positiveInteger'
  | 'nonNegativeInteger'
  | 'boolean'
  | 'bytes'
  | 'function'
  | 'signal'
  | 'object'

/** The rules that most settings have. */
export const rules: { readonly [Name in RuleName]: Rule } = {
  positiveMs: (value) =>
    typeof value === 'number' && value > 0
      ? undefined
      : 'must be a positive number of milliseconds or Infinity',
  nonNegativeMs: (value) =>
    Number.isFinite(value) && (value as number) >= 0
      ? undefined
      : 'must be a finite number of milliseconds, 0 or more',
  timeMs: (value) => (Number.isFinite(value) ? undefined : 'must be a time in milliseconds since the epoch'),
  positiveInteger: (value) =>
    Number.isSafeInteger(value) && (value as number) > 0 ? undefined : 'must be a positive integer',
  nonNegativeInteger: (value) =>
    Number.isSafeInteger(value) && (value as number) >= 0 ? undefined : 'must be an integer, 0 or more',
  boolean: (value) => (typeof value === 'boolean' ? undefined : 'must be true or false'),
  bytes: (value) => (isBytes(value) ? undefined : 'must be a Uint8Array'),
  function: (value) => (typeof value === 'function' ? undefined : 'must be a function'),
  signal: (value) => (isAbortSignal(value) ? undefined : 'must be an AbortSignal'),
  object: (value) => (typeof value === 'object' && value !== null ? undefined : 'must be an object'),
}

/** The rule that a value is an object with these methods. */
export function hasMethods(...names: readonly string[]): Rule {
  return (value) => {
    if (typeof value !== 'object' || value === null) return 'must be an object'
    const missing = names.filter((name) => typeof (value as Record<string, unknown>)[name] !== 'function')
    return missing.length === 0 ? undefined : `lacks ${missing.map((name) => `${name}()`).join(', ')}`
  }
}

/** The rule that a value is text, be it empty. */
export const anyText: Rule = (value) => (typeof value === 'string' ? undefined : 'must be text')

/** The rule that a value is text, and some. */
export const nonEmptyText: Rule = (value) =>
  typeof value === 'string' && value !== '' ? undefined : 'must be text that is not empty'

/** The rule that a value is one of a few strings. */
export function oneOf(...allowed: readonly string[]): Rule {
  return (value) =>
    typeof value === 'string' && allowed.includes(value) ? undefined : `must be one of ${allowed.join(', ')}`
}

/**
 * Whether an object has a setting, and no other than valid ones: told without an allocation, for what is called very often. Where it is
 * false, {@link violationsOf} tells what is wrong, if anything is.
 */
export function areValid(
  options: unknown,
  schema: { readonly [name: string]: Rule },
  others: { readonly [name: string]: Rule } = NO_RULES,
): boolean {
  if (typeof options !== 'object' || options === null) return false
  const settings = options as { readonly [name: string]: unknown }
  for (const name in settings) if (!Object.hasOwn(schema, name) && !Object.hasOwn(others, name)) return false
  const first = validSettings(settings, schema)
  const second = validSettings(settings, others)
  return first >= 0 && second >= 0 && first + second > 0
}

const NO_RULES: { readonly [name: string]: Rule } = Object.freeze({})

/** How many of these settings there are; -1 where one of them is wrong. */
function validSettings(
  settings: { readonly [name: string]: unknown },
  schema: { readonly [name: string]: Rule },
): number {
  let count = 0
  for (const name in schema) {
    const value = settings[name]
    if (value === undefined) continue
    if (schema[name]?.(value) !== undefined) return -1
    count++
  }
  return count
}

/**
 * Checks an options object against one rule per allowed name. An `undefined` setting counts as absent. Settings that a class or
 * a prototype gives count as well, because they are read; but what is no plain object and has no setting at all (a promise, an
 * array, a `Map`) is a mistake, not "no settings": for a range of keys to delete that would mean everything.
 * Returns every violation, unknown names included; throws nothing.
 */
export function violationsOf(
  options: unknown,
  schema: { readonly [name: string]: Rule },
  label = 'options',
): Violation[] {
  if (options === undefined) return []
  if (typeof options !== 'object' || options === null) {
    return [{ argument: label, reason: 'must be an object' }]
  }
  const settings = options as { readonly [name: string]: unknown }
  const inherited = Object.keys(schema).filter((name) => name in settings)
  // What the caller has written comes first, in the order of the writing.
  const names = new Set([...Object.keys(settings), ...inherited])
  if (names.size === 0 && !isPlainObject(settings)) {
    return [{ argument: label, reason: 'must be an object of settings' }]
  }
  const violations: Violation[] = []
  for (const name of names) {
    const argument = `${label}.${name}`
    const rule = Object.hasOwn(schema, name) ? schema[name] : undefined
    if (rule === undefined) {
      violations.push({ argument, reason: `is unknown; known are ${Object.keys(schema).join(', ')}` })
      continue
    }
    const value = settings[name]
    const reason = value === undefined ? undefined : rule(value)
    if (reason !== undefined) violations.push({ argument, reason })
  }
  return violations
}

/**
 * Those of the named settings that are there but `undefined`, for what must not take that for "absent": a bound of a range to
 * delete, since without it the range is larger than the caller can have meant.
 */
export function unsetViolations(options: unknown, names: readonly string[], label = 'options'): Violation[] {
  if (typeof options !== 'object' || options === null) return []
  const settings = options as { readonly [name: string]: unknown }
  return names
    .filter((name) => name in settings && settings[name] === undefined)
    .map((name) => ({ argument: `${label}.${name}`, reason: 'is named but undefined' }))
}

/** Throws one `INVALID_ARGUMENT` that lists every violation, if there are any. */
export function rejectViolations(violations: readonly Violation[]): void {
  if (violations.length > 0) throw new StateError('INVALID_ARGUMENT', { violations })
}

/**
 * Throws where a caller in plain JavaScript has passed no object, or one that lacks a setting without a default: whatever takes settings out of it would fail
 * with an error that names nothing.
 */
export function requireSettings(options: unknown, required: readonly string[] = [], label = 'options'): void {
  const reason = rules.object(options)
  if (reason !== undefined) throw invalidArgument(label, reason)
  const settings = options as { readonly [name: string]: unknown }
  const missing = required.filter((name) => settings[name] === undefined)
  rejectViolations(missing.map((name) => ({ argument: `${label}.${name}`, reason: 'is required' })))
}

/** The error for a single wrong argument. */
export function invalidArgument(argument: string, reason: string): StateError<'INVALID_ARGUMENT'> {
  return new StateError('INVALID_ARGUMENT', { violations: [{ argument, reason }] })
}
