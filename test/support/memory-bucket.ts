import type {
  Bucket,
  FetchedObject,
  GetOptions,
  ListedObject,
  ListedUpload,
  ListPage,
  UploadedPart,
} from '../../src/bucket/bucket.js'

/** A call that has arrived at a bucket. */
export interface BucketCall {
  readonly operation: keyof Bucket
  readonly key: string
  readonly bytes: number
}

/** What surrounds each call: it decides whether and when the call is carried out, and whether its caller learns of it. */
export type Around = <Result>(call: BucketCall, carryOut: () => Result) => Promise<Result>

interface Held {
  readonly bytes: Uint8Array
  readonly tag: string
  readonly changedAtMs: number
}

let buckets = 0

/** A bucket in memory that keeps every promise of one, and tells `around` of each call. */
export class MemoryBucket implements Bucket {
  readonly name = 'memory:bucket'
  readonly store: string = `memory ${++buckets}`
  readonly objects = new Map<string, Held>()
  readonly uploads = new Map<string, { readonly key: string; readonly parts: Map<number, Uint8Array> }>()
  readonly calls: BucketCall[] = []
  around: Around = async (_, carryOut) => carryOut()
  /** How many of an object's list there are at most on one page. */
  pageSize = 3
  nowMs = 0
  #writes = 0

  async put(key: string, bytes: Uint8Array): Promise<string> {
    return await this.#call('put', key, bytes.length, () => this.#write(key, bytes))
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<string | undefined> {
    return await this.#call('putIfAbsent', key, bytes.length, () =>
      this.objects.has(key) ? undefined : this.#write(key, bytes),
    )
  }

  async putIfMatch(key: string, bytes: Uint8Array, tag: string): Promise<string | undefined> {
    return await this.#call('putIfMatch', key, bytes.length, () =>
      this.objects.get(key)?.tag === tag ? this.#write(key, bytes) : undefined,
    )
  }

  async get(key: string, { range, unlessTag }: GetOptions): Promise<FetchedObject | 'unchanged' | undefined> {
    return await this.#call('get', key, range?.length ?? 0, () => {
      const held = this.objects.get(key)
      if (held === undefined) return undefined
      if (held.tag === unlessTag) return 'unchanged'
      const [from, until] = range === undefined ? [0] : [range.offset, range.offset + range.length]
      return { bytes: held.bytes.slice(from, until), tag: held.tag }
    })
  }

  async delete(key: string): Promise<void> {
    await this.#call('delete', key, 0, () => this.objects.delete(key))
  }

  async list(prefix: string, after: string | undefined): Promise<ListPage<ListedObject>> {
    return await this.#call('list', prefix, 0, () => {
      const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort()
      const rest = keys.filter((key) => after === undefined || key > after)
      const objects = rest.slice(0, this.pageSize).map((key) => {
        const { bytes, changedAtMs } = this.objects.get(key) as Held
        return { key, sizeBytes: bytes.length, changedAtMs }
      })
      return { objects, next: rest.length > objects.length ? objects.at(-1)?.key : undefined }
    })
  }

  async startUpload(key: string): Promise<string> {
    return await this.#call('startUpload', key, 0, () => {
      const uploadId = `upload-${++this.#writes}`
      this.uploads.set(uploadId, { key, parts: new Map() })
      return uploadId
    })
  }

  async uploadPart(key: string, uploadId: string, number: number, bytes: Uint8Array): Promise<UploadedPart> {
    return await this.#call('uploadPart', key, bytes.length, () => {
      this.uploads.get(uploadId)?.parts.set(number, new Uint8Array(bytes))
      return { number, tag: `part-${number}` }
    })
  }

  async completeUpload(
    key: string,
    uploadId: string,
    parts: readonly UploadedPart[],
  ): Promise<'completed' | 'unknown'> {
    return await this.#call('completeUpload', key, 0, () => {
      const upload = this.uploads.get(uploadId)
      if (upload === undefined) return 'unknown'
      const bytes = parts.map(({ number }) => upload.parts.get(number) as Uint8Array)
      this.#write(key, Buffer.concat(bytes))
      this.uploads.delete(uploadId)
      return 'completed'
    })
  }

  async abortUpload(key: string, uploadId: string): Promise<void> {
    await this.#call('abortUpload', key, 0, () => this.uploads.delete(uploadId))
  }

  async listUploads(prefix: string): Promise<ListedUpload[]> {
    return await this.#call('listUploads', prefix, 0, () =>
      Array.from(this.uploads, ([uploadId, { key }]) => ({ key, uploadId, startedAtMs: this.nowMs })),
    )
  }

  #write(key: string, bytes: Uint8Array): string {
    const tag = `"${++this.#writes}"`
    this.objects.set(key, { bytes: new Uint8Array(bytes), tag, changedAtMs: this.nowMs })
    return tag
  }

  async #call<Result>(
    operation: keyof Bucket,
    key: string,
    bytes: number,
    carryOut: () => Result,
  ): Promise<Result> {
    const call = { operation, key, bytes }
    this.calls.push(call)
    return await this.around(call, carryOut)
  }
}
