// Where the cuts of a job are kept. A cut is the state of one instant between two events, and what the job keeps of itself (cut.ts).

import type { StateError } from '../base/errors.js'
import type { Mutex } from '../base/mutex.js'
import type { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import type { JobCut } from './cut.js'
import type { Positions } from './source/source.js'

/** What a cut is taken of. */
export interface CutSubject {
  /** Whoever holds it sees the job between two events. */
  readonly mutex: Mutex
  /** What the job keeps of itself, as it is now. */
  capture(): JobCut
  /**
   * Puts what is only in memory, and outputs, into the store: all of it or nothing. Only while the mutex is held. `outputsFirst`: where there are
   * outputs, what need not be done before the sink has them is left to the next call, which must come.
   */
  record(options?: { readonly outputsFirst: boolean }): Promise<void>
  /** Ends the epoch at hand. Only while the mutex is held. */
  prepare(): Promise<void>
  /** A crash from now on undoes nothing that was there a moment ago: for figures. */
  noteCut(): void
  /** A cut is safe: the sink commits what was prepared for it, and the source is told. */
  onSafe(cut: JobCut): Promise<void>
  /** The source may let go of what is in a cut. */
  tellSource(positions: Positions): Promise<void>
  /** A cut could not be made; there will be another one. */
  onCutFailed(error: Error): void
  /** Waits for a call: one that takes long is told of, and where the job is to end it is not waited for without an end. */
  waitFor<Result>(call: string, begin: () => Promise<Result>): Promise<Result>
  /** Gives outputs to the sink. */
  deliver(outputs: readonly unknown[]): Promise<void>
  /** What cannot go on. */
  onFailure(error: unknown): void
}

/** What a job begins with. */
export interface RestoredCut {
  /** `undefined`: it is the first run. */
  readonly cut: JobCut | undefined
  /** Whether no newer cut was ever safe. */
  readonly isNewest: boolean
}

export interface RestoreCutOptions {
  /** Gives up with `ABORTED`. */
  readonly signal: AbortSignal
  /** Called with the cut that is going to be restored: again with an older one, where all of it cannot be read. Must not throw. */
  readonly onCut: (cut: JobCut) => void
}

export interface Cuts {
  /** Where cuts are checkpoints. */
  readonly coordinator?: CheckpointCoordinator
  /** Becomes the owner of the cuts, where they have one, before anything is restored. `ABORTED` where the signal fires while it waits for that. */
  acquire?(signal: AbortSignal | undefined): Promise<void>
  /** Rejects with `FENCED` where another process owns the cuts by now; absent where there is nothing that tells. */
  checkOwner?(): Promise<void>
  /** Brings back the state of the cut that the job of that name goes on from. */
  restore(jobName: string, options?: RestoreCutOptions): Promise<RestoredCut>
  /** Cuts are made from now on, again and again. */
  begin(subject: CutSubject): Promise<void>
  /** Makes the last cut, waits until it is safe, and lets go of everything. */
  finish(): Promise<void>
  /** Lets go of everything without a cut. Never rejects. */
  abandon(reason: StateError): Promise<void>
}
