// The stretches of stored keys that a scan visits.

import type { ScanRange } from '../../backend/types.js'
import { present } from '../../base/assert.js'
import { prefixEnd } from '../../base/bytes.js'
import { type Rule, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type { KeyCodec } from '../codec/codec.js'
import { type KeyLike, statePrefix } from '../key/stored-key.js'
import type { StateContext } from './state-context.js'
import type { ElementScanOptions, KeyGroupRange, MapScanOptions, StateScanOptions } from './states.js'

const limitRule: Rule = (value) => (value === Infinity ? undefined : rules.nonNegativeInteger(value))
const anything: Rule = () => undefined
const elementRules = { reverse: rules.boolean, limit: limitRule, signal: rules.signal }
const mapRules = { ...elementRules, gt: anything, gte: anything, lt: anything, lte: anything }

/** The rule that a value is a range of key groups of a store with so many. */
export function groupsRule(keyGroups: number): Rule {
  return (value) => {
    const { from, until } = (value ?? {}) as Partial<KeyGroupRange>
    const isRange =
      Number.isInteger(from) &&
      Number.isInteger(until) &&
      (from as number) >= 0 &&
      (until as number) <= keyGroups
    return isRange && (from as number) <= (until as number)
      ? undefined
      : `must have from and until, whole numbers with 0 <= from <= until <= ${keyGroups}`
  }
}

const withSignal = (signal: AbortSignal | undefined): { signal?: AbortSignal } =>
  signal === undefined ? {} : { signal }

/** Every entry of a state in some groups: one stretch for each group, in order. */
export function stateRanges<Key>(
  { id, keyGroups }: StateContext<Key>,
  options: StateScanOptions | undefined,
): ScanRange[] {
  const stateRules = { groups: groupsRule(keyGroups), limit: limitRule, signal: rules.signal }
  rejectViolations(violationsOf(options, stateRules))
  const { from, until } = options?.groups ?? { from: 0, until: keyGroups }
  const ranges: ScanRange[] = []
  for (let group = from; group < until; group++) {
    const gte = statePrefix(group, id)
    ranges.push({ gte, lt: behind(gte), ...withSignal(options?.signal) })
  }
  return ranges
}

/** The options of a scan within one key, checked, as those of a backend. */
export function elementOptions(options: ElementScanOptions | undefined): ScanRange {
  rejectViolations(violationsOf(options, elementRules))
  return { reverse: options?.reverse ?? false, ...withSignal(options?.signal) }
}

/** The entries of one key's map between bounds. */
export function mapRange<Key, MapKey>(
  context: StateContext<Key>,
  codec: KeyCodec<MapKey>,
  key: KeyLike<Key>,
  options: MapScanOptions<MapKey> | undefined,
): ScanRange {
  rejectViolations(violationsOf(options, mapRules))
  const prefix = context.locate(key).copy()
  const { gt, gte, lt, lte, reverse = false, signal } = options ?? {}
  const at = (mapKey: MapKey) => context.locateIn(key, codec, mapKey).copy()
  let from: Uint8Array = prefix
  let until = behind(prefix)
  // No map key is the beginning of another one: whatever starts with its bytes is the entry itself.
  for (const bound of [
    gte === undefined ? undefined : at(gte),
    gt === undefined ? undefined : behind(at(gt)),
  ]) {
    if (bound !== undefined && Buffer.compare(bound, from) > 0) from = bound
  }
  for (const bound of [
    lt === undefined ? undefined : at(lt),
    lte === undefined ? undefined : behind(at(lte)),
  ]) {
    if (bound !== undefined && Buffer.compare(bound, until) < 0) until = bound
  }
  return { gte: from, lt: until, reverse, ...withSignal(signal) }
}

/** The first key behind all those that start with `prefix`. */
function behind(prefix: Uint8Array): Uint8Array {
  return present(prefixEnd(prefix), 'groups end below 0x8000')
}
