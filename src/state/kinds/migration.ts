// How values of an earlier version become values of the next one.

import { StateError } from '../../base/errors.js'
import type { AnyCodec, StateTypeError, ValueOf } from '../codec/codec.js'
import type { ContentOf, StateForm } from './definition-types.js'

declare const stepTypes: unique symbol

/** One step of a chain of migrations, made by {@link from}. */
export interface MigrationStep<Old = unknown, Next = unknown, From = AnyCodec | StateForm> {
  /** What the earlier version was: a codec for the same kind of state, or another kind. */
  readonly from: From
  readonly apply: (old: never) => unknown
  readonly [stepTypes]?: (old: Old) => Next
}

/** A step: with the codec of the earlier version, or a bare function where the bytes say what they are (JSON, MessagePack). */
export type Migration = MigrationStep<never> | ((old: never) => unknown)

/**
 * A step from an earlier version: its codec, and what makes the next version's value of its values; of a list it is called for
 * each element, of a map for each value. With the definition of another kind (or of another map key), it is given everything
 * under one key and returns everything: a value, an array of elements, an array of `[mapKey, value]`.
 *
 * The function is called again for the same value, by reads, until it is migrated: it must not do anything else.
 *
 * @example value(struct({ cents: int64 }), { migrations: [from(struct({ euros: uint32 }), (old) => ({ cents: old.euros * 100 }))] })
 */
export function from<C extends AnyCodec, Next>(
  codec: C,
  apply: (old: ValueOf<C>) => Next,
): MigrationStep<ValueOf<C>, Next, AnyCodec>
export function from<Definition extends StateForm, Next>(
  definition: Definition,
  apply: (old: ContentOf<Definition>) => Next,
): MigrationStep<ContentOf<Definition>, Next, StateForm>
export function from(earlier: AnyCodec | StateForm, apply: (old: never) => unknown): MigrationStep<never> {
  const isEarlier =
    typeof earlier === 'object' && earlier !== null && ('kind' in earlier || 'read' in earlier)
  const violations = [
    ...(isEarlier ? [] : [{ argument: 'earlier', reason: 'must be a codec or a definition of a state' }]),
    ...(typeof apply === 'function' ? [] : [{ argument: 'apply', reason: 'must be a function' }]),
  ]
  if (violations.length > 0) throw new StateError('INVALID_ARGUMENT', { violations })
  return Object.freeze({ from: earlier, apply }) as MigrationStep<never>
}

type OldOf<Step> = Step extends { readonly [stepTypes]?: (old: infer Old) => unknown }
  ? Step extends (old: infer Given) => unknown
    ? Given
    : Old
  : Step extends (old: infer Given) => unknown
    ? Given
    : never
type NextOf<Step> = Step extends (old: never) => infer Next
  ? Next
  : Step extends { readonly [stepTypes]?: (old: never) => infer Next }
    ? Next
    : never

type IsWhole<Step> = Step extends { readonly from: StateForm } ? true : false
/** One of what a content has: an element of a list, a value of a map. */
type ElementOf<Content> = Content extends [mapKey: infer _, value: infer Value][]
  ? Value
  : Content extends (infer Element)[]
    ? Element
    : Content

/** What a step must return so that the following one can be given it, or that the state can store it. */
type Expected<Step, Rest, Last, LastContent> = Rest extends readonly [infer Following, ...unknown[]]
  ? IsWhole<Following> extends true
    ? IsWhole<Step> extends true
      ? OldOf<Following>
      : OldOf<Following> | ElementOf<OldOf<Following>>
    : OldOf<Following>
  : IsWhole<Step> extends true
    ? LastContent
    : Last

/** Each step's result must be what the next step is given, the last one's what the state stores. */
export type CheckedChain<
  Steps,
  Last,
  LastContent,
  Count extends readonly unknown[] = [],
> = Steps extends readonly [infer Step, ...infer Rest]
  ? readonly [
      NextOf<Step> extends Expected<Step, Rest, Last, LastContent>
        ? Step
        : StateTypeError<`what migration ${Count['length'] & number} returns is not what ${Rest extends readonly [unknown, ...unknown[]] ? 'the next one is given' : 'the state stores'}`>,
      ...CheckedChain<Rest, Last, LastContent, [...Count, unknown]>,
    ]
  : readonly []

/** A step, with what it reads spelled out. */
export interface ResolvedStep extends StateForm {
  /** Whether `apply` is given one value or element at a time, or everything under one key. */
  readonly isWhole: boolean
  readonly apply: (old: unknown) => unknown
}

const isOneValue = (kind: StateForm['kind']): boolean => kind !== 'list' && kind !== 'map'

/** The steps of a definition, the earliest first. */
export function resolveSteps(
  definition: StateForm & { readonly migrations: readonly Migration[] },
): readonly ResolvedStep[] {
  const resolved: ResolvedStep[] = []
  let next: StateForm = definition
  for (const migration of [...definition.migrations].reverse()) {
    const isBare = typeof migration === 'function'
    const apply = (isBare ? migration : migration.apply) as (old: unknown) => unknown
    const earlier = isBare ? (next.codec.former ?? next.codec) : migration.from
    const step: ResolvedStep =
      'kind' in earlier
        ? {
            kind: earlier.kind,
            codec: earlier.codec,
            mapKey: earlier.mapKey,
            isWhole: !(isOneValue(earlier.kind) && isOneValue(next.kind)),
            apply,
          }
        : { kind: next.kind, codec: earlier, mapKey: next.mapKey, isWhole: false, apply }
    resolved.unshift(step)
    next = step
  }
  return resolved
}
