// Numbers, times and keys as people read them.

export const count = (value: number): string => value.toLocaleString('en-US')

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

export function bytes(value: number): string {
  let [scaled, unit] = [value, 0]
  while (scaled >= 1_024 && unit < UNITS.length - 1) {
    scaled /= 1_024
    unit++
  }
  return unit === 0 ? `${value} B` : `${scaled.toFixed(scaled < 100 ? 1 : 0)} ${UNITS[unit]}`
}

export function duration(ms: number): string {
  const span = Math.abs(ms)
  if (span < 1_000) return `${ms < 10 ? Number(ms.toFixed(1)) : Math.round(ms)} ms`
  if (span < 60_000) return `${(ms / 1_000).toFixed(span < 10_000 ? 1 : 0)} s`
  if (span < 3_600_000) return `${(ms / 60_000).toFixed(span < 600_000 ? 1 : 0)} min`
  if (span < 172_800_000) return `${(ms / 3_600_000).toFixed(1)} h`
  return `${Math.round(ms / 86_400_000)} d`
}

/** No calendar goes further. */
const LAST_MS = 8.64e15

/** To the second, in UTC, as it is sorted; a time that no calendar has as a number. */
export const time = (ms: number): string =>
  Math.abs(ms) > LAST_MS ? String(ms) : new Date(ms).toISOString().replace('T', ' ').slice(0, 19)

/** `chk-0000000042` as `42`: zeros are no news. */
export const shortId = (id: string): string => id.replace(/^chk-0*(?=\d)/, '')

/** The number in an id, by which the newer of two is told. */
export const sequenceIn = (id: string): number => Number(shortId(id))

/** Characters that do something to a terminal or a line, or cannot be seen, by what they are called. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu

/** A text as it can be looked at: what is invisible, or would turn the line around, is written out. */
const visible = (text: string): string =>
  text.replaceAll(INVISIBLE, (character) =>
    character === '\n' ? '↵' : character === '\t' ? '⇥' : `\\u{${character.codePointAt(0)?.toString(16)}}`,
  )

/** A JSON value in one line. */
export const inline = (value: unknown): string =>
  value === null || value === undefined
    ? ''
    : visible(typeof value === 'string' ? value : JSON.stringify(value))

/** A JSON value over several lines, with line breaks of texts kept. */
export const pretty = (value: unknown): string => {
  const text = typeof value === 'string' ? value : JSON.stringify(value, undefined, 2)
  return text.split('\n').map(visible).join('\n')
}
