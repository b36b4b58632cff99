// Cells of a CSV file are text; values of an NDJSON line may be numbers as well. Each function takes either and
// returns `undefined` for what it cannot read exactly.

/** So that a key of two names stays well below the limit for keys. */
const MAX_NAME_LENGTH = 200
const MAX_COUNT = 1e9
const MAX_AMOUNT = 1e9

/** Below this a number is a time in seconds, up to a thousand times as much one in milliseconds: years 1973 to 5138. */
const FIRST_EPOCH_MS = 1e11

const decimal = /^\s*\+?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?\s*$/
const dateTime =
  /^\s*(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?)?\s*$/i

/**
 * Milliseconds since the epoch, from: a number of seconds or milliseconds since the epoch; ISO 8601; a date and a time
 * of day with any number of decimals. A time that names no zone is UTC. Fractions of a millisecond are cut off.
 */
export function readTimeMs(value: unknown): number | undefined {
  const seconds = readNumber(value)
  if (seconds !== undefined) {
    if (seconds < FIRST_EPOCH_MS) return Math.floor(seconds * 1000)
    return seconds < FIRST_EPOCH_MS * 1000 ? Math.floor(seconds) : undefined
  }
  const match = typeof value === 'string' ? dateTime.exec(value) : null
  if (match === null) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map((part) => Number(part ?? 0))
  const timeMs = Date.UTC(year, month - 1, day, hour, minute, second, milliseconds(match[7]))
  const date = new Date(timeMs)
  // Date.UTC carries over what does not exist, such as 30 February or minute 60, and moves years before 100.
  const exists =
    date.getUTCFullYear() === year &&
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    date.getUTCHours() === hour &&
    date.getUTCMinutes() === minute &&
    date.getUTCSeconds() === second
  return exists ? timeMs - zoneOffsetMs(match[8]) : undefined
}

/** A whole number from 0 to a thousand million. */
export function readCount(value: unknown): number | undefined {
  const number = readNumber(value)
  return number !== undefined && Number.isInteger(number) && number <= MAX_COUNT ? number : undefined
}

/** A number from 0 to a thousand million. */
export function readAmount(value: unknown): number | undefined {
  const number = readNumber(value)
  return number !== undefined && number <= MAX_AMOUNT ? number : undefined
}

/** A name of at most 200 characters; a number counts as its digits. */
export function readName(value: unknown): string | undefined {
  const name = typeof value === 'number' ? String(value) : value
  return typeof name === 'string' && name.length <= MAX_NAME_LENGTH ? name : undefined
}

function readNumber(value: unknown): number | undefined {
  const number = typeof value === 'string' && decimal.test(value) ? Number(value) : value
  return typeof number === 'number' && number >= 0 && number < Infinity ? number : undefined
}

function milliseconds(fraction = ''): number {
  return Number(fraction.slice(0, 3).padEnd(3, '0'))
}

function zoneOffsetMs(zone = 'Z'): number {
  if (zone.toUpperCase() === 'Z') return 0
  const sign = zone.startsWith('-') ? -1 : 1
  const digits = zone.slice(1).replace(':', '').padEnd(4, '0')
  return sign * (Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2))) * 60_000
}
