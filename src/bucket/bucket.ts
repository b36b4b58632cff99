/** What an object of a bucket is at one moment: its bytes, and the tag that conditions compare. */
export interface FetchedObject {
  /** What was asked for: all of it, or the range. */
  readonly bytes: Uint8Array
  /** Changes with every write of the object, opaque. */
  readonly tag: string
}

export interface ListedObject {
  readonly key: string
  readonly sizeBytes: number
  readonly changedAtMs: number
}

/** An upload in parts that was begun and neither completed nor aborted. */
export interface ListedUpload {
  readonly key: string
  readonly uploadId: string
  readonly startedAtMs: number
}

export interface GetOptions {
  /** Only these bytes; `CORRUPTION` is the caller's to say where there are fewer. */
  readonly range?: { readonly offset: number; readonly length: number }
  /** Answer `'unchanged'` where the object still has this tag. */
  readonly unlessTag?: string
  /** No answer is larger. */
  readonly maxBytes: number
}

/** One part of an object that was uploaded: what completes the upload names it. */
export interface UploadedPart {
  readonly number: number
  readonly tag: string
}

/**
 * A place for objects by key, as S3 and Azure Blob offer: no rename, no append, no lock, but writes on a condition. Everything
 * above is built on these calls, so another kind of object storage is one class.
 *
 * (1) `putIfAbsent` and `putIfMatch` decide atomically: of any number of callers at once, one is let through.
 * (2) A read that begins after a write was answered sees it, or a later one.
 * (3) Calls reject with a {@link BucketFailure}, which holds no credentials; whether something was written is open then.
 * (4) A call that gives up when `signal` fires may still be carried out.
 */
export interface Bucket {
  /** For messages: `'s3://bucket/prefix'`. It holds no credentials. */
  readonly name: string
  /** Tells the store, and the bucket in it, from every other: what is found out about one store holds for all that is in it. */
  readonly store: string
  /** Writes an object, whatever is there. Resolves to its tag. */
  put(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string>
  /** Writes an object that is not there. `undefined`, and nothing is written, where there is one. */
  putIfAbsent(key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<string | undefined>
  /** Replaces an object that has this tag. `undefined`, and nothing is written, where it has another or is not there. */
  putIfMatch(key: string, bytes: Uint8Array, tag: string, signal?: AbortSignal): Promise<string | undefined>
  /** `undefined` where there is no such object. */
  get(
    key: string,
    options: GetOptions,
    signal?: AbortSignal,
  ): Promise<FetchedObject | 'unchanged' | undefined>
  /** Resolves also where there is no such object. */
  delete(key: string, signal?: AbortSignal): Promise<void>
  /** Objects whose key begins with `prefix`, a page at a time, in the order of their keys; `after`: those behind that key. */
  list(prefix: string, after: string | undefined, signal?: AbortSignal): Promise<ListPage<ListedObject>>
  /** Begins an upload in parts. */
  startUpload(key: string, signal?: AbortSignal): Promise<string>
  /** Uploads a part; parts are numbered from 1. All but the last have one size. */
  uploadPart(
    key: string,
    uploadId: string,
    number: number,
    bytes: Uint8Array,
    signal?: AbortSignal,
  ): Promise<UploadedPart>
  /** Makes one object of the parts. `'unknown'` where there is no such upload: it was aborted, or completed before. */
  completeUpload(
    key: string,
    uploadId: string,
    parts: readonly UploadedPart[],
    signal?: AbortSignal,
  ): Promise<'completed' | 'unknown'>
  /** Forgets an upload and its parts. Resolves also where there is none. */
  abortUpload(key: string, uploadId: string, signal?: AbortSignal): Promise<void>
  /** Uploads of keys that begin with `prefix` that were begun, not completed and not aborted; all of them, up to some thousands. */
  listUploads(prefix: string, signal?: AbortSignal): Promise<ListedUpload[]>
  /** Sends bytes with the digest of others, where the client can: whether the store took them. For probing. */
  putWithWrongDigest?(key: string, bytes: Uint8Array): Promise<boolean>
}

export interface ListPage<Listed> {
  readonly objects: readonly Listed[]
  /** There are more: they are listed after this key. */
  readonly next: string | undefined
}

/** Empty pages of a listing, one behind the other, that are gone past: beyond, the store is taken for one that never ends. */
const MAX_EMPTY_PAGES = 1_000

/**
 * A page of a listing that has objects, or is the last. A store may answer with pages that have none, and yet with a token by which it goes on: then there is
 * no key after which the next page would be.
 */
export async function pageWithObjects(
  fetch: (token: string | undefined) => Promise<{
    readonly objects: readonly ListedObject[]
    readonly isMore: boolean
    readonly token: string | undefined
  }>,
): Promise<ListPage<ListedObject>> {
  let token: string | undefined
  for (let page = 0; page < MAX_EMPTY_PAGES; page++) {
    const { objects, isMore, token: next } = await fetch(token)
    if (!isMore || objects.length > 0) return { objects, next: isMore ? objects.at(-1)?.key : undefined }
    if (next === undefined || next === token) break
    token = next
  }
  throw new BucketFailure('BadListing', 'a listing says that there is more, and not where', 200)
}

/** All objects whose key begins with `prefix`, page after page. */
export async function* allObjects(
  bucket: Pick<Bucket, 'list'>,
  prefix: string,
): AsyncGenerator<ListedObject, void, undefined> {
  let after: string | undefined
  do {
    const page: ListPage<ListedObject> = await bucket.list(prefix, after)
    yield* page.objects
    // Otherwise it would be listed for ever.
    if (page.next !== undefined && page.next === after)
      throw new BucketFailure('BadListing', 'a page of a listing is followed by itself', 200)
    after = page.next
  } while (after !== undefined)
}

/**
 * Why a call of a bucket failed. It is made from the parts of an answer that are known to hold no secret, and never keeps the
 * error of a client library, whose requests and responses hang on it with their headers.
 */
export class BucketFailure extends Error {
  override readonly name = 'BucketFailure'
  /** The server's word for it, or the system's: `'AccessDenied'`, `'ECONNRESET'`. */
  readonly code: string
  /** The HTTP status; `undefined` where there was no answer. */
  readonly status: number | undefined
  /** Another attempt may succeed: no answer, an overload, a failure inside the server. */
  readonly isTransient: boolean

  constructor(code: string, reason: string, status?: number) {
    super(status === undefined ? `${reason} (${code})` : `${reason} (${code}, status ${status})`)
    this.code = code
    this.status = status
    this.isTransient = status === undefined || TRANSIENT_STATUSES.has(status) || TRANSIENT_CODES.has(code)
  }
}

/** 409 is what S3 answers where two conditional writes met: neither has failed for good. */
const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([408, 409, 425, 429, 500, 502, 503, 504])
/** Answers that come with the status of a wrong request, and are over at the next attempt. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set(['RequestTimeout', 'IncompleteBody', 'BadDigest'])
