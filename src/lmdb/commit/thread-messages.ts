// What the threads of a store answer, and how they are woken.

import { isStateError, type StateError, type StateErrorDetails } from '../../base/errors.js'
import type { CommitResult } from './store-writer.js'

/**
 * Places in the memory that a thread shares with the one that asks it: how many requests were answered, and how many were made. Either can wait
 * for the other one to count on without its event loop.
 */
export const Signal = { ANSWERED: 0, ASKED: 1 } as const

type RefusalCode = 'BACKEND_FULL' | 'FENCED' | 'STORAGE_ERROR'

/** A `StateError`: on its way between threads an error keeps its message only. */
export interface Refusal<Code extends RefusalCode = RefusalCode> {
  readonly code: Code
  readonly details: StateErrorDetails[Code]
}

export type ThreadReply = {
  readonly result?: CommitResult | undefined
  readonly refusal?: Refusal
  /** What failed, or the cause of the refusal. */
  readonly error?: unknown
}

/** The answer where something was thrown. */
export function replyOf(error: unknown): ThreadReply {
  return isRefusal(error)
    ? { refusal: { code: error.code, details: error.details }, error: error.cause }
    : { error }
}

/** Whether an error says by itself what is told of it. */
export function isRefusal(error: unknown): error is StateError<RefusalCode> {
  return (
    isStateError(error, 'BACKEND_FULL') ||
    isStateError(error, 'FENCED') ||
    isStateError(error, 'STORAGE_ERROR')
  )
}
