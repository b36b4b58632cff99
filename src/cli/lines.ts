import { StringDecoder } from 'node:string_decoder'
import { MAX_VALUE_BYTES } from '../index.js'
import { UsageError } from '../view/usage-error.js'

/** The longest line that export writes: the largest entry that there is, in hexadecimal digits, and a quarter more for what is around it. */
export const MAX_LINE_CHARACTERS: number = 2.5 * MAX_VALUE_BYTES

/** The lines of a text, without their ends. `UsageError` for one that has no end within bounds: it is not gathered. */
export async function* linesOf(
  pieces: AsyncIterable<Uint8Array | string>,
  where: string,
  maxCharacters: number = MAX_LINE_CHARACTERS,
): AsyncGenerator<string, void, undefined> {
  const decoder = new StringDecoder('utf8')
  let parts: string[] = []
  let length = 0
  let line = 1
  for await (const piece of pieces) {
    const text = typeof piece === 'string' ? piece : decoder.write(piece)
    let from = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      parts.push(text.slice(from, end))
      yield withoutReturn(parts.join(''))
      parts = []
      length = 0
      line++
      from = end + 1
    }
    parts.push(text.slice(from))
    length += text.length - from
    if (length > maxCharacters)
      throw new UsageError(
        `${where}:${line} is longer than any line of holdfast export: more than ${maxCharacters} characters`,
      )
  }
  const last = parts.join('') + decoder.end()
  if (last !== '') yield withoutReturn(last)
}

const withoutReturn = (line: string): string => (line.endsWith('\r') ? line.slice(0, -1) : line)
