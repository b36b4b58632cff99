import { BucketFailure } from './bucket.js'

/** All of an answer that comes in pieces; a `BucketFailure` where it is larger than it may be. */
export async function bodyOf(
  body: AsyncIterable<Uint8Array> | undefined,
  maxBytes: number,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of body ?? []) {
    length += piece.length
    if (length > maxBytes)
      throw new BucketFailure('TooLarge', `an answer is larger than ${maxBytes} bytes`, 200)
    pieces.push(piece)
  }
  return new Uint8Array(Buffer.concat(pieces))
}
