/** What was asked for cannot be done as it was given: `message` says what is wrong and what to do, in one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
