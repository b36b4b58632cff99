export interface Reading {
  readonly sensor: string
  readonly at: number
  readonly celsius: number
}

/** By how much an event may come behind a later one. */
export const DISORDER_MS = 50

/** Readings whose results are known: always the same. */
export function readings(count: number): Reading[] {
  return Array.from({ length: count }, (_, i) => ({
    sensor: `sensor ${(i * 7_919) % 13}`,
    at: i * 10 - ((i * 31) % DISORDER_MS) + (i % 997 === 0 ? 40 : 0) + Math.floor(i / 400) * 900,
    celsius: (i * 17) % 101,
  }))
}

/** What the windows of these must come to, by sorting and adding up: each result as a line. */
export function expectedWindows(count: number): string[] {
  const lines: string[] = []
  const bySensor = new Map<string, Reading[]>()
  for (const reading of readings(count))
    bySensor.set(reading.sensor, [...(bySensor.get(reading.sensor) ?? []), reading])
  for (const [sensor, all] of bySensor) {
    all.sort((left, right) => left.at - right.at)
    const windows = new Map<string, number[]>()
    const enter = (name: string, startMs: number, endMs: number, celsius: number) => {
      const id = `${name} ${sensor} ${startMs} ${endMs}`
      windows.set(id, [...(windows.get(id) ?? []), celsius])
    }
    for (const { at, celsius } of all) {
      const minute = Math.floor(at / 1_000) * 1_000
      enter('tumbling', minute, minute + 1_000, celsius)
      for (let startMs = Math.floor(at / 300) * 300; startMs > at - 900; startMs -= 300) {
        enter('hopping', startMs, startMs + 900, celsius)
      }
    }
    for (let from = 0; from < all.length; ) {
      let until = from + 1
      const at = (i: number) => (all[i] as Reading).at
      while (until < all.length && at(until) - at(until - 1) <= 200) until++
      for (let i = from; i < until; i++) {
        enter('sessions', at(from), at(until - 1) + 200, (all[i] as Reading).celsius)
      }
      from = until
    }
    for (const [id, values] of windows) {
      lines.push(
        `${id} ${values.length} ${values.reduce((sum, each) => sum + each, 0)} ${Math.max(...values)}`,
      )
    }
  }
  return lines.sort()
}

/** What a second has of one sensor. */
export interface SecondOfSensor {
  readonly startMs: number
  readonly count: number
  readonly total: number
}

/** What all sensors come to in each second: sensors, readings, sum. */
export function expectedSeconds(count: number): string[] {
  const seconds = new Map<number, Reading[]>()
  for (const reading of readings(count)) {
    const startMs = Math.floor(reading.at / 1_000) * 1_000
    seconds.set(startMs, [...(seconds.get(startMs) ?? []), reading])
  }
  return [...seconds]
    .sort(([left], [right]) => left - right)
    .map(([startMs, all]) => {
      const sensors = new Set(all.map(({ sensor }) => sensor)).size
      const total = all.reduce((sum, { celsius }) => sum + celsius, 0)
      return `${startMs} ${sensors} ${all.length} ${total}`
    })
}
