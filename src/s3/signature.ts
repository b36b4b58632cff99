// AWS Signature Version 4, as far as S3 needs it: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
// The digest of the body is signed, so that a store that checks it takes no other bytes than those that were sent.

import { createHash, createHmac } from 'node:crypto'

/** What requests are signed with. A session token where they are temporary. */
export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

export interface SignableRequest {
  readonly method: string
  readonly url: URL
  /** Names in lower case; all of them are signed. */
  readonly headers: { readonly [name: string]: string }
  /** SHA-256 of the body, hexadecimal. */
  readonly bodyDigest: string
}

export interface SigningScope {
  readonly credentials: S3Credentials
  readonly region: string
  readonly timeMs: number
}

const ALGORITHM = 'AWS4-HMAC-SHA256'

/** The headers to send: those of the request, and those that sign it. */
export function signedHeaders(
  request: SignableRequest,
  { credentials, region, timeMs }: SigningScope,
): { readonly [name: string]: string } {
  const time = new Date(timeMs).toISOString().replace(/[-:]|\.\d{3}/g, '')
  const date = time.slice(0, 8)
  const { sessionToken } = credentials
  const headers: { [name: string]: string } = {
    ...request.headers,
    host: request.url.host,
    'x-amz-content-sha256': request.bodyDigest,
    'x-amz-date': time,
    ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
  }
  const names = Object.keys(headers).sort()
  const canonical = [
    request.method,
    request.url.pathname,
    canonicalQuery(request.url.searchParams),
    ...names.map((name) => `${name}:${(headers[name] as string).trim()}`),
    '',
    names.join(';'),
    request.bodyDigest,
  ].join('\n')
  const scope = `${date}/${region}/s3/aws4_request`
  const toSign = [ALGORITHM, time, scope, sha256Hex(canonical)].join('\n')
  let key: Uint8Array = hmac(`AWS4${credentials.secretAccessKey}`, date)
  for (const part of [region, 's3', 'aws4_request']) key = hmac(key, part)
  const signature = createHmac('sha256', key).update(toSign).digest('hex')
  const credential = `${credentials.accessKeyId}/${scope}`
  headers['authorization'] =
    `${ALGORITHM} Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`
  return headers
}

/** As S3 wants what stands in paths and queries: all but letters, digits and `-._~` as `%XX`. */
export function encodeForUrl(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function canonicalQuery(query: URLSearchParams): string {
  return [...query]
    .map(([name, value]) => `${encodeForUrl(name)}=${encodeForUrl(value)}`)
    .sort()
    .join('&')
}

function hmac(key: Uint8Array | string, text: string): Uint8Array {
  return createHmac('sha256', key).update(text).digest()
}
