/** What a killed job reads. A type, so that it is JSON to the compiler. */
export type CountedEvent = { readonly key: string; readonly n: number }

/** What it puts out for each event: how many of that key there were. */
export type CountedOutput = { readonly key: string; readonly n: number; readonly count: number }

/** The events from one number up to another: always the same. */
export function eventsOf(from: number, until: number): CountedEvent[] {
  return Array.from({ length: until - from }, (_, i) => ({
    key: `key ${((from + i) * 7_919) % 13}`,
    n: from + i,
  }))
}

/** What must be put out for all events from the first one on. */
export function countOf(events: readonly CountedEvent[]): CountedOutput[] {
  const counts = new Map<string, number>()
  return events.map(({ key, n }) => {
    const count = (counts.get(key) ?? 0) + 1
    counts.set(key, count)
    return { key, n, count }
  })
}

/**
 * Outputs as though the events of each key had come in their order: what was counted of each event, and each count of a key, are as they were.
 */
export function asInOrder(outputs: readonly CountedOutput[]): CountedOutput[] {
  return [...new Set(outputs.map(({ key }) => key))]
    .flatMap((key) => {
      const ofKey = outputs.filter((output) => output.key === key)
      const counts = ofKey.map(({ count }) => count).toSorted((a, b) => a - b)
      const numbers = ofKey.map(({ n }) => n).toSorted((a, b) => a - b)
      return numbers.map((n, i) => ({ key, n, count: counts[i] ?? 0 }))
    })
    .toSorted((a, b) => a.n - b.n)
}
