import { isErrorLike } from '../base/shapes.js'
import { bodyOf } from '../bucket/body.js'
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

/** Pages of a listing of uploads that are read; each has up to a thousand. */
const MAX_UPLOAD_PAGES = 10

interface CallOptions {
  readonly abortSignal?: AbortSignal
}

interface ObjectPlace {
  readonly Bucket: string
  readonly Key: string
}

interface UploadPlace extends ObjectPlace {
  readonly UploadId: string
}

interface PutInput extends ObjectPlace {
  readonly Body: Uint8Array
  readonly ContentLength: number
  readonly IfNoneMatch?: string
  readonly IfMatch?: string
}

/**
 * What is used of the client `S3` of `@aws-sdk/client-s3`, version 3 (the class with a method for each call, not `S3Client`).
 * Its type arguments are wider; this is the part that is called.
 */
export interface S3SdkClient {
  putObject(input: PutInput, options?: CallOptions): Promise<{ ETag?: string | undefined }>
  getObject(
    input: ObjectPlace & { readonly Range?: string; readonly IfNoneMatch?: string },
    options?: CallOptions,
  ): Promise<{ ETag?: string | undefined; Body?: unknown }>
  deleteObject(input: ObjectPlace, options?: CallOptions): Promise<unknown>
  listObjectsV2(
    input: {
      readonly Bucket: string
      readonly Prefix: string
      readonly StartAfter?: string
      readonly ContinuationToken?: string
    },
    options?: CallOptions,
  ): Promise<{
    IsTruncated?: boolean | undefined
    NextContinuationToken?: string | undefined
    Contents?:
      | { Key?: string | undefined; Size?: number | undefined; LastModified?: Date | undefined }[]
      | undefined
  }>
  createMultipartUpload(input: ObjectPlace, options?: CallOptions): Promise<{ UploadId?: string | undefined }>
  uploadPart(
    input: UploadPlace & {
      readonly PartNumber: number
      readonly Body: Uint8Array
      readonly ContentLength: number
    },
    options?: CallOptions,
  ): Promise<{ ETag?: string | undefined }>
  completeMultipartUpload(
    input: UploadPlace & { readonly MultipartUpload: { Parts: { PartNumber: number; ETag: string }[] } },
    options?: CallOptions,
  ): Promise<unknown>
  abortMultipartUpload(input: UploadPlace, options?: CallOptions): Promise<unknown>
  listMultipartUploads(
    input: {
      readonly Bucket: string
      readonly Prefix: string
      readonly KeyMarker?: string
      readonly UploadIdMarker?: string
    },
    options?: CallOptions,
  ): Promise<{
    IsTruncated?: boolean | undefined
    NextKeyMarker?: string | undefined
    NextUploadIdMarker?: string | undefined
    Uploads?:
      | { Key?: string | undefined; UploadId?: string | undefined; Initiated?: Date | undefined }[]
      | undefined
  }>
}

/** S3 through the caller's own client of the AWS SDK. */
export class SdkBucket implements Bucket {
  readonly name: string
  readonly store: string
  readonly #client: S3SdkClient
  readonly #bucket: string
  readonly #prefix: string

  constructor(client: S3SdkClient, bucket: string, prefix: string) {
    this.name = `s3://${bucket}${prefix === '' ? '' : `/${prefix.slice(0, -1)}`}`
    // Where the client goes is its own affair: what one is found to keep holds for it alone.
    this.store = `client ${numberOf(client)} ${bucket}`
    this.#client = client
    this.#bucket = bucket
    this.#prefix = prefix
  }

  async put(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string> {
    const answer = await told(() => this.#client.putObject(this.#input(key, bytes), call(signal)))
    return tagOf(answer)
  }

  async putIfAbsent(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string | undefined> {
    const input = { ...this.#input(key, bytes), IfNoneMatch: '*' }
    const outcome = await told(() => this.#client.putObject(input, call(signal)), [412])
    return outcome === 412 ? undefined : tagOf(outcome)
  }

  async putIfMatch(
    key: string,
    bytes: Uint8Array,
    tag: string,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const input = { ...this.#input(key, bytes), IfMatch: tag }
    const outcome = await told(() => this.#client.putObject(input, call(signal)), [412, 404])
    return outcome === 412 || outcome === 404 ? undefined : tagOf(outcome)
  }

  async get(
    key: string,
    { range, unlessTag, maxBytes }: GetOptions,
    signal?: AbortSignal,
  ): Promise<FetchedObject | 'unchanged' | undefined> {
    const input = {
      ...this.#place(key),
      ...(range === undefined ? {} : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
      ...(unlessTag === undefined ? {} : { IfNoneMatch: unlessTag }),
    }
    const read = async () => {
      const answer = await this.#client.getObject(input, call(signal))
      return {
        bytes: await bodyOf(answer.Body as AsyncIterable<Uint8Array> | undefined, maxBytes),
        tag: tagOf(answer),
      }
    }
    const found = await told(read, [304, 404, 416])
    if (found === 304) return 'unchanged'
    if (found === 404) return undefined
    return found === 416 ? { bytes: new Uint8Array(0), tag: '' } : found
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    await told(() => this.#client.deleteObject(this.#place(key), call(signal)), [404])
  }

  async list(
    prefix: string,
    after: string | undefined,
    signal?: AbortSignal,
  ): Promise<ListPage<ListedObject>> {
    const own = this.#prefix
    const start = after === undefined ? {} : { StartAfter: `${own}${after}` }
    return await pageWithObjects(async (token) => {
      const goesOn = token === undefined ? start : { ContinuationToken: token }
      const input = { Bucket: this.#bucket, Prefix: `${own}${prefix}`, ...goesOn }
      const answer = await told(() => this.#client.listObjectsV2(input, call(signal)))
      const objects = (answer.Contents ?? []).map(({ Key = '', Size = 0, LastModified }) => ({
        key: Key.slice(own.length),
        sizeBytes: Size,
        changedAtMs: LastModified?.getTime() ?? Number.NaN,
      }))
      return { objects, isMore: answer.IsTruncated === true, token: answer.NextContinuationToken }
    })
  }

  async startUpload(key: string, signal?: AbortSignal): Promise<string> {
    const { UploadId } = await told(() => this.#client.createMultipartUpload(this.#place(key), call(signal)))
    if (UploadId === undefined)
      throw new BucketFailure('NoUploadId', 'an upload was begun without an id', 200)
    return UploadId
  }

  async uploadPart(
    key: string,
    uploadId: string,
    number: number,
    bytes: Uint8Array,
    signal?: AbortSignal,
  ): Promise<UploadedPart> {
    const input = { ...this.#input(key, bytes), UploadId: uploadId, PartNumber: number }
    const answer = await told(() => this.#client.uploadPart(input, call(signal)))
    return { number, tag: tagOf(answer) }
  }

  async completeUpload(
    key: string,
    uploadId: string,
    parts: readonly UploadedPart[],
    signal?: AbortSignal,
  ): Promise<'completed' | 'unknown'> {
    const Parts = parts.map(({ number, tag }) => ({ PartNumber: number, ETag: tag }))
    const input = { ...this.#place(key), UploadId: uploadId, MultipartUpload: { Parts } }
    const outcome = await told(() => this.#client.completeMultipartUpload(input, call(signal)), [404])
    return outcome === 404 ? 'unknown' : 'completed'
  }

  async abortUpload(key: string, uploadId: string, signal?: AbortSignal): Promise<void> {
    const input = { ...this.#place(key), UploadId: uploadId }
    await told(() => this.#client.abortMultipartUpload(input, call(signal)), [404])
  }

  async listUploads(prefix: string, signal?: AbortSignal): Promise<ListedUpload[]> {
    const own = this.#prefix
    const uploads: ListedUpload[] = []
    let markers = {}
    for (let page = 0; page < MAX_UPLOAD_PAGES; page++) {
      const input = { Bucket: this.#bucket, Prefix: `${own}${prefix}`, ...markers }
      const answer = await told(() => this.#client.listMultipartUploads(input, call(signal)))
      for (const { Key = '', UploadId = '', Initiated } of answer.Uploads ?? []) {
        const startedAtMs = Initiated?.getTime() ?? Number.NaN
        uploads.push({ key: Key.slice(own.length), uploadId: UploadId, startedAtMs })
      }
      if (answer.IsTruncated !== true) break
      markers = {
        ...(answer.NextKeyMarker !== undefined && { KeyMarker: answer.NextKeyMarker }),
        ...(answer.NextUploadIdMarker !== undefined && { UploadIdMarker: answer.NextUploadIdMarker }),
      }
    }
    return uploads.filter(({ key }) => key.startsWith(prefix))
  }

  #place(key: string): ObjectPlace {
    return { Bucket: this.#bucket, Key: `${this.#prefix}${key}` }
  }

  #input(key: string, bytes: Uint8Array): PutInput {
    return { ...this.#place(key), Body: bytes, ContentLength: bytes.length }
  }
}

const numbers = new WeakMap<object, number>()
let clients = 0

function numberOf(client: object): number {
  const known = numbers.get(client)
  if (known !== undefined) return known
  numbers.set(client, ++clients)
  return clients
}

function call(signal: AbortSignal | undefined): CallOptions {
  return signal === undefined ? {} : { abortSignal: signal }
}

function tagOf({ ETag }: { ETag?: string | undefined }): string {
  if (ETag === undefined || ETag === '') throw new BucketFailure('NoETag', 'the answer has no ETag', 200)
  return ETag
}

/** The answer, or the status of a refusal that is `expected`. A failure keeps neither the client's error nor its request, also where the call itself throws. */
async function told<Answer, Expected extends number = never>(
  ask: () => Promise<Answer>,
  expected: readonly Expected[] = [],
): Promise<Answer | Expected> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof BucketFailure) throw error
    const name = isErrorLike(error) && /^[A-Za-z0-9_]{1,64}$/.test(error.name) ? error.name : 'unknown'
    const { $metadata } = error as { $metadata?: { httpStatusCode?: unknown } }
    const status = $metadata?.httpStatusCode
    const found = expected.find((each) => each === status)
    if (found !== undefined && name !== 'NoSuchBucket') return found
    if (typeof status !== 'number') throw new BucketFailure(name, 'there was no whole answer')
    throw new BucketFailure(name, 'it was refused', status)
  }
}
