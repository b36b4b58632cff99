// How a command ends.

/** Exit statuses: all went well; damage or a difference was found; the command was used wrongly; it could not do its work. */
export const ExitStatus = { ok: 0, finding: 1, usage: 2, failure: 3, interrupted: 130 } as const
