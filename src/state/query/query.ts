// Queries by a secondary index: a scan of the index, and a look at each entry that it points to.

import type { ScanRange } from '../../backend/types.js'
import { prefixEnd } from '../../base/bytes.js'
import { reasonOf, StateError } from '../../base/errors.js'
import { invalidArgument, type Rule, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type { ScannedEntry } from '../entries/host.js'
import type { StateEntries } from '../entries/state-entries.js'
import { GivenKey } from '../key/stored-key.js'
import { decoded, PASS_OVER } from '../kinds/scanned.js'
import type { StateContext } from '../kinds/state-context.js'
import type { QueryOptions } from '../kinds/states.js'
import { ABSENT, type EntryIndex, INDEX_HEAD_BYTES } from './entry-index.js'

const limitRule: Rule = (value) => (value === Infinity ? undefined : rules.nonNegativeInteger(value))
const anything: Rule = () => undefined
const queryRules: { readonly [name: string]: Rule } = {
  eq: anything,
  gt: anything,
  gte: anything,
  lt: anything,
  lte: anything,
  reverse: rules.boolean,
  limit: limitRule,
  after: (value) => (typeof value === 'string' ? undefined : 'must be the cursor of a result'),
  signal: rules.signal,
}

/** The entry of a stored key with this value, as a result shows it. */
export type ShowEntry = (storedKey: Uint8Array, value: unknown) => unknown

export function queryIndex<Key>(
  context: StateContext<Key>,
  entries: StateEntries,
  name: string,
  options: QueryOptions<unknown> | undefined,
  show: ShowEntry,
): unknown {
  rejectViolations(violationsOf(options, queryRules))
  const index = entries.indexes.find((each) => each.name === name)
  if (index === undefined) throw invalidArgument('index', `must be an index of state '${context.name}'`)
  context.host.refresh()
  if (!index.isBuilt) {
    throw new StateError('NOT_INITIALIZED', {
      component: `index '${name}' of state '${context.name}', which lacks entries until migrate() has made them,`,
      operation: 'be queried',
    })
  }
  const range = rangeOf(context, index, options ?? {})
  const find = (indexKey: Uint8Array): unknown => {
    const parsed = parse(context, index, indexKey)
    const key = new GivenKey(parsed.key)
    const found = entries.valueOf(key)
    // It has expired, or was changed since the scan began.
    if (found === ABSENT || !index.finds(indexKey, found)) return PASS_OVER
    return { entry: show(parsed.key, found), derived: parsed.derived, cursor: cursorOf(indexKey) }
  }
  const { host } = context
  const scan = host.scan([range])
  const { later } = host
  const limit = options?.limit ?? Infinity
  if (later === undefined) return decoded(scan, ([indexKey]) => find(indexKey), limit)
  return foundLater(
    scan as AsyncIterable<ScannedEntry>,
    (indexKey) => later.read(() => find(indexKey)),
    limit,
  )
}

async function* foundLater(
  scan: AsyncIterable<ScannedEntry>,
  find: (indexKey: Uint8Array) => Promise<unknown>,
  limit: number,
): AsyncGenerator<unknown, void, undefined> {
  let count = 0
  if (limit === 0) return
  for await (const [indexKey] of scan) {
    const item = await find(indexKey)
    if (item === PASS_OVER) continue
    yield item
    if (++count >= limit) return
  }
}

function rangeOf<Key>(
  context: StateContext<Key>,
  index: EntryIndex,
  options: QueryOptions<unknown>,
): ScanRange {
  const { eq, gt, gte, lt, lte, reverse = false, after, signal } = options
  let { gte: from, lt: until } = index.range
  const raise = (bound: Uint8Array) => {
    if (Buffer.compare(bound, from) > 0) from = bound
  }
  const lower = (bound: Uint8Array) => {
    if (Buffer.compare(bound, until) < 0) until = bound
  }
  const head = (derived: unknown): Uint8Array => {
    try {
      return index.head(derived)
    } catch (error) {
      const what = `a bound of index '${index.name}' of state '${context.name}'`
      throw new StateError('SERIALIZATION_FAILED', { what, reason: reasonOf(error) }, { cause: error })
    }
  }
  // No derived value is the beginning of another one: what starts with it is its entries.
  const behind = (derived: unknown) => prefixEnd(head(derived)) as Uint8Array
  for (const bound of [eq, gte]) if (bound !== undefined) raise(head(bound))
  for (const bound of [eq, lte]) if (bound !== undefined) lower(behind(bound))
  if (gt !== undefined) raise(behind(gt))
  if (lt !== undefined) lower(head(lt))
  if (after !== undefined) {
    const key = cursorKey(index, after)
    if (reverse) lower(key)
    else raise(new Uint8Array([...key, 0]))
  }
  if (Buffer.compare(from, until) > 0) until = from
  return { gte: from, lt: until, reverse, ...(signal === undefined ? {} : { signal }) }
}

const cursorOf = (indexKey: Uint8Array): string =>
  base64urlSlice.call(indexKey, INDEX_HEAD_BYTES, indexKey.length)

/** What `Buffer.prototype.toString` calls: it takes any `Uint8Array`, and so needs no `Buffer` made for each cursor. */
const { base64urlSlice } = Buffer.prototype as unknown as {
  base64urlSlice(this: Uint8Array, start: number, end: number): string
}

function cursorKey(index: EntryIndex, cursor: string): Uint8Array {
  return new Uint8Array([...index.range.gte, ...Buffer.from(cursor, 'base64url')])
}

function parse<Key>(
  context: StateContext<Key>,
  index: EntryIndex,
  indexKey: Uint8Array,
): ReturnType<EntryIndex['parse']> {
  try {
    return index.parse(indexKey, context.id)
  } catch (error) {
    throw context.failureOf('read', error, undefined)
  }
}
