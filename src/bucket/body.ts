import { BucketFailure } from './bucket.js'

/** All of an answer that comes in pieces; a `BucketFailure`, with the status of the answer, where it is larger than it may be. */
export async function bodyOf(
  body: AsyncIterable<Uint8Array> | undefined,
  maxBytes: number,
  status = 200,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of body ?? []) {
    length += piece.length
    if (length > maxBytes)
      throw new BucketFailure('TooLarge', `an answer is larger than ${maxBytes} bytes`, status)
    pieces.push(piece)
  }
  const whole = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}
