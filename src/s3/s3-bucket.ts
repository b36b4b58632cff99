import { isErrorLike } from '../base/shapes.js'
import {
  type Bucket,
  BucketFailure,
  type FetchedObject,
  type GetOptions,
  type ListedObject,
  type ListedUpload,
  type ListPage,
  pageWithObjects,
  type UploadedPart,
} from '../bucket/bucket.js'
import { exchange, type HttpAnswer } from './http-exchange.js'
import { encodeForUrl, type S3Credentials, sha256Hex, signedHeaders } from './signature.js'
import { elementsIn, escaped, textIn } from './xml.js'

export interface S3Location {
  readonly bucket: string
  /** Nothing, or ends with `/`. */
  readonly prefix: string
  readonly region: string
  /** Where the service is, without the bucket. */
  readonly endpoint: URL
  /** `https://endpoint/bucket/key` rather than `https://bucket.endpoint/key`. */
  readonly pathStyle: boolean
  readonly credentials: () => Promise<S3Credentials>
  readonly now: () => number
}

interface S3Request {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  /** `undefined`: the bucket itself. */
  readonly key?: string
  readonly query?: { readonly [name: string]: string }
  readonly headers?: { readonly [name: string]: string }
  readonly body?: Uint8Array
  /** No answer that succeeds is larger. */
  readonly maxBytes?: number
  /** Statuses that are answers, not failures, beside those of success. */
  readonly expected?: readonly number[]
  readonly signal: AbortSignal | undefined
  /** SHA-256 that is claimed for the body; default: that of the body. */
  readonly claimedDigest?: string
}

const MAX_XML_BYTES = 4 * 1024 * 1024
const MAX_ERROR_BYTES = 64 * 1024
const NO_BYTES = new Uint8Array(0)
/** Pages of a listing of uploads that are read; each has up to a thousand. */
const MAX_UPLOAD_PAGES = 10

/** S3, and what speaks its protocol, by what Node.js brings alone. */
export class S3Bucket implements Bucket {
  readonly name: string
  readonly store: string
  readonly #location: S3Location

  constructor(location: S3Location) {
    this.name = `s3://${location.bucket}${location.prefix === '' ? '' : `/${location.prefix.slice(0, -1)}`}`
    this.store = `${location.endpoint.href} ${location.bucket}`
    this.#location = location
  }

  async put(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string> {
    return tagOf(await this.#send({ method: 'PUT', key, body: bytes, signal }))
  }

  async putIfAbsent(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string | undefined> {
    return await this.#putIf({ 'if-none-match': '*' }, key, bytes, signal)
  }

  async putIfMatch(
    key: string,
    bytes: Uint8Array,
    tag: string,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    return await this.#putIf({ 'if-match': tag }, key, bytes, signal)
  }

  async get(
    key: string,
    { range, unlessTag, maxBytes }: GetOptions,
    signal?: AbortSignal,
  ): Promise<FetchedObject | 'unchanged' | undefined> {
    const headers = {
      ...(range === undefined ? {} : { range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
      ...(unlessTag === undefined ? {} : { 'if-none-match': unlessTag }),
    }
    const answer = await this.#send({
      method: 'GET',
      key,
      headers,
      maxBytes,
      expected: [304, 404, 416],
      signal,
    })
    if (answer.status === 304) return 'unchanged'
    if (answer.status === 404) {
      requireCode(answer, 'NoSuchKey')
      return undefined
    }
    if (answer.status === 416) return { bytes: NO_BYTES, tag: '' }
    // 200 to a request for a range: a store that knows no ranges has sent all of it.
    const isWhole = answer.status === 200 && range !== undefined
    const bytes = isWhole ? answer.bytes.subarray(range.offset, range.offset + range.length) : answer.bytes
    return { bytes, tag: tagOf(answer) }
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    await this.#send({ method: 'DELETE', key, expected: [404], signal })
  }

  async list(
    prefix: string,
    after: string | undefined,
    signal?: AbortSignal,
  ): Promise<ListPage<ListedObject>> {
    const own = this.#location.prefix
    const start = after === undefined ? {} : { 'start-after': `${own}${after}` }
    return await pageWithObjects(async (token) => {
      const goesOn = token === undefined ? start : { 'continuation-token': token }
      const query = { 'list-type': '2', prefix: `${own}${prefix}`, ...goesOn }
      const xml = await this.#listing('ListBucketResult', { method: 'GET', query, signal })
      const objects = elementsIn(xml, 'Contents').map((element) => ({
        key: (textIn(element, 'Key') ?? '').slice(own.length),
        sizeBytes: Number(textIn(element, 'Size')),
        changedAtMs: Date.parse(textIn(element, 'LastModified') ?? ''),
      }))
      const isMore = textIn(xml, 'IsTruncated') === 'true'
      return { objects, isMore, token: textIn(xml, 'NextContinuationToken') }
    })
  }

  async startUpload(key: string, signal?: AbortSignal): Promise<string> {
    const xml = await this.#xml({ method: 'POST', key, query: { uploads: '' }, signal })
    const uploadId = textIn(xml, 'UploadId')
    if (uploadId === undefined)
      throw new BucketFailure('NoUploadId', 'an upload was begun without an id', 200)
    return uploadId
  }

  async uploadPart(
    key: string,
    uploadId: string,
    number: number,
    bytes: Uint8Array,
    signal?: AbortSignal,
  ): Promise<UploadedPart> {
    const query = { partNumber: String(number), uploadId }
    const answer = await this.#send({ method: 'PUT', key, query, body: bytes, signal })
    return { number, tag: tagOf(answer) }
  }

  async completeUpload(
    key: string,
    uploadId: string,
    parts: readonly UploadedPart[],
    signal?: AbortSignal,
  ): Promise<'completed' | 'unknown'> {
    const list = parts.map(
      ({ number, tag }) => `<Part><PartNumber>${number}</PartNumber><ETag>${escaped(tag)}</ETag></Part>`,
    )
    const body = new TextEncoder().encode(
      `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${list.join('')}</CompleteMultipartUpload>`,
    )
    const headers = { 'content-type': 'application/xml' }
    const request = {
      method: 'POST',
      key,
      query: { uploadId },
      headers,
      body,
      expected: [404],
      signal,
    } as const
    const answer = await this.#send({ ...request, maxBytes: MAX_XML_BYTES })
    const xml = new TextDecoder().decode(answer.bytes)
    if (answer.status === 404) {
      requireCode(answer, 'NoSuchUpload')
      return 'unknown'
    }
    // The status is sent before the work is done: the failure then stands in the body of an answer with status 200.
    const code = xml.includes('<Error>') ? (textIn(xml, 'Code') ?? 'Error') : undefined
    if (code === 'NoSuchUpload') return 'unknown'
    if (code !== undefined) throw new BucketFailure(code, textIn(xml, 'Message') ?? 'it failed', 500)
    // Whatever else answers with that status, the caller looks whether the object is there.
    return xml.includes('<CompleteMultipartUploadResult') ? 'completed' : 'unknown'
  }

  async abortUpload(key: string, uploadId: string, signal?: AbortSignal): Promise<void> {
    await this.#send({ method: 'DELETE', key, query: { uploadId }, expected: [404], signal })
  }

  async listUploads(prefix: string, signal?: AbortSignal): Promise<ListedUpload[]> {
    const own = this.#location.prefix
    const uploads: ListedUpload[] = []
    let markers = {}
    for (let page = 0; page < MAX_UPLOAD_PAGES; page++) {
      const query = { uploads: '', prefix: `${own}${prefix}`, ...markers }
      const xml = await this.#listing('ListMultipartUploadsResult', { method: 'GET', query, signal })
      for (const element of elementsIn(xml, 'Upload')) {
        const key = (textIn(element, 'Key') ?? '').slice(own.length)
        const startedAtMs = Date.parse(textIn(element, 'Initiated') ?? '')
        uploads.push({ key, uploadId: textIn(element, 'UploadId') ?? '', startedAtMs })
      }
      if (textIn(xml, 'IsTruncated') !== 'true') break
      markers = {
        'key-marker': textIn(xml, 'NextKeyMarker') ?? '',
        'upload-id-marker': textIn(xml, 'NextUploadIdMarker') ?? '',
      }
    }
    return uploads.filter(({ key }) => key.startsWith(prefix))
  }

  async putWithWrongDigest(key: string, bytes: Uint8Array): Promise<boolean> {
    const claimedDigest = sha256Hex('something else')
    try {
      await this.#send({ method: 'PUT', key, body: bytes, signal: undefined, claimedDigest })
      return true
    } catch (error) {
      if (error instanceof BucketFailure && error.status !== undefined) return false
      throw error
    }
  }

  async #putIf(
    headers: { readonly [name: string]: string },
    key: string,
    bytes: Uint8Array,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    // An object that is not there matches no tag: some stores say so by 404.
    const expected = headers['if-match'] === undefined ? [412] : [404, 412]
    const answer = await this.#send({ method: 'PUT', key, headers, body: bytes, expected, signal })
    if (answer.status === 404) requireCode(answer, 'NoSuchKey')
    return answer.status === 412 || answer.status === 404 ? undefined : tagOf(answer)
  }

  async #xml(request: S3Request): Promise<string> {
    const { bytes } = await this.#send({ ...request, maxBytes: MAX_XML_BYTES })
    return new TextDecoder().decode(bytes)
  }

  /** An answer with that element around it: an error with a status of success, or the page of a proxy, must not be taken for an empty list. */
  async #listing(element: string, request: S3Request): Promise<string> {
    const xml = await this.#xml(request)
    if (xml.includes(`<${element}`) && xml.includes(`</${element}>`)) return xml
    const code = xml.includes('<Error>') ? textIn(xml, 'Code') : undefined
    if (code !== undefined) throw new BucketFailure(code, textIn(xml, 'Message') ?? 'it failed', 500)
    throw new BucketFailure('BadListing', `what was answered is no whole ${element}`, 200)
  }

  /** Rejects with a {@link BucketFailure} where the answer is neither a success nor expected. */
  async #send(request: S3Request): Promise<HttpAnswer> {
    const { region, now } = this.#location
    const url = this.#urlOf(request)
    const body = request.body ?? NO_BYTES
    const credentials = await this.#credentials()
    const headers = signedHeaders(
      {
        method: request.method,
        url,
        headers: request.headers ?? {},
        bodyDigest: request.claimedDigest ?? sha256Hex(body),
      },
      { credentials, region, timeMs: now() },
    )
    const slack = request.headers?.['range'] === undefined ? 0 : SLACK_BYTES
    try {
      const answer = await exchange({
        method: request.method,
        url,
        headers,
        body: request.method === 'PUT' || request.method === 'POST' ? body : undefined,
        maxBytes: (status) =>
          isSuccess(status) ? (request.maxBytes ?? MAX_ERROR_BYTES) + slack : MAX_ERROR_BYTES,
        signal: request.signal,
      })
      const { status } = answer
      if (isSuccess(status) || request.expected?.includes(status) === true) return answer
      throw refusal(answer, region)
    } catch (error) {
      throw error instanceof BucketFailure ? error : unanswered(error)
    }
  }

  async #credentials(): Promise<S3Credentials> {
    try {
      return await this.#location.credentials()
    } catch (error) {
      const reason = isErrorLike(error) ? error.name : typeof error
      throw new BucketFailure('NoCredentials', `the credentials could not be had: ${reason}`)
    }
  }

  #urlOf({ key, query = {} }: S3Request): URL {
    const { endpoint, bucket, pathStyle, prefix } = this.#location
    const url = new URL(endpoint)
    if (!pathStyle) url.host = `${bucket}.${url.host}`
    const path = key === undefined ? '' : `${prefix}${key}`.split('/').map(encodeForUrl).join('/')
    const base = endpoint.pathname.replace(/\/$/, '')
    url.pathname = pathStyle ? `${base}/${bucket}${path === '' ? '' : `/${path}`}` : `${base}/${path}`
    url.search = Object.entries(query)
      .map(([name, value]) => `${encodeForUrl(name)}=${encodeForUrl(value)}`)
      .join('&')
    return url
  }
}

/** A store that knows no ranges may send all of an object, up to this. */
const SLACK_BYTES = 64 * 1024 * 1024

const isSuccess = (status: number) => status >= 200 && status < 300

function tagOf({ headers, status }: HttpAnswer): string {
  const { etag: tag = '' } = headers
  if (tag === '') throw new BucketFailure('NoETag', 'the answer has no ETag', status)
  return tag
}

/** 404 may also mean that there is no such bucket, which is no object that is missing. */
function requireCode(answer: HttpAnswer, expected: string): void {
  const code = textIn(new TextDecoder().decode(answer.bytes), 'Code')
  if (code === undefined || code === expected) return
  throw refusal(answer, '')
}

/** Only the code and the message are taken: the rest of such an answer may repeat what the request was signed with. */
function refusal({ status, bytes, headers }: HttpAnswer, region: string): BucketFailure {
  const xml = new TextDecoder().decode(bytes)
  const code = textIn(xml, 'Code') ?? `HTTP${status}`
  const actual = headers['x-amz-bucket-region']
  if (typeof actual === 'string' && actual !== region && status >= 300 && status < 500)
    return new BucketFailure(code, `the bucket is in region ${actual.slice(0, 40)}, not in ${region}`, status)
  return new BucketFailure(
    code,
    advice[code] ?? (textIn(xml, 'Message') ?? 'it was refused').slice(0, 300),
    status,
  )
}

/** What to do, where the server's message may repeat what was signed, or does not say. */
const advice: { readonly [code: string]: string } = {
  SignatureDoesNotMatch: 'the signature does not match; check the secret access key and the region',
  InvalidAccessKeyId: 'the access key id is not known there',
  ExpiredToken: 'the session token has expired',
  InvalidToken: 'the session token is not valid',
  RequestTimeTooSkewed: "this machine's clock differs from the store's by more than it allows; set it right",
  AccessDenied: 'access is denied; these credentials may not do that in this bucket',
  NoSuchBucket: 'there is no such bucket',
  NotImplemented: 'the store does not know what the request asks for',
}

function unanswered(error: unknown): BucketFailure {
  const cause = isErrorLike(error) && isErrorLike(error.cause) ? error.cause : error
  const named =
    isErrorLike(cause) && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined
  const code = named ?? (isErrorLike(cause) ? cause.name : 'unknown')
  return new BucketFailure(code, 'there was no whole answer')
}
