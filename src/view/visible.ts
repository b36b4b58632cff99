// Texts that others have written (keys, positions of sources, owners of leases, what a damaged file begins with) on a terminal.

/** Characters that do something (escapes of terminals begin with one), or that cannot be seen (marks of direction). */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** A text in one line, with such characters written out: `\u{1b}`. */
export const visible = (text: string): string => text.replaceAll(INVISIBLE, written)

const written = (character: string): string => `\\u{${character.codePointAt(0)?.toString(16)}}`
