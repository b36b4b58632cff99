import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../base/limits.js'
import {
  areValid,
  invalidArgument,
  type Rule,
  rejectViolations,
  rules,
  violationsOf,
} from '../base/options.js'
import { isBytes, isLocalBytes } from '../base/shapes.js'
import { isStretch, type Slot, type Stretch, type ViewedBytes } from '../base/slot.js'
import type { EntryBlock } from './entry-block.js'
import type { PutOptions } from './types.js'

/** Throws `INVALID_ARGUMENT` unless `key` is a `Uint8Array` of at most {@link MAX_KEY_BYTES}. */
export function validateKey(key: Uint8Array): void {
  if (!isBytes(key)) throw invalidArgument('key', 'must be a Uint8Array')
  validateKeyLength(key.length)
}

/** The same where a key may also be a stretch of a larger buffer. */
export function validateKeyOrStretch(key: Uint8Array | Stretch): void {
  // The usual case first, and small, so that it becomes part of its callers: bytes of this realm, of a length that will do.
  if (!(isLocalBytes(key) && key.length <= MAX_KEY_BYTES)) validateUnusualKey(key)
}

function validateUnusualKey(key: Uint8Array | Stretch): void {
  if (!isStretch(key)) return validateKey(key)
  validateStretch('key', key)
  validateKeyLength(key.length)
}

function validateStretch(argument: string, { bytes, offset, length }: Stretch): void {
  if (!isBytes(bytes)) throw invalidArgument(`${argument}.bytes`, 'must be a Uint8Array')
  const isWhole = Number.isSafeInteger(offset) && Number.isSafeInteger(length)
  if (!isWhole || offset < 0 || length < 0 || offset + length > bytes.length) {
    throw invalidArgument(argument, `must lie within its ${bytes.length} bytes`)
  }
}

function validateKeyLength(length: number): void {
  if (length > MAX_KEY_BYTES) {
    throw invalidArgument('key', `is ${length} bytes long; the limit is ${MAX_KEY_BYTES}`)
  }
}

/** Throws `INVALID_ARGUMENT` unless `length` is that of a value: a whole number from 0 to {@link MAX_VALUE_BYTES}. */
export function validateValueLength(length: number): void {
  if (!Number.isSafeInteger(length) || length < 0 || length > MAX_VALUE_BYTES) {
    throw invalidArgument('length', `must be a whole number from 0 to ${MAX_VALUE_BYTES}`)
  }
}

/** Throws `INVALID_ARGUMENT` unless `slot` can be filled: a frozen one would fail when its entry is half-way made. */
export function validateSlot(slot: Slot): void {
  if (typeof slot !== 'object' || slot === null) throw invalidArgument('slot', 'must be a Slot')
  const { offset } = slot
  try {
    slot.offset = offset
  } catch {
    throw invalidArgument('slot', 'must be a Slot that can be filled')
  }
}

/** Throws `INVALID_ARGUMENT` unless the first `length` bytes of a value are there to be copied. */
export function validateViewedValue(value: ViewedBytes, length: number): void {
  validateValueLength(length)
  if (
    typeof value !== 'object' ||
    value === null ||
    !isBytes(value.bytes) ||
    typeof value.view?.getUint32 !== 'function'
  ) {
    throw invalidArgument('value', 'must have bytes, and a view of them')
  }
  if (value.bytes.length < length || value.view.byteLength < length) {
    throw invalidArgument('value', `must have the ${length} bytes that are to be written`)
  }
}

/** Throws `INVALID_ARGUMENT` unless `value` is a `Uint8Array` of at most {@link MAX_VALUE_BYTES}. */
export function validateValue(value: Uint8Array): void {
  if (!isBytes(value)) throw invalidArgument('value', 'must be a Uint8Array')
  if (value.length > MAX_VALUE_BYTES) {
    throw invalidArgument('value', `is ${value.length} bytes long; the limit is ${MAX_VALUE_BYTES}`)
  }
}

/** The same where a value may also be a stretch of a larger buffer. */
export function validateValueOrStretch(value: Uint8Array | Stretch): void {
  if (isLocalBytes(value) || !isStretch(value)) return validateValue(value)
  validateStretch('value', value)
  if (value.length > MAX_VALUE_BYTES) {
    throw invalidArgument('value', `is ${value.length} bytes long; the limit is ${MAX_VALUE_BYTES}`)
  }
}

/** The options of a put that never expires, whatever the default of the backend is: they are known to be valid. */
export const NEVER_EXPIRES: PutOptions = Object.freeze({ ttlMs: Infinity })

const putOptions = { ttlMs: rules.positiveMs }

/** Frozen options that were looked through: they stay as they are, so that the next put with them is spared that. */
let frozenOptions = NEVER_EXPIRES
/** Of the options that are looked through, one in so many is asked whether it is frozen: that takes longer than to look. */
const PATIENCE = 64
let patience = 0

/**
 * Throws `INVALID_ARGUMENT` for a `ttlMs` that is not positive, and for unknown options.
 *
 * @param others what an engine takes beside `ttlMs`.
 */
export function validatePutOptions(
  options: PutOptions | undefined,
  others?: { readonly [name: string]: Rule },
): void {
  if (options === undefined || options === NEVER_EXPIRES || options === frozenOptions) return
  if (isTimeToLive(options)) {
    if (--patience < 0) rememberFrozen(options)
    return
  }
  if (others !== undefined && areValid(options, putOptions, others)) return
  rejectViolations(violationsOf(options, { ...putOptions, ...others }))
}

/** Whether put options are the usual ones, a valid `ttlMs` and nothing else: told without an allocation. */
function isTimeToLive(options: PutOptions): boolean {
  if (typeof options !== 'object' || options === null) return false
  for (const name in options) if (name !== 'ttlMs') return false
  return typeof options.ttlMs === 'number' && options.ttlMs > 0
}

/** Remembers valid options that can become no others: frozen ones whose `ttlMs` is no getter. */
function rememberFrozen(options: PutOptions): void {
  patience = PATIENCE
  const ttlMs = Object.getOwnPropertyDescriptor(options, 'ttlMs')
  if (Object.isFrozen(options) && ttlMs?.get === undefined && ttlMs?.value > 0) frozenOptions = options
}

/** The keys of a `getMany`, checked before the first one is read. */
export function validateKeys(keys: readonly Uint8Array[]): void {
  if (!Array.isArray(keys)) throw invalidArgument('keys', 'must be an array of Uint8Array')
  for (const key of keys) validateKey(key)
}

/** Throws `INVALID_ARGUMENT` unless `blocks` can be iterated asynchronously. */
export function validateBlocks(blocks: AsyncIterable<EntryBlock>): void {
  if (typeof blocks?.[Symbol.asyncIterator] !== 'function') {
    throw invalidArgument('blocks', 'must be an AsyncIterable of entry blocks')
  }
}
