import { inspect } from 'node:util'
import { expect } from 'vitest'
import { isStateError } from '../../src/base/errors.js'
import type { BucketCheckpointStorage } from '../../src/bucket/bucket-checkpoint-storage.js'

/** What no error, log or object may tell. */
export const SECRET = 'c2VjcmV0LXNpZ25hdHVyZQ'

/** An error as clients of object storages throw them: with the request that failed, its signed address and its headers. */
function tellingError(status: number | undefined): Error {
  const url = `https://account.example/container/blob?sv=2026&sig=${SECRET}`
  const headers = {
    authorization: `AWS4-HMAC-SHA256 Credential=key, Signature=${SECRET}`,
    'x-amz-security-token': SECRET,
  }
  const request = { url, headers }
  return Object.assign(new Error(`the request to ${url} failed`, { cause: new Error(SECRET) }), {
    request,
    response: { request, headers },
    $response: { request },
    $metadata: { httpStatusCode: status },
    statusCode: status,
    details: { url },
  })
}

/** A client whose calls all fail so: in the call itself, in its promise, or in the middle of the bytes of its answer. */
export function tellingClient(
  names: readonly string[],
  how: 'call' | 'promise' | 'body',
  status?: number,
): object {
  const failing = () => {
    if (how === 'call') throw tellingError(status)
    if (how === 'promise') return Promise.reject(tellingError(status))
    const body = async function* () {
      yield new Uint8Array(3)
      throw tellingError(status)
    }
    return Promise.resolve({ Body: body(), readableStreamBody: body(), ETag: 'tag', etag: 'tag' })
  }
  return Object.fromEntries(names.map((name) => [name, failing]))
}

/** All that an error tells, to whomever: messages, stacks, own fields, causes. */
function toldBy(error: unknown): string {
  return `${inspect(error, { depth: 12, showHidden: true })} ${JSON.stringify(error)} ${(error as Error).message}`
}

/** Whatever a storage is asked, with a client that fails so: it says nothing of the client's requests, and fails by a code. */
export async function expectNothingTold(
  storage: BucketCheckpointStorage,
  how: 'call' | 'promise' | 'body',
): Promise<void> {
  const probe = () => storage.probe()
  const calls = [
    () => storage.acquire(),
    () => storage.list(),
    () => storage.read('a', 10),
    () => storage.open('a'),
    probe,
  ]
  for (const call of calls) {
    const error: unknown = await call().then(
      (answer) => answer,
      (reason: unknown) => reason,
    )
    expect(toldBy(error)).not.toContain(SECRET)
    // A probe reports what fails, and a body is read behind the call.
    if (how !== 'body' && call !== probe) expect(isStateError(error, 'STORAGE_ERROR')).toBe(true)
  }
}
