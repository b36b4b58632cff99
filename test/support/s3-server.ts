import { createHash, createHmac, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What becomes of a request: `undefined` is nothing. */
export type S3Fault =
  | { readonly kind: 'status'; readonly status: number; readonly code: string }
  /** Nothing is done, and that is answered, with status 200. */
  | { readonly kind: 'body'; readonly body: string }
  /** The connection ends before anything is done. */
  | { readonly kind: 'refused' }
  /** It is carried out, and the connection ends before the answer. */
  | { readonly kind: 'lost' }
  /** It is carried out, and half of the answer comes. */
  | { readonly kind: 'half' }
  /** Nothing more is heard; it is carried out where `late` is true. */
  | { readonly kind: 'silent'; readonly late: boolean }

/** A request that has arrived, as far as tests want to know. */
export interface S3Request {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly body: Uint8Array
  /** The headers as they came, for what must not be in them. */
  readonly headers: IncomingMessage['headers']
}

export interface S3ServerOptions {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** What many stores that speak S3 do: take the conditions of a write and do not look at them. */
  readonly ignoresConditions?: boolean
  /** And others: compare, and write a turn later. */
  readonly comparesThenWrites?: boolean
  /** Takes bytes that are not those of the digest. */
  readonly ignoresDigests?: boolean
  /** Least size of a part that is not the last, in bytes. Default: that of S3. */
  readonly minPartBytes?: number
}

interface Answer {
  readonly status: number
  readonly headers?: { readonly [name: string]: string }
  readonly body?: Uint8Array | string
}

interface Held {
  readonly bytes: Uint8Array
  readonly etag: string
  readonly changedAt: Date
}

interface Upload {
  readonly key: string
  readonly parts: Map<number, { readonly bytes: Uint8Array; readonly etag: string }>
  readonly startedAt: Date
}

const MIN_PART_BYTES = 5 * 1024 * 1024
const PAGE = 5

/** S3 as its documentation says, one bucket called `bucket`, and nothing forgiven; and whatever goes wrong on the way, on demand. */
export class S3Server {
  readonly objects = new Map<string, Held>()
  readonly uploads = new Map<string, Upload>()
  readonly requests: S3Request[] = []
  /** Asked about each request: the fault that strikes at it. */
  fault: (request: S3Request, number: number) => S3Fault | undefined = () => undefined
  /** Awaited before each answer. */
  delay: (request: S3Request) => Promise<unknown> = async () => {}
  inFlight = 0
  mostInFlight = 0
  readonly #server: Server
  readonly #options: S3ServerOptions

  private constructor(options: S3ServerOptions) {
    this.#options = options
    this.#server = createServer((request, response) => {
      void this.#handle(request, response).catch((error: unknown) => {
        response.writeHead(500).end(String(error))
      })
    })
  }

  static async start(options: S3ServerOptions): Promise<S3Server> {
    const server = new S3Server(options)
    await new Promise<void>((resolve) => {
      server.#server.listen(0, '127.0.0.1', resolve)
    })
    return server
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => {
      this.#server.close(resolve)
    })
  }

  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '', this.endpoint)
    const chunks: Uint8Array[] = []
    try {
      for await (const chunk of incoming) chunks.push(chunk as Uint8Array)
    } catch {
      return
    }
    const request: S3Request = {
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      body: Buffer.concat(chunks),
      headers: incoming.headers,
    }
    this.requests.push(request)
    const fault = this.fault(request, this.requests.length)
    if (fault?.kind === 'refused') return void incoming.socket.destroy()
    if (fault?.kind === 'status') return send(response, refusal(fault.status, fault.code))
    if (fault?.kind === 'body') return send(response, { status: 200, body: fault.body })
    if (fault?.kind === 'silent' && !fault.late) return
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight)
    await this.delay(request)
    const answer = await this.#answer(request)
    this.inFlight--
    if (fault?.kind === 'silent') return
    if (fault?.kind === 'lost') return void incoming.socket.destroy()
    if (fault?.kind === 'half') return sendHalf(response, answer)
    send(response, answer)
  }

  async #answer(request: S3Request): Promise<Answer> {
    const unsigned = this.#signatureProblem(request)
    if (unsigned !== undefined) return unsigned
    const { method, path, query } = request
    if (path !== '/bucket' && !path.startsWith('/bucket/')) return refusal(404, 'NoSuchBucket')
    const key = decodeURIComponent(path.slice('/bucket/'.length))
    if (path === '/bucket') return query.has('uploads') ? this.#listUploads(query) : this.#list(query)
    const uploadId = query.get('uploadId')
    if (method === 'GET') return this.#get(key, request)
    if (method === 'POST' && query.has('uploads')) return this.#startUpload(key)
    if (uploadId !== null) return this.#ofUpload(key, uploadId, request)
    if (method === 'PUT') return await this.#put(key, request)
    if (method !== 'DELETE') return refusal(405, 'MethodNotAllowed')
    this.objects.delete(key)
    return { status: 204 }
  }

  async #put(key: string, { headers, body }: S3Request): Promise<Answer> {
    const conditions = [headers['if-none-match'], headers['if-match']]
    if (conditions[0] !== undefined && conditions[0] !== '*') return refusal(501, 'NotImplemented')
    if (this.#options.ignoresConditions !== true) {
      const held = this.objects.get(key)
      if (conditions[0] === '*' && held !== undefined) return refusal(412, 'PreconditionFailed')
      if (conditions[1] !== undefined && held === undefined) return refusal(404, 'NoSuchKey')
      if (conditions[1] !== undefined && held?.etag !== conditions[1])
        return refusal(412, 'PreconditionFailed')
    }
    // As long as a crowd of the probe may take to arrive on a machine that has much else to do.
    if (this.#options.comparesThenWrites === true && key.includes('probe/'))
      await new Promise((resolve) => setTimeout(resolve, 60))
    return { status: 200, headers: { etag: this.#write(key, body) } }
  }

  #write(
    key: string,
    bytes: Uint8Array,
    etag = `"${createHash('md5').update(bytes).digest('hex')}"`,
  ): string {
    this.objects.set(key, { bytes, etag, changedAt: new Date() })
    return etag
  }

  #get(key: string, { headers }: S3Request): Answer {
    const held = this.objects.get(key)
    if (held === undefined) return refusal(404, 'NoSuchKey')
    const { bytes, etag } = held
    if (headers['if-none-match'] === etag) return { status: 304, headers: { etag } }
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '')
    if (range === null) return { status: 200, headers: { etag }, body: bytes }
    const [from, last] = [Number(range[1]), Number(range[2])]
    if (from >= bytes.length) return refusal(416, 'InvalidRange')
    const body = bytes.subarray(from, last + 1)
    const contentRange = `bytes ${from}-${from + body.length - 1}/${bytes.length}`
    return { status: 206, headers: { etag, 'content-range': contentRange }, body }
  }

  #list(query: URLSearchParams): Answer {
    const prefix = query.get('prefix') ?? ''
    const after = query.get('start-after') ?? ''
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort()
    const contents = keys.slice(0, PAGE).map((key) => {
      const { bytes, changedAt } = this.objects.get(key) as Held
      return `<Contents><Key>${key}</Key><LastModified>${changedAt.toISOString()}</LastModified><Size>${bytes.length}</Size></Contents>`
    })
    return xml(
      'ListBucketResult',
      `<IsTruncated>${keys.length > PAGE}</IsTruncated>${contents.join('')}<Prefix>${prefix}</Prefix>`,
    )
  }

  #startUpload(key: string): Answer {
    const uploadId = `${randomBytes(9).toString('base64url')}+/=`
    this.uploads.set(uploadId, { key, parts: new Map(), startedAt: new Date() })
    return xml('InitiateMultipartUploadResult', `<Key>${key}</Key><UploadId>${uploadId}</UploadId>`)
  }

  #ofUpload(key: string, uploadId: string, { method, query, body }: S3Request): Answer {
    const upload = this.uploads.get(uploadId)
    if (upload?.key !== key) return refusal(404, 'NoSuchUpload')
    if (method === 'DELETE') {
      this.uploads.delete(uploadId)
      return { status: 204 }
    }
    if (method === 'PUT') {
      const etag = `"${createHash('md5').update(body).digest('hex')}"`
      upload.parts.set(Number(query.get('partNumber')), { bytes: body, etag })
      return { status: 200, headers: { etag } }
    }
    const named = [
      ...new TextDecoder()
        .decode(body)
        .matchAll(/<Part><PartNumber>(\d+)<\/PartNumber><ETag>(.*?)<\/ETag><\/Part>/g),
    ].map(([, number, etag]) => ({ number: Number(number), etag: etag?.replaceAll('&#34;', '"') }))
    const parts = named.map(({ number }) => upload.parts.get(number))
    if (named.some(({ etag }, i) => parts[i]?.etag !== etag)) return refusal(400, 'InvalidPart')
    if (named.some(({ number }, i) => i > 0 && number <= (named[i - 1]?.number ?? 0)))
      return refusal(400, 'InvalidPartOrder')
    if (
      parts
        .slice(0, -1)
        .some((part) => (part?.bytes.length ?? 0) < (this.#options.minPartBytes ?? MIN_PART_BYTES))
    )
      return refusal(400, 'EntityTooSmall')
    // R2 asks for one size of all parts but the last.
    if (parts.slice(0, -1).some((part) => part?.bytes.length !== parts[0]?.bytes.length))
      return refusal(400, 'InvalidPart')
    const whole = Buffer.concat(parts.map((part) => part?.bytes ?? new Uint8Array(0)))
    this.#write(key, whole, `"${createHash('md5').update(whole).digest('hex')}-${parts.length}"`)
    this.uploads.delete(uploadId)
    return xml('CompleteMultipartUploadResult', `<Key>${key}</Key>`)
  }

  #listUploads(query: URLSearchParams): Answer {
    const prefix = query.get('prefix') ?? ''
    const uploads = [...this.uploads].filter(([, { key }]) => key.startsWith(prefix))
    const elements = uploads.map(
      ([uploadId, { key, startedAt }]) =>
        `<Upload><Key>${key}</Key><UploadId>${uploadId}</UploadId><Initiated>${startedAt.toISOString()}</Initiated></Upload>`,
    )
    return xml('ListMultipartUploadsResult', `<IsTruncated>false</IsTruncated>${elements.join('')}`)
  }

  /** The signature, worked out anew from the request as it came. */
  #signatureProblem({ method, path, query, body, headers }: S3Request): Answer | undefined {
    const match =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
        headers.authorization ?? '',
      )
    if (match === null) return refusal(403, 'AccessDenied')
    const [, accessKeyId, date, region, names, signature] = match as unknown as string[]
    const { accessKeyId: known, secretAccessKey } = this.#options
    if (accessKeyId !== known) return refusal(403, 'InvalidAccessKeyId')
    const digest = String(headers['x-amz-content-sha256'])
    const found = createHash('sha256').update(body).digest('hex')
    const signed = (names as string).split(';')
    const queries = [...query].map(([name, value]) => `${encode(name)}=${encode(value)}`).sort()
    const canonical = [
      method,
      path,
      queries.join('&'),
      ...signed.map((name) => `${name}:${String(headers[name])}`),
      '',
      names,
      digest,
    ].join('\n')
    const time = String(headers['x-amz-date'])
    const scope = `${date}/${region}/s3/aws4_request`
    const toSign = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${createHash('sha256').update(canonical).digest('hex')}`
    let key: Uint8Array = Buffer.from(`AWS4${secretAccessKey}`)
    for (const part of [date, region, 's3', 'aws4_request'])
      key = createHmac('sha256', key).update(String(part)).digest()
    const expected = createHmac('sha256', key).update(toSign).digest('hex')
    if (expected !== signature)
      return refusal(403, 'SignatureDoesNotMatch', `<AWSAccessKeyId>${known}</AWSAccessKeyId>`)
    if (digest !== found && digest !== 'UNSIGNED-PAYLOAD' && this.#options.ignoresDigests !== true)
      return refusal(400, 'XAmzContentSHA256Mismatch')
    return undefined
  }
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

function xml(name: string, content: string): Answer {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</${name}>`
  return { status: 200, headers: { 'content-type': 'application/xml' }, body }
}

function refusal(status: number, code: string, more = ''): Answer {
  const body = `<Error><Code>${code}</Code><Message>the message of ${code}</Message>${more}</Error>`
  return { status, headers: { 'content-type': 'application/xml' }, body: status === 304 ? '' : body }
}

function send(response: ServerResponse, { status, headers = {}, body = '' }: Answer): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  response.writeHead(
    status,
    status === 304 || status === 204 ? headers : { ...headers, 'content-length': bytes.length },
  )
  response.end(status === 304 || status === 204 ? undefined : bytes)
}

/** The length is that of the whole answer, and the connection ends in the middle. */
function sendHalf(response: ServerResponse, { status, headers = {}, body = '' }: Answer): void {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  if (bytes.length === 0) return void response.socket?.destroy()
  response.writeHead(status, { ...headers, 'content-length': bytes.length })
  response.write(bytes.subarray(0, bytes.length >>> 1), () => response.socket?.destroy())
}
