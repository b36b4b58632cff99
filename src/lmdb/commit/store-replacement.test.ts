import { describe, expect, it } from 'vitest'
import type { EntryBlock } from '../../backend/entry-block.js'
import { StateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import { type ReplacementLimits, StoreReplacement } from './store-replacement.js'
import type { CommitResult } from './store-writer.js'
import type { WriterRequest } from './writer-thread.js'

const failure = new StateError('STORAGE_ERROR', { storage: 'lmdb', operation: 'commit', reason: 'no' })

/** A writer whose answers the test gives. */
class SlowWriter {
  readonly asked: WriterRequest['kind'][] = []
  readonly #waiting: ((error: StateError | undefined) => void)[] = []

  ask({ kind }: WriterRequest): Promise<CommitResult | undefined> {
    this.asked.push(kind)
    if (kind !== 'replaceBlock') return Promise.resolve(undefined)
    return new Promise((resolve, reject) => {
      this.#waiting.push((error) => (error === undefined ? resolve(undefined) : reject(error)))
    })
  }

  get blocks(): number {
    return this.asked.filter((kind) => kind === 'replaceBlock').length
  }

  async answer(error?: StateError): Promise<void> {
    this.#waiting.shift()?.(error)
    await nextTurn()
  }
}

/** What the engine's commits know of failures. */
class Failures {
  failure: StateError | undefined
  fail(error: StateError): void {
    this.failure ??= error
  }
}

function replacementOf(limits: Partial<ReplacementLimits>) {
  const writer = new SlowWriter()
  const commits = new Failures()
  const replacement = new StoreReplacement(writer, commits, {
    maxBytes: Infinity,
    aheadBytes: 100,
    ...limits,
  })
  return { writer, commits, replacement }
}

async function* blocksOf(...sizes: number[]): AsyncGenerator<EntryBlock> {
  for (const size of sizes) yield { bytes: new Uint8Array(size), entryCount: 1 }
}

/** Whether it has settled, told whenever the test asks. */
function watched(promise: Promise<void>) {
  const state = { isSettled: false, outcome: promise }
  const settle = () => {
    state.isSettled = true
  }
  promise.then(settle, settle)
  return state
}

describe('the blocks of a replacement', () => {
  it('are handed over while the writer is at work on those before, as many as may wait', async () => {
    const { writer, replacement } = replacementOf({ aheadBytes: 100 })
    const filled = watched(replacement.fill(blocksOf(40, 40, 40, 40), false))
    await nextTurn()
    expect(writer.blocks).toBe(2)
    await writer.answer()
    expect(writer.blocks).toBe(3)
    await writer.answer()
    expect(writer.blocks).toBe(4)
    await writer.answer()
    expect(filled.isSettled).toBe(false)
    await writer.answer()
    await filled.outcome
  })

  it('are handed over one by one where each is larger than what may wait', async () => {
    const { writer, replacement } = replacementOf({ aheadBytes: 10 })
    const filled = replacement.fill(blocksOf(40, 40), false)
    await nextTurn()
    expect(writer.blocks).toBe(1)
    await writer.answer()
    expect(writer.blocks).toBe(2)
    await writer.answer()
    await filled
  })

  it('fail as the first one fails that the writer does not take, when it has answered all; then it is asked for nothing more', async () => {
    const { writer, commits, replacement } = replacementOf({ aheadBytes: 100 })
    const filled = watched(replacement.fill(blocksOf(40, 40, 40), false))
    await nextTurn()
    await writer.answer(failure)
    expect(commits.failure).toBe(failure)
    expect(filled.isSettled).toBe(false)
    await writer.answer(new StateError('CLOSED', { component: 'store' }))
    await expect(filled.outcome).rejects.toBe(failure)
    await replacement.abandon()
    expect(writer.asked).toEqual(['beginReplace', 'replaceBlock', 'replaceBlock'])
  })

  it('fail as well where it is the last of them that the writer does not take', async () => {
    const { writer, commits, replacement } = replacementOf({})
    const filled = replacement.fill(blocksOf(40), false)
    await nextTurn()
    await Promise.all([expect(filled).rejects.toBe(failure), writer.answer(failure)])
    expect(commits.failure).toBe(failure)
  })

  it('are abandoned when the writer has answered for all, where their stream fails', async () => {
    const { writer, replacement } = replacementOf({})
    const broken = async function* () {
      yield* blocksOf(40)
      throw failure
    }
    const filled = watched(replacement.fill(broken(), false))
    await nextTurn()
    expect(filled.isSettled).toBe(false)
    await writer.answer()
    await expect(filled.outcome).rejects.toBe(failure)
    await replacement.abandon()
    expect(writer.asked).toEqual(['beginReplace', 'replaceBlock', 'abandonReplace'])
  })

  it('are refused where they are more than the content may take', async () => {
    const { writer, replacement } = replacementOf({ maxBytes: 70 })
    const filled = replacement.fill(blocksOf(40, 40), false)
    await nextTurn()
    await Promise.all([expect(filled).rejects.toMatchObject({ code: 'BACKEND_FULL' }), writer.answer()])
    expect(writer.blocks).toBe(1)
  })
})
