/**
 * Puts other items into an array. It stays the same one: a field that is assigned only once is a constant to V8, and the first time it is
 * assigned again, all that was compiled with it is compiled anew.
 */
export function refill<T>(array: T[], items: readonly T[]): void {
  array.length = 0
  for (const item of items) array.push(item)
}
