/** So much time is a window. */
export const SIZE_MS = 1_000
const KEYS = 3_001

export interface KeyAt {
  readonly key: number
  readonly at: number
}

/** Events of many keys, in order of time: a window has several of most keys. */
export function manyKeys(count: number): KeyAt[] {
  return Array.from({ length: count }, (_, i) => ({ key: (i * 7_919) % KEYS, at: Math.floor(i / 8) }))
}

/** What the windows of these come to, in order. */
export function expectedKeyCounts(count: number): string[] {
  const windows = new Map<number, Map<number, number>>()
  for (const { key, at } of manyKeys(count)) {
    const startMs = Math.floor(at / SIZE_MS) * SIZE_MS
    const counts = windows.get(startMs) ?? new Map<number, number>()
    windows.set(startMs, counts)
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return [...windows].flatMap(([startMs, counts]) =>
    [...counts]
      .toSorted(([left], [right]) => left - right)
      .map(([key, times]) => `${startMs} ${key} ${times}`),
  )
}
