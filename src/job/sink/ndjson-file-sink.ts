// Outputs as lines of JSON in one file, each exactly once.
//
// (1) A cut names how many bytes of the file count. They are durable before the cut is made.
// (2) What lies behind that is cut off when the file is opened again.
// (3) `<file>.start` says how many bytes lay in the file before the first output: they are never cut off. It is durable before
//     the first output is written.
// (4) Who writes holds the lease in `<file>.lease`, from before it cuts anything off, and looks at it before each write and behind
//     what it has prepared: what a fenced writer has prepared is named by no cut.
// (5) Nor is what went to a file that was removed, replaced or cut off under the writer.

import { type FileHandle, open } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { isStateError, StateError } from '../../base/errors.js'
import { rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import { waitForOwner } from '../../base/wait-for-owner.js'
import { DurableDirectory } from '../../files/durable-directory.js'
import { errnoOf, storageError } from '../../files/file-failure.js'
import { FileLease } from '../../files/file-lease.js'
import { whatBecameOf } from '../../files/named-file.js'
import type { EpochId, OpenSinkOptions, PreparedEpoch, Sink, SinkWriter } from './sink.js'

const STORAGE = 'file sink'
const TAKEN_AWAY =
  'outputs that count by a cut are lost without it; see who removes, renames or cuts off files there, and put it back'

export interface NdjsonFileSinkOptions<Output> {
  /** The file: made where it is not there. `STORAGE_ERROR` where its directory is not there. */
  readonly path: string
  /** The line of an output, without its newline. Default: `JSON.stringify`. */
  readonly encode?: (output: Output) => string
  /** How long to wait for another process that has the file open to close it, in milliseconds. Default 0: `FENCED` at once. */
  readonly waitForOwnerMs?: number
  /** Take the file over, also from a process that lives: its next write is `FENCED`. Default false. */
  readonly takeOver?: boolean
}

/**
 * Appends outputs to a file, a line each. Whoever reads the file while the job runs sees lines before their cut; after a crash those
 * are withdrawn and written anew. What was in the file before the job's first run stays in front. One writer at a time: to open it is
 * `FENCED` while another one has it open, and so is to write once it was taken over (`<path>.lease` holds who has it).
 */
export function ndjsonFileSink<Output>(options: NdjsonFileSinkOptions<Output>): Sink<Output> {
  rejectViolations(
    violationsOf(options, {
      path: (path) => (typeof path === 'string' && path !== '' ? undefined : 'must be a path'),
      encode: rules.function,
      waitForOwnerMs: rules.nonNegativeMs,
      takeOver: rules.boolean,
    }),
  )
  requireSettings(options, ['path'])
  const { path, encode = JSON.stringify as (output: Output) => string } = options
  const { waitForOwnerMs = 0, takeOver = false } = options
  return Object.freeze({
    name: path,
    guarantee: 'transactional' as const,
    open: ({ prepared, checkOwner }: OpenSinkOptions) =>
      FileWriter.open(path, encode, prepared, { waitForOwnerMs, takeOver, checkOwner }),
  })
}

class FileWriter<Output> implements SinkWriter<Output> {
  readonly #path: string
  readonly #encode: (output: Output) => string
  readonly #file: FileHandle
  readonly #lease: FileLease
  #bytes: number
  #isClosed = false

  private constructor(
    path: string,
    encode: (output: Output) => string,
    opened: { readonly file: FileHandle; readonly lease: FileLease; readonly bytes: number },
  ) {
    this.#path = path
    this.#encode = encode
    this.#file = opened.file
    this.#lease = opened.lease
    this.#bytes = opened.bytes
  }

  static async open<Output>(
    path: string,
    encode: (output: Output) => string,
    prepared: readonly PreparedEpoch[],
    owning: Owning,
  ): Promise<FileWriter<Output>> {
    const last = prepared.at(-1)
    const { file, isNew } = await openOrCreate(path, last !== undefined)
    let lease: FileLease | undefined
    try {
      lease = await acquireLease(path, owning)
      const { size } = await file.stat()
      const bytes = last === undefined ? await startOf(path, size) : bytesOf(path, last, size)
      await file.truncate(bytes)
      await file.datasync()
      if (isNew) await syncDirectoryOf(path)
      return new FileWriter(path, encode, { file, lease, bytes })
    } catch (error) {
      await file.close()
      await lease?.release().catch(() => {})
      throw error
    }
  }

  async write(outputs: readonly Output[]): Promise<void> {
    if (outputs.length === 0) return
    let text = ''
    for (const output of outputs) text += `${this.#line(output)}\n`
    const bytes = Buffer.from(text)
    await this.#attempt('write', () => this.#writeAll(bytes))
  }

  async prepare(_epoch: EpochId): Promise<{ bytes: number }> {
    await this.#attempt('make outputs durable', () => this.#sync())
    await this.#lease.check()
    return { bytes: this.#bytes }
  }

  async commit(): Promise<void> {}

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#file.close()
    await this.#lease.release()
  }

  async #sync(): Promise<void> {
    await this.#file.datasync()
    await this.#requireWhole()
    const change = await whatBecameOf(this.#path, this.#file)
    if (change !== undefined) throw new Error(`${change}: ${TAKEN_AWAY}`)
  }

  async #requireWhole(): Promise<void> {
    const { size } = await this.#file.stat()
    if (size < this.#bytes)
      throw new Error(`it was cut off at ${size} of ${this.#bytes} bytes: ${TAKEN_AWAY}`)
  }

  async #writeAll(bytes: Buffer): Promise<void> {
    // What is written behind the end of a file fills what is missing with zeros, and the length tells nothing any more.
    await this.#requireWhole()
    for (let start = 0; start < bytes.length; ) {
      const { bytesWritten } = await this.#file.write(bytes, start, bytes.length - start, this.#bytes)
      start += bytesWritten
      this.#bytes += bytesWritten
    }
  }

  #line(output: Output): string {
    const line: unknown = this.#encode(output)
    if (typeof line === 'string' && !line.includes('\n')) return line
    const reason = typeof line === 'string' ? 'it has more than one line' : 'it has no JSON'
    throw new StateError('SERIALIZATION_FAILED', { what: `an output for ${this.#path}`, reason })
  }

  async #attempt<Result>(operation: string, run: () => Promise<Result>): Promise<Result> {
    if (this.#isClosed) throw new StateError('CLOSED', { component: STORAGE })
    await this.#lease.check()
    try {
      return await run()
    } catch (error) {
      // Whoever has taken over may have cut off what was not yet in a cut.
      await this.#lease.check()
      throw storageError(STORAGE, operation, this.#path, error)
    }
  }
}

interface Owning {
  readonly waitForOwnerMs: number
  readonly takeOver: boolean
  readonly checkOwner: (() => Promise<void>) | undefined
}

/** In a folder of its own: beside the file there may be others. */
async function acquireLease(path: string, owning: Owning): Promise<FileLease> {
  const { waitForOwnerMs, takeOver, checkOwner } = owning
  const directory = new DurableDirectory(resolve(`${path}.lease`))
  await directory.prepare()
  let refusal: { readonly error: unknown } | undefined
  const beforeClaim = async () => {
    try {
      await checkOwner?.()
    } catch (error) {
      refusal = { error }
      throw error
    }
  }
  const acquire = async () => {
    try {
      return await FileLease.acquire(directory, { takeOver, beforeClaim })
    } catch (error) {
      // A job that was overtaken does not wait for the file: it never is its owner again.
      if (refusal === undefined) throw error
      return undefined
    }
  }
  const lease = await waitForOwner(acquire, waitForOwnerMs)
  if (lease === undefined) throw refusal?.error
  return lease
}

/** How many bytes count by the cut. */
function bytesOf(path: string, { token }: PreparedEpoch, size: number): number {
  const bytes = typeof token === 'object' && token !== null && 'bytes' in token ? token['bytes'] : undefined
  if (!Number.isSafeInteger(bytes) || (bytes as number) < 0) {
    throw lost(`${path}: the cut names ${JSON.stringify(token)}, which is no length of a file`)
  }
  if (size >= (bytes as number)) return bytes as number
  throw lost(`${path}: ${bytes} bytes of it count by the cut, and it has ${size}: outputs are lost`)
}

/** How many bytes lay in the file before the job's first output. */
async function startOf(path: string, size: number): Promise<number> {
  const startPath = `${path}.start`
  const { file, isNew } = await openOrCreate(startPath, false)
  try {
    const text = (await file.readFile('utf8')).trim()
    if (/^\d+$/.test(text) && !isNew) {
      const bytes = Number(text)
      if (size >= bytes) return bytes
      throw lost(`${path}: it had ${bytes} bytes before the first output, and has ${size}`)
    }
    // New, or torn: nothing was written behind it yet.
    await file.truncate(0)
    await file.write(`${size}\n`, 0)
    await file.datasync()
    await syncDirectoryOf(path)
    return size
  } catch (error) {
    throw isStateError(error) ? error : storageError(STORAGE, 'open', startPath, error)
  } finally {
    await file.close()
  }
}

async function openOrCreate(
  path: string,
  mustExist: boolean,
): Promise<{ readonly file: FileHandle; readonly isNew: boolean }> {
  try {
    return { file: await open(path, 'r+'), isNew: false }
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw storageError(STORAGE, 'open', path, error)
    if (mustExist) throw lost(`${path}: it is gone, and the cut names outputs in it`)
  }
  try {
    return { file: await open(path, 'wx+'), isNew: true }
  } catch (error) {
    throw storageError(STORAGE, 'open', path, error)
  }
}

async function syncDirectoryOf(path: string): Promise<void> {
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function lost(reason: string): StateError<'RESTORE_FAILED'> {
  return new StateError('RESTORE_FAILED', { checkpointId: undefined, reason, skipped: [] })
}
