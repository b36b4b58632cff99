import { rejectViolations, rules, unsetViolations, violationsOf } from '../base/options.js'
import { keyRangeViolations } from './scan-range.js'
import type { BlockOptions, ReplaceOptions } from './types.js'

/** Bytes at which a block of entries is handed on, unless the caller says otherwise. */
export const DEFAULT_BLOCK_BYTES: number = 256 * 1024

const blockOptions = { targetBytes: rules.positiveInteger, signal: rules.signal }
const replaceOptions = {
  range: (value: unknown) => {
    const [first] = keyRangeViolations(value, 'range')
    return first === undefined ? undefined : `is no range of keys: ${first.argument} ${first.reason}`
  },
  expectedEntries: rules.nonNegativeInteger,
  clockMs: rules.timeMs,
  signal: rules.signal,
}

/** Throws `INVALID_ARGUMENT`, with every violation, where these are no {@link BlockOptions}. */
export function validateBlockOptions(options: BlockOptions | undefined): void {
  rejectViolations(violationsOf(options, blockOptions))
}

/** Throws `INVALID_ARGUMENT`, with every violation, where these are no {@link ReplaceOptions}. */
export function validateReplaceOptions(options: ReplaceOptions | undefined): void {
  // No range means every key: one that is named but undefined cannot have meant that.
  rejectViolations([...violationsOf(options, replaceOptions), ...unsetViolations(options, ['range'])])
}
