/** What an error says of itself. */
export const reasonOf = (error: unknown): string =>
  String((error as { message?: unknown } | undefined)?.message ?? error)
