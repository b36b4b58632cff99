/** The users whose events are counted, one behind the other: always the same. */
export function countedEvents(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `user ${(i * 7_919) % 13}`)
}

/** What a job that counts them must put out. */
export function expectedCounts(count: number): { user: string; counted: number }[] {
  const counts = new Map<string, number>()
  return countedEvents(count).map((user) => {
    const counted = (counts.get(user) ?? 0) + 1
    counts.set(user, counted)
    return { user, counted }
  })
}
