import type { BuiltBlocks, TakeBuilt } from '../../backend/built-state.js'
import type { EntryBlock } from '../../backend/entry-block.js'
import type { PreparableBlocks, PreparedBlock, TakePrepared } from '../../backend/prepared-blocks.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import { StateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import type { CheckpointContent } from '../format/manifest.js'
import { BlockInbox } from './block-pipe.js'
import type { JobStarter } from './checkpoint-worker.js'
import { errorOf, startJob } from './start-job.js'
import type { WorkerJob } from './worker-job.js'
import type { BuildCall, JobResult, PrepareCall, WorkerLimits } from './worker-protocol.js'

/** How long blocks may be handed on without letting the event loop run, in milliseconds. */
const TURN_MS = 2

/** Reading takes what it needs: whoever restores waits for it. */
const UNLIMITED: WorkerLimits = { workerShare: 1, maxBytesPerSecond: Infinity }

/** A stretch that is no larger than that is read in this thread, where the worker's does not run yet: starting it takes longer. */
const MAX_RAW_BYTES_HERE = 4 * 1024 * 1024
/** But not of a checkpoint that is larger than that, whose index alone would keep this thread busy. */
const MAX_STORED_BYTES_HERE = 256 * 1024 * 1024

export interface ReadRequest {
  readonly worker: JobStarter
  readonly storage: CheckpointStorage
  readonly content: CheckpointContent
  /** Only the keys in it; default: all. */
  readonly stretch?: KeyStretch | undefined
  /** Have the worker put together what the blocks come to. Only without `stretch`. */
  readonly build?: BuildCall | undefined
  /** Have the worker make each block ready for an engine. Only without `stretch` and `build`. */
  readonly prepare?: PrepareCall | undefined
  readonly signal: AbortSignal | undefined
}

/** Reads all of a checkpoint in the worker and verifies it. Rejects with what is wrong with it. */
export async function verifyContent({ worker, storage, content, signal }: ReadRequest): Promise<void> {
  const request = { kind: 'read', content, stretch: undefined, sendBlocks: false, limits: UNLIMITED } as const
  try {
    await startJob({ worker, storage, shared: storage.share?.(), request, signal }).ended
  } catch (error) {
    throw errorOf(error, signal, 'verify')
  }
}

function isReadHere({ worker, content, stretch }: ReadRequest): boolean {
  if (stretch === undefined || worker.isReadyFor(undefined)) return false
  const storedBytes = content.segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  return storedBytes <= MAX_STORED_BYTES_HERE
}

/**
 * The content of one checkpoint, read, verified and merged in the worker (or here, where it is little), as a stream of blocks that ends normally only
 * if all of it verified. Iterate it once, and `close` it afterwards.
 */
export class RestoreStream implements BuiltBlocks, PreparableBlocks {
  readonly #request: ReadRequest
  #inbox: BlockInbox = this.#newInbox()
  readonly #onBlock: (entries: number) => void
  readonly #opened: Promise<void>
  #noteOpened: () => void = () => {}
  #failOpening: (error: unknown) => void = () => {}
  #job: WorkerJob
  #closed = false

  /** Entries handed on so far. */
  entryCount = 0
  /** The end was reached and everything held. */
  finished = false
  /** What the blocks come to is put together in the worker. */
  #builds: boolean
  /** The blocks are made ready for an engine in the worker. */
  #prepares: boolean
  #checkBuilding: () => void = () => {}
  /** Whoever waits for what is built wants it no more. */
  #givenUp: { readonly error: unknown } | undefined
  /** Called when the end is reached, in the same step as the reader of the stream learns of it. */
  onFinished: () => void = () => {}
  /** Why the stream ended early; tells damage of the checkpoint from failures of whoever reads it. */
  failure: unknown

  /** Begins to read. `CLOSED` where the worker is closed. */
  constructor(request: ReadRequest, onBlock: (entries: number) => void) {
    this.#request = request
    this.#onBlock = onBlock
    this.#opened = new Promise((resolve, reject) => {
      this.#noteOpened = resolve
      this.#failOpening = reject
    })
    // Whoever awaits it is told.
    this.#opened.catch(() => {})
    this.#builds = request.build !== undefined
    this.#prepares = request.prepare !== undefined
    this.#job = this.#begin(isReadHere(request), request)
  }

  /** As `BuiltBlocks` have it, where what the blocks come to is put together in the worker. */
  get takeBuilt(): TakeBuilt | undefined {
    return this.#builds ? (check) => this.#built(check) : undefined
  }

  /** As `PreparableBlocks` have it, where the worker makes them ready. */
  get takePrepared(): TakePrepared | undefined {
    return this.#prepares ? () => this.#blocks() : undefined
  }

  #newInbox(): BlockInbox {
    return new BlockInbox((bytes) => this.#job.giveCredit(bytes))
  }

  #begin(isHere: boolean, { build, prepare }: Pick<ReadRequest, 'build' | 'prepare'> = {}): WorkerJob {
    const inbox = this.#inbox
    const { worker, storage, content, stretch, signal } = this.#request
    const job = startJob({
      worker,
      storage,
      shared: isHere ? undefined : storage.share?.(),
      request: {
        kind: 'read',
        content,
        stretch,
        sendBlocks: true,
        limits: UNLIMITED,
        ...(build !== undefined && { build }),
        ...(prepare !== undefined && { prepare }),
        ...(isHere && { maxRawBytes: MAX_RAW_BYTES_HERE }),
      },
      signal,
      isHere,
      onTold: () => this.#noteOpened(),
      onBlock: (block) => inbox.push(block),
      onBuilt: (entries) => this.#noteBuilt(entries),
    })
    const fail = (error: unknown) => {
      this.#failOpening(error)
      if (build === undefined) inbox.fail(error)
    }
    if (build !== undefined) {
      job.ended.catch(fail)
      return job
    }
    job.ended.then((result) => this.#over(result, fail), fail)
    return job
  }

  /** Where it was too much to be read here, it begins again in the worker. */
  #over({ isTooLarge }: JobResult, fail: (error: unknown) => void): void {
    if (isTooLarge !== true || this.#closed) {
      this.#noteOpened()
      this.#inbox.end()
      return
    }
    try {
      this.#job = this.#begin(false)
    } catch (error) {
      fail(error)
    }
  }

  /** Resolves when every segment is open and fits the manifest. `CORRUPTION` (also for a missing one), `INCOMPATIBLE`. */
  async opened(): Promise<void> {
    try {
      await this.#opened
    } catch (error) {
      throw errorOf(error, this.#request.signal, 'restore')
    }
  }

  /** The worker died in the middle of it: that says nothing about the checkpoint. */
  get lost(): boolean {
    return this.#job.lost
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<EntryBlock, void, undefined> {
    if (this.#builds || this.#prepares) await this.#readAfterAll()
    yield* this.#blocks()
  }

  async *#blocks(): AsyncGenerator<EntryBlock | PreparedBlock, void, undefined> {
    let turnBeganAtMs = performance.now()
    for (;;) {
      const block = await this.#next()
      if (block === undefined) {
        this.onFinished()
        return
      }
      this.entryCount += block.entryCount
      this.#onBlock(this.entryCount)
      yield block
      // The next blocks may be here already, so that nothing else would make the reader pause.
      if (performance.now() - turnBeganAtMs < TURN_MS) continue
      await nextTurn()
      turnBeganAtMs = performance.now()
    }
  }

  async #built(check: () => void): Promise<unknown> {
    const job = this.#job
    this.#checkBuilding = check
    try {
      const { built } = await job.ended
      if (this.#givenUp !== undefined) throw this.#givenUp.error
      this.finished = true
      this.onFinished()
      return built
    } catch (error) {
      if (this.#givenUp !== undefined) throw this.#givenUp.error
      const failure = errorOf(error, this.#request.signal, 'restore')
      // What could not be put together is no fault of the checkpoint.
      if (!job.failedInBuilder) this.failure = failure
      throw failure
    }
  }

  #noteBuilt(entries: number): void {
    if (this.#closed) return
    this.entryCount = entries
    this.#onBlock(entries)
    try {
      this.#checkBuilding()
    } catch (error) {
      this.#givenUp ??= { error }
      this.#job.abort()
    }
  }

  /** Somebody wants the blocks themselves: they are read once more. */
  async #readAfterAll(): Promise<void> {
    this.#job.abort()
    await this.#job.ended.catch(() => {})
    if (this.#closed) {
      // Nobody would end a job that is begun now.
      this.failure = errorOf(
        new StateError('ABORTED', { operation: 'restore' }),
        this.#request.signal,
        'restore',
      )
      throw this.failure
    }
    this.entryCount = 0
    this.#builds = false
    this.#prepares = false
    this.#inbox = this.#newInbox()
    this.#job = this.#begin(false)
  }

  /** Resolves when the worker has let go of the files. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true
    this.#job.abort()
    await this.#job.ended.catch(() => {})
  }

  /** The next block; `undefined` at the verified end. */
  async #next(): Promise<EntryBlock | undefined> {
    try {
      const block = await this.#inbox.next()
      this.finished = block === undefined
      return block
    } catch (error) {
      const failure = errorOf(error, this.#request.signal, 'restore')
      // What could not be made ready is no fault of the checkpoint.
      if (!this.#job.failedInBuilder) this.failure = failure
      throw failure
    }
  }
}
