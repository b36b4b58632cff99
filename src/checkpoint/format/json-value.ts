import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { isPlainObject } from '../../base/shapes.js'

/** Deepest nesting of arrays and objects that is accepted. */
const MAX_DEPTH = 256

/**
 * A value as the JSON text that gives it back, taken at this moment: later changes of the value do not matter.
 * `SERIALIZATION_FAILED` for anything that JSON would drop, change or refuse: `undefined`, NaN, functions, dates,
 * class instances, holes, cycles.
 */
export function jsonTextOf(value: unknown, what: string): string {
  const problem = problemOf(value, what, 0)
  if (problem !== undefined) throw new StateError('SERIALIZATION_FAILED', { what, reason: problem })
  return JSON.stringify(value)
}

/** Parses what {@link jsonTextOf} made. */
export function parseJsonText(text: string): JsonValue {
  return JSON.parse(text) as JsonValue
}

/** Why a value is not JSON, with the path to the place; `undefined` where it is. */
function problemOf(value: unknown, path: string, depth: number): string | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined
    case 'number':
      return Number.isFinite(value) ? undefined : `${path} is ${value}`
    case 'object':
      return value === null ? undefined : problemOfContainer(value, path, depth)
    default:
      return `${path} is ${value === undefined ? 'undefined' : `a ${typeof value}`}`
  }
}

function problemOfContainer(value: object, path: string, depth: number): string | undefined {
  if (depth === MAX_DEPTH) return `${path} is nested more than ${MAX_DEPTH} deep, or contains itself`
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const problem = problemOf(value[index], `${path}[${index}]`, depth + 1)
      if (problem !== undefined) return problem
    }
    return undefined
  }
  if (!isPlainObject(value)) return `${path} is an instance of a class`
  if (Object.getOwnPropertySymbols(value).length > 0) return `${path} has a symbol as a key`
  for (const [name, member] of Object.entries(value)) {
    const problem = problemOf(member, `${path}.${name}`, depth + 1)
    if (problem !== undefined) return problem
  }
  return undefined
}
