/** Something is wrong with what the user gave: the message is one line and says what to do next. */
export class InputError extends Error {
  override readonly name = 'InputError'
}

/** A value for a message: on one line, and not longer than a glance. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}
