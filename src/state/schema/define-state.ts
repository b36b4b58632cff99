// A schema is a value: what a store is keyed by, and which states it has.

import type { Violation } from '../../base/errors.js'
import { rejectViolations, requireSettings, rules } from '../../base/options.js'
import type { AnyKeyCodec, InputOf, StateTypeError, ValueOf } from '../codec/codec.js'
import { isKeyCodec } from '../codec/codec.js'
import { DEFAULT_KEY_GROUPS, MAX_KEY_GROUPS } from '../key/key-group.js'
import type { CheckedKey, StateDefinition } from '../kinds/definitions.js'

export interface StateDefinitions {
  readonly [name: string]: StateDefinition
}

/** A schema that was checked: made by `defineState`. */
export interface StateSchema<Key = unknown, States extends StateDefinitions = StateDefinitions> {
  readonly key: AnyKeyCodec
  readonly states: States
  /** Into how many groups keys are divided: fixed for the life of a store. */
  readonly keyGroups: number
  /** Recorded states whose entries are to be removed at the next opening. */
  readonly drop: readonly string[]
  readonly keyVersion: number
  readonly migrateKey: KeyMigration | undefined
  readonly keyType?: Key
}

/** From an earlier form of the key to the present one, made by {@link fromKey}. */
export interface KeyMigration<Key = unknown> {
  readonly from: AnyKeyCodec
  readonly apply: (old: never) => Key
  readonly merge: { readonly [state: string]: (left: never, right: never) => unknown }
}

/**
 * What makes the key of now of one that an earlier version of the program has written. Where two old keys become one, lists are
 * appended, maps joined (of equal map keys `merge` makes one value), reducing states reduced; other values take `merge`, by the
 * name of the state. Without it they are `INCOMPATIBLE`, and nothing of that key is changed.
 *
 * @example migrateKey: fromKey(utf8, (tenant) => ['eu', tenant], { merge: { total: (left, right) => left + right } })
 */
export function fromKey<KeyC extends AnyKeyCodec, Key>(
  codec: KeyC,
  apply: (old: ValueOf<KeyC>) => Key,
  options?: { readonly merge?: KeyMigration['merge'] },
): KeyMigration<Key> {
  const violations: Violation[] = []
  if (typeof codec !== 'object' || codec === null || !isKeyCodec(codec)) {
    violations.push({ argument: 'codec', reason: 'must be a codec that can be a key' })
  }
  if (typeof apply !== 'function') violations.push({ argument: 'apply', reason: 'must be a function' })
  rejectViolations(violations)
  return Object.freeze({ from: codec, apply, merge: { ...options?.merge } })
}

/** Names that a store has for itself, or may have one day. */
const reservedNames = [
  'advanceWatermark',
  'at',
  'backend',
  'batch',
  'bootstrap',
  'clear',
  'close',
  'constructor',
  'describe',
  'flush',
  'key',
  'keyGroups',
  'keys',
  'migrate',
  'plan',
  'query',
  'schema',
  'states',
  'stats',
  'then',
  'watermark',
] as const

type ReservedName = (typeof reservedNames)[number]

/** A state under a name of the store itself is shown as this type, so that the message says why. */
export type CheckedStates<States> = {
  readonly [Name in keyof States]: Name extends ReservedName
    ? StateTypeError<`'${Name}' is a name of the store itself: the state needs another one`>
    : States[Name] extends StateDefinition
      ? States[Name]
      : StateTypeError<`'${Name & string}' is no state: use value, list, map, reducing or aggregating`>
}

export interface SchemaInput<KeyC, States> {
  /** What the stream is keyed by. */
  readonly key: KeyC & CheckedKey<KeyC>
  readonly states: States & CheckedStates<States>
  /**
   * Into how many groups keys are divided: the units in which a store can be moved to another process. 1 to 32,768; default
   * 128. It is recorded, and cannot be changed afterwards.
   */
  readonly keyGroups?: number
  /** Names of states that an earlier version had: their entries are removed when the store is opened. */
  readonly drop?: readonly string[]
  /** From the earlier form of the key: done by the opening that is told `migrate`. */
  readonly migrateKey?: KeyMigration<InputOf<KeyC>>
  /** The version of the key. Default: 1, or 2 with `migrateKey`. */
  readonly keyVersion?: number
}

const MAX_NAME_LENGTH = 128

/**
 * Checks and freezes a schema; throws `INVALID_ARGUMENT` with everything that is wrong. The types of keys, values and calls
 * follow from it.
 *
 * @example
 * const schema = defineState({
 *   key: tuple(utf8, utf8),
 *   states: { visits: value(uint32), seen: map(utf8, none) },
 * })
 */
export function defineState<KeyC, const States extends StateDefinitions>(
  input: SchemaInput<KeyC, States>,
): StateSchema<ValueOf<KeyC>, States> {
  requireSettings(input, [], 'schema')
  const {
    key,
    states,
    keyGroups = DEFAULT_KEY_GROUPS,
    drop = [],
    migrateKey,
    keyVersion = migrateKey === undefined ? 1 : 2,
  } = input as unknown as {
    readonly migrateKey?: KeyMigration
    readonly keyVersion?: number
    readonly key: AnyKeyCodec
    readonly states: States
    readonly keyGroups?: number
    readonly drop?: readonly string[]
  }
  const violations: Violation[] = []
  const found = (argument: string, reason: string | undefined) => {
    if (reason !== undefined) violations.push({ argument, reason })
  }
  const isKey = rules.object(key) === undefined && isKeyCodec(key)
  found('key', isKey ? undefined : 'must be a codec that can be a key')
  const isCount = rules.positiveInteger(keyGroups) === undefined && keyGroups <= MAX_KEY_GROUPS
  found('keyGroups', isCount ? undefined : `must be a whole number from 1 to ${MAX_KEY_GROUPS}`)
  found('states', rules.object(states))
  const names = Object.keys(states ?? {})
  for (const name of names) {
    found(`states.${name}`, nameProblem(name))
    found(
      `states.${name}`,
      isDefinition(states[name]) ? undefined : 'must be made by value(), list(), map(), …',
    )
  }
  if (Array.isArray(drop)) {
    for (const name of drop)
      found('drop', names.includes(name) ? `names '${name}', which is a state` : undefined)
  } else {
    found('drop', 'must be an array of names')
  }
  found('keyVersion', rules.positiveInteger(keyVersion))
  const former = names.flatMap((name) =>
    isDefinition(states[name]) ? (states[name]?.renamedFrom ?? []) : [],
  )
  for (const name of former) {
    const isTaken = names.includes(name) || former.indexOf(name) !== former.lastIndexOf(name)
    found('renamedFrom', isTaken ? `names '${name}', which is a state, or was another one` : undefined)
  }
  rejectViolations(violations)
  return Object.freeze({
    keyVersion,
    migrateKey,
    key,
    states: Object.freeze({ ...states }),
    keyGroups,
    drop: Object.freeze([...drop]),
  })
}

/** Why a state cannot have this name, if so. */
export function nameProblem(name: string): string | undefined {
  const isReserved = (reservedNames as readonly string[]).includes(name) || name === '__proto__'
  if (isReserved) return 'has a name of the store itself'
  return name.length > 0 && name.length <= MAX_NAME_LENGTH
    ? undefined
    : `must have a name of 1 to ${MAX_NAME_LENGTH} characters`
}

function isDefinition(value: unknown): value is StateDefinition {
  return typeof value === 'object' && value !== null && 'kind' in value && 'codec' in value
}
