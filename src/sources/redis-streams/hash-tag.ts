// In which slot of a Cluster a key lies: what is hashed is what is between its first `{` and the first `}` behind that, or, where that is
// nothing or there is none, the whole key.

import { assert } from '../../base/assert.js'
import type { Rule } from '../../base/options.js'

/** By which a key of ours comes to lie in the slot of another one: `{tag}` at its beginning. */
export function hashTagOf(key: string): string {
  const hashed = hashedOf(key)
  assert(!hashed.includes('}'), 'the key was refused')
  return hashed
}

/** The rule that there is such a tag for a key: it would end at a `}`. */
export const hasHashTag: Rule = (key) =>
  typeof key === 'string' && hashedOf(key).includes('}')
    ? `must not have a '}' without a '{' and more before it, as '${key}' does: no other key can be put into its slot`
    : undefined

function hashedOf(key: string): string {
  const from = key.indexOf('{')
  const end = key.indexOf('}', from + 1)
  return from >= 0 && end > from + 1 ? key.slice(from + 1, end) : key
}
