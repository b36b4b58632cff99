import type { EntryBlock } from '../../backend/entry-block.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import { isStateError, StateError } from '../../base/errors.js'
import type { LogMark } from '../log/log-identity.js'
import type { GroupCommit } from './group-commit.js'
import type { CommitResult } from './store-writer.js'
import type { WriterPort } from './writer-port.js'
import type { WriterRequest } from './writer-thread.js'

/** The content that takes the place of another one: written beside it, and put in service by one commit. */
export class StoreReplacement {
  readonly #writer: WriterPort
  readonly #commit: GroupCommit
  readonly #maxBytes: number

  constructor(writer: WriterPort, commit: GroupCommit, maxBytes: number) {
    this.#writer = writer
    this.#commit = commit
    this.#maxBytes = maxBytes
  }

  /** `BACKEND_FULL` where the blocks are more than `maxBytes`. */
  async fill(blocks: AsyncIterable<EntryBlock>): Promise<void> {
    const maxBytes = this.#maxBytes
    await this.#ask({ kind: 'beginReplace' })
    let bytes = 0
    for await (const block of blocks) {
      if (bytes + block.bytes.length > maxBytes) {
        throw new StateError('BACKEND_FULL', { used: bytes, capacity: maxBytes })
      }
      bytes += block.bytes.length
      await this.#ask({ kind: 'replaceBlock', bytes: block.bytes })
    }
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

  async #ask(request: WriterRequest): Promise<CommitResult | undefined> {
    try {
      return await this.#writer.ask(request)
    } catch (error) {
      // It has said so before it changed anything.
      if (isStateError(error, 'BACKEND_FULL')) throw error
      // What is on disk cannot be told any more: as after any other commit that fails, nothing more is to be written.
      this.#commit.fail(error as StateError)
      throw error
    }
  }
}
