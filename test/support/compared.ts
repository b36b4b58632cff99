/** How many of what was expected are not there, and how many are there more often. */
export function compared(
  outputs: readonly unknown[],
  expected: readonly unknown[],
): { readonly lost: number; readonly doubled: number } {
  const missing = new Map<string, number>()
  for (const each of expected) {
    const text = textOf(each)
    missing.set(text, (missing.get(text) ?? 0) + 1)
  }
  let doubled = 0
  for (const each of outputs) {
    const text = textOf(each)
    const left = missing.get(text) ?? 0
    if (left === 0) doubled++
    else missing.set(text, left - 1)
  }
  const lost = [...missing.values()].reduce((sum, count) => sum + count, 0)
  return { lost, doubled }
}

/** Equal for what is equal: a database may keep the names of an object in an order of its own. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  )
}
