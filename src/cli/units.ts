/** Bytes for people: `12.3 MiB`. */
export function bytesText(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1_024 && unit < UNITS.length - 1) {
    value /= 1_024
    unit++
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${UNITS[unit]}`
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** A whole number for people: `12,345`. Of no locale: to load what formats by locale takes longer than most commands. */
export const countText = (count: number): string => String(count).replace(/\B(?=(?:\d{3})+$)/g, ',')

/** So many of a thing, for people: `1 entry`, `12,345 entries`. */
export const manyText = (count: number, one: string, many: string): string =>
  `${countText(count)} ${count === 1 ? one : many}`

export const entriesText = (count: number): string => manyText(count, 'entry', 'entries')

/** A span of time for people: `4.2 s`, `3 h`. */
export function durationText(ms: number): string {
  const scale = SCALES.find(([below]) => Math.abs(ms) < below) ?? [Infinity, 86_400_000, 'd']
  const value = ms / scale[1]
  return `${value < 10 && scale[1] > 1 ? value.toFixed(1) : Math.round(value)} ${scale[2]}`
}

const SCALES: readonly (readonly [below: number, unitMs: number, name: string])[] = [
  [1_000, 1, 'ms'],
  [60_000, 1_000, 's'],
  [3_600_000, 60_000, 'min'],
  [172_800_000, 3_600_000, 'h'],
]

/** A time as people sort and compare it: to the second, in UTC. */
export const timeText = (time: Date): string => time.toISOString().replace('T', ' ').slice(0, 19)
