// How a command ends.

/** Exit statuses: all went well; damage or a difference was found; the command was used wrongly; it could not do its work. */
export const ExitStatus = { ok: 0, finding: 1, usage: 2, failure: 3, interrupted: 130 } as const

/** A command that cannot be carried out as it was given: `message` says what is wrong and what to do, in one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
