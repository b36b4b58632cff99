import { StateError } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import type { StagedWrite } from '../state-backend.js'
import { isWriteBatch, OperationKind, type WriteBatch } from '../write-batch.js'
import { Counters } from './counters.js'
import type { EngineStage } from './engines.js'

export interface CountedStageHost {
  assertWritable(): void
  expiry(ttlMs: number | undefined): number
  applied(counts: Counters): void
}

/** The face of a staged write: checks what is added, and counts it once it is in force. */
export class CountedStage implements StagedWrite {
  readonly #stage: EngineStage
  readonly #host: CountedStageHost
  readonly #counts = new Counters()
  #isOver = false

  constructor(stage: EngineStage, host: CountedStageHost) {
    this.#stage = stage
    this.#host = host
  }

  add(batch: WriteBatch): void {
    this.#assertOpen('add')
    if (!isWriteBatch(batch)) throw invalidArgument('batch', 'must be a WriteBatch')
    const cursor = batch.cursor()
    while (cursor.next()) {
      if (cursor.kind !== OperationKind.PUT && cursor.kind !== OperationKind.DELETE) {
        throw invalidArgument('batch', 'must have no expectations and no ranges where it is staged')
      }
    }
    this.#stage.add({ cursor, expiry: (ttlMs) => this.#host.expiry(ttlMs) })
    this.#counts.noteBatch(cursor)
  }

  apply(): void {
    this.#assertOpen('apply')
    this.#isOver = true
    this.#stage.apply()
    this.#host.applied(this.#counts)
  }

  drop(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stage.drop()
  }

  #assertOpen(operation: string): void {
    this.#host.assertWritable()
    if (!this.#isOver) return
    throw new StateError('TRANSACTION_FAILED', { operation, reason: 'the staged write is over' })
  }
}
