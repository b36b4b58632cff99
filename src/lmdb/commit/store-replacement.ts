import type { EntryBlock } from '../../backend/entry-block.js'
import type { PreparedBlock } from '../../backend/prepared-blocks.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import { isStateError, StateError } from '../../base/errors.js'
import type { LogMark } from '../log/log-identity.js'
import type { GroupCommit } from './group-commit.js'
import type { CommitResult } from './store-writer.js'
import type { WriterPort } from './writer-port.js'
import type { WriterRequest } from './writer-thread.js'

export interface ReplacementLimits {
  /** The content may take so many bytes. */
  readonly maxBytes: number
  /** So many bytes of blocks may wait for the writer while it commits those before; a larger block waits alone. */
  readonly aheadBytes: number
}

/** The content that takes the place of another one: written beside it, and put in service by one commit. */
export class StoreReplacement {
  readonly #writer: Pick<WriterPort, 'ask'>
  readonly #commit: Pick<GroupCommit, 'fail' | 'failure'>
  readonly #maxBytes: number
  readonly #sent: SentBlocks

  constructor(
    writer: Pick<WriterPort, 'ask'>,
    commit: Pick<GroupCommit, 'fail' | 'failure'>,
    { maxBytes, aheadBytes }: ReplacementLimits,
  ) {
    this.#writer = writer
    this.#commit = commit
    this.#maxBytes = maxBytes
    this.#sent = new SentBlocks(aheadBytes)
  }

  /**
   * Hands all blocks to the writer: while it commits some, the next ones are read. `BACKEND_FULL` where they are more than
   * `maxBytes`. Those that were made ready elsewhere change hands. When this has settled, the writer has nothing left to do.
   */
  async fill(blocks: AsyncIterable<EntryBlock | PreparedBlock>, isPrepared: boolean): Promise<void> {
    const maxBytes = this.#maxBytes
    await this.#ask({ kind: 'beginReplace' })
    let bytes = 0
    try {
      for await (const block of blocks) {
        const { length } = block.bytes
        if (bytes + length > maxBytes) {
          throw new StateError('BACKEND_FULL', { used: bytes, capacity: maxBytes })
        }
        bytes += length
        await this.#sent.haveRoom(length)
        const { bytes: taken } = block
        const transferList = isPrepared ? [taken.buffer as ArrayBuffer] : []
        const answer = this.#ask({ kind: 'replaceBlock', bytes: taken, isPrepared }, transferList)
        this.#sent.add(length, answer)
      }
    } finally {
      // Whether one of them has failed decides what may be asked of the writer next.
      await this.#sent.settled()
    }
    this.#sent.throwFailure()
  }

  /** `stretch`: the keys that are replaced, `undefined`: all of them. `BACKEND_FULL` where what there is then would take more than `maxBytes`. */
  async finish(
    clockMs: number,
    stretch: KeyStretch | undefined,
    log: LogMark | undefined,
  ): Promise<CommitResult> {
    const request: WriterRequest =
      stretch === undefined
        ? { kind: 'finishReplace', clockMs, maxBytes: this.#maxBytes, log }
        : { kind: 'finishReplaceOf', clockMs, stretch, maxBytes: this.#maxBytes, log }
    return (await this.#ask(request)) as CommitResult
  }

  /**
   * After a failure LMDB is not to be asked for another transaction: it has been seen to corrupt the process's memory. What
   * is left in the other slot is then cleared when the store is opened next.
   */
  async abandon(): Promise<void> {
    if (this.#commit.failure === undefined) await this.#ask({ kind: 'abandonReplace' }).catch(() => {})
  }

  async #ask(
    request: WriterRequest,
    transferList: readonly ArrayBuffer[] = [],
  ): Promise<CommitResult | undefined> {
    try {
      return await this.#writer.ask(request, transferList)
    } catch (error) {
      // It has said so before it changed anything.
      if (isStateError(error, 'BACKEND_FULL')) throw error
      // What is on disk cannot be told any more: as after any other commit that fails, nothing more is to be written.
      this.#commit.fail(error as StateError)
      throw error
    }
  }
}

/** Blocks that the writer was given and has not answered for yet. One sender. */
class SentBlocks {
  readonly #limitBytes: number
  #count = 0
  #bytes = 0
  #failure: { readonly error: unknown } | undefined
  #tellAnswered: () => void = () => {}

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  add(bytes: number, answer: Promise<unknown>): void {
    this.#count++
    this.#bytes += bytes
    const note = () => {
      this.#count--
      this.#bytes -= bytes
      this.#tellAnswered()
    }
    answer.then(note, (error: unknown) => {
      this.#failure ??= { error }
      note()
    })
  }

  /** Resolves when there is room for that many more, or none is on its way. Rejects when one has failed. */
  async haveRoom(bytes: number): Promise<void> {
    this.throwFailure()
    while (this.#count > 0 && this.#bytes + bytes > this.#limitBytes) {
      await this.#nextAnswer()
      this.throwFailure()
    }
  }

  /** Resolves when all are answered. Never rejects. */
  async settled(): Promise<void> {
    while (this.#count > 0) await this.#nextAnswer()
  }

  /** Throws why the first of those that failed has. */
  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  #nextAnswer(): Promise<void> {
    return new Promise((resolve) => {
      this.#tellAnswered = resolve
    })
  }
}
