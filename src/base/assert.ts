/** A broken invariant: a bug in holdfast, never a condition that a caller could handle. */
class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

/** States what must be true here. A failure is a bug: nothing in the library catches it. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message)
}

/** Narrows a value that an invariant says is there. */
export function present<T>(value: T | undefined, message: string): T {
  if (value === undefined) throw new AssertionError(message)
  return value
}
