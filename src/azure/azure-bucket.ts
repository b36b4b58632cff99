import { createHash, randomBytes } from 'node:crypto'
import { reasonOf } from '../base/errors.js'
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
  type UploadedPart,
} from '../bucket/bucket.js'

/** What is used of a `ContainerClient` of `@azure/storage-blob`, version 12. */
export interface AzureContainer {
  readonly url: string
  readonly containerName: string
  getBlockBlobClient(name: string): AzureBlob
  listBlobsFlat(options: { readonly prefix: string; readonly abortSignal?: AbortSignal }): {
    byPage(settings: {
      readonly continuationToken?: string
      readonly maxPageSize: number
    }): AsyncIterableIterator<{
      readonly continuationToken?: string
      readonly segment: {
        readonly blobItems: readonly {
          readonly name: string
          readonly properties: { readonly contentLength?: number; readonly lastModified: Date }
        }[]
      }
    }>
  }
}

interface AzureConditions {
  readonly ifMatch?: string
  readonly ifNoneMatch?: string
}

interface AzureCall {
  readonly abortSignal?: AbortSignal
}

interface ConditionalCall extends AzureCall {
  readonly conditions?: AzureConditions
}

/** What is used of a `BlockBlobClient`. */
export interface AzureBlob {
  upload(body: Uint8Array, length: number, options: ConditionalCall): Promise<{ readonly etag?: string }>
  download(
    offset: number | undefined,
    length: number | undefined,
    options: ConditionalCall,
  ): Promise<{ readonly etag?: string; readonly readableStreamBody?: AsyncIterable<unknown> }>
  deleteIfExists(options: AzureCall): Promise<unknown>
  stageBlock(
    id: string,
    body: Uint8Array,
    length: number,
    options: AzureCall & { readonly transactionalContentMD5?: Uint8Array },
  ): Promise<unknown>
  commitBlockList(ids: string[], options: AzureCall): Promise<{ readonly etag?: string }>
}

const PAGE = 1_000

/** A container of Azure Blob Storage, through the caller's own client. What exists already is 409 here, a tag that differs 412. */
export class AzureBucket implements Bucket {
  readonly name: string
  readonly store: string
  readonly #container: AzureContainer
  readonly #prefix: string

  constructor(container: AzureContainer, prefix: string) {
    // Of the address only what holds no signature of shared access.
    const { origin, pathname } = new URL(container.url)
    this.store = `${origin}${pathname}`
    this.name = `azure://${container.containerName}${prefix === '' ? '' : `/${prefix.slice(0, -1)}`}`
    this.#container = container
    this.#prefix = prefix
  }

  async put(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string> {
    const { etag } = await told(() => this.#blob(key).upload(bytes, bytes.length, call(signal)))
    return tagOf(etag)
  }

  async putIfAbsent(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string | undefined> {
    return await this.#putIf(key, bytes, { ifNoneMatch: '*' }, signal)
  }

  async putIfMatch(
    key: string,
    bytes: Uint8Array,
    tag: string,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    return await this.#putIf(key, bytes, { ifMatch: tag }, signal)
  }

  async get(
    key: string,
    { range, unlessTag, maxBytes }: GetOptions,
    signal?: AbortSignal,
  ): Promise<FetchedObject | 'unchanged' | undefined> {
    const conditions = unlessTag === undefined ? {} : { conditions: { ifNoneMatch: unlessTag } }
    const options = { ...call(signal), ...conditions }
    const read = async () => {
      const answer = await this.#blob(key).download(range?.offset, range?.length, options)
      const bytes = await bodyOf(answer.readableStreamBody as AsyncIterable<Uint8Array> | undefined, maxBytes)
      return { bytes, tag: tagOf(answer.etag) }
    }
    const found = await told(read, ['304', '404', '416'])
    if (found === '304') return 'unchanged'
    if (found === '404') return undefined
    return found === '416' ? { bytes: new Uint8Array(0), tag: '' } : found
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    await told(() => this.#blob(key).deleteIfExists(call(signal)), ['404'])
  }

  async list(
    prefix: string,
    after: string | undefined,
    signal?: AbortSignal,
  ): Promise<ListPage<ListedObject>> {
    const options = { prefix: `${this.#prefix}${prefix}`, ...call(signal) }
    const settings = { maxPageSize: PAGE, ...(after === undefined ? {} : { continuationToken: after }) }
    const next = await told(() => this.#container.listBlobsFlat(options).byPage(settings).next())
    if (next.done === true) return { objects: [], next: undefined }
    const objects = next.value.segment.blobItems.map(({ name, properties }) => ({
      key: name.slice(this.#prefix.length),
      sizeBytes: properties.contentLength ?? 0,
      changedAtMs: properties.lastModified.getTime(),
    }))
    return { objects, next: next.value.continuationToken || undefined }
  }

  /** Blocks need no beginning: what tells those of one upload from others' are their ids. */
  async startUpload(): Promise<string> {
    return randomBytes(12).toString('hex')
  }

  async uploadPart(
    key: string,
    uploadId: string,
    number: number,
    bytes: Uint8Array,
    signal?: AbortSignal,
  ): Promise<UploadedPart> {
    const id = Buffer.from(`${uploadId}-${String(number).padStart(6, '0')}`).toString('base64')
    // Azure compares it with what has arrived.
    const transactionalContentMD5 = createHash('md5').update(bytes).digest()
    const options = { ...call(signal), transactionalContentMD5 }
    await told(() => this.#blob(key).stageBlock(id, bytes, bytes.length, options))
    return { number, tag: id }
  }

  async completeUpload(
    key: string,
    _uploadId: string,
    parts: readonly UploadedPart[],
    signal?: AbortSignal,
  ): Promise<'completed' | 'unknown'> {
    const ids = parts.map(({ tag }) => tag)
    // Once they make a blob, they are no uncommitted blocks any more: to commit them again finds them all the same.
    const outcome = await told(() => this.#blob(key).commitBlockList(ids, call(signal)), ['400', '404'])
    return outcome === '400' || outcome === '404' ? 'unknown' : 'completed'
  }

  /** Azure forgets blocks that make no blob after a week, and those of a blob when it is written or removed. */
  async abortUpload(key: string, _uploadId: string, signal?: AbortSignal): Promise<void> {
    await this.delete(key, signal)
  }

  async listUploads(): Promise<ListedUpload[]> {
    return []
  }

  async #putIf(
    key: string,
    bytes: Uint8Array,
    conditions: AzureConditions,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const options = { ...call(signal), conditions }
    const expected = conditions.ifMatch === undefined ? ['412', 'BlobAlreadyExists'] : ['412', '404']
    const outcome = await told(() => this.#blob(key).upload(bytes, bytes.length, options), expected)
    return typeof outcome === 'string' ? undefined : tagOf(outcome.etag)
  }

  #blob(key: string): AzureBlob {
    return this.#container.getBlockBlobClient(`${this.#prefix}${key}`)
  }
}

function call(signal: AbortSignal | undefined): AzureCall {
  return signal === undefined ? {} : { abortSignal: signal }
}

function tagOf(etag: string | undefined): string {
  if (etag === undefined || etag === '') throw new BucketFailure('NoETag', 'the answer has no ETag', 200)
  return etag
}

/** The answer; or the status or code of a refusal that is `expected`. A failure keeps neither the client's error nor its request, also where the call itself throws. */
async function told<Answer, Expected extends string = never>(
  ask: () => Promise<Answer>,
  expected: readonly Expected[] = [],
): Promise<Answer | Expected> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof BucketFailure) throw error
    const { status, code } = refusalIn(error)
    const found = expected.find((each) => each === String(status) || each === code)
    // A container that is missing is no blob that is.
    if (found !== undefined && code !== 'ContainerNotFound') return found
    throw new BucketFailure(
      code,
      status === undefined ? 'there was no whole answer' : 'it was refused',
      status,
    )
  }
}

function refusalIn(error: unknown): { readonly status: number | undefined; readonly code: string } {
  const { statusCode, code } = (isErrorLike(error) ? error : {}) as { statusCode?: unknown; code?: unknown }
  const status = typeof statusCode === 'number' ? statusCode : undefined
  const named = typeof code === 'string' && /^[A-Za-z0-9_]{1,64}$/.test(code) ? code : undefined
  if (named !== undefined) return { status, code: named }
  if (status !== undefined) return { status, code: `HTTP${status}` }
  return { status, code: isErrorLike(error) ? error.name : reasonOf(typeof error) }
}
