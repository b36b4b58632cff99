import { reasonOf, StateError } from '../../base/errors.js'
import type { FileMark } from '../../files/lease-watch.js'
import {
  type Environment,
  type EnvironmentOptions,
  openEnvironment,
  type ReadTransaction,
} from './environment.js'
import { fileMark } from './store-guard.js'
import { decodeStoreState, STATE_KEY, type StoreState } from './store-state.js'
import { StoreView } from './store-view.js'

/** A data file that is open here, and who still reads from it. */
export class OpenStore {
  readonly environment: Environment
  /** The time that the store knew to have come when `latest` was called last; 0 before. */
  clockMs = 0
  /** The state that the store had then; undefined: none yet. */
  state: StoreState | undefined
  readonly #dataPath: string
  readonly #mark: FileMark | undefined
  readonly #isNew: boolean
  /** Views that are not released, and whoever opened it. */
  #users = 1
  readonly #closed: Promise<void>
  #resolveClosed: (closing: Promise<void>) => void = () => {}

  constructor(dataPath: string, options: EnvironmentOptions) {
    this.environment = openEnvironment(dataPath, options)
    this.#dataPath = dataPath
    this.#mark = fileMark(dataPath)
    this.#isNew = options.create ?? false
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve
    })
  }

  /** Somebody reads from it, or it is not closed. */
  get inUse(): boolean {
    return this.#users > 0
  }

  /** Whether a path means the file that is open. `STORAGE_ERROR` where it means none any more. */
  isOf(dataPath: string): boolean {
    const now = fileMark(dataPath)
    if (now === undefined) {
      const reason = `${dataPath} is gone; open the store again once it is back`
      throw new StateError('STORAGE_ERROR', { storage: 'lmdb', operation: 'read', reason })
    }
    return dataPath === this.#dataPath && now.dev === this.#mark?.dev && now.ino === this.#mark.ino
  }

  /**
   * Its content now, known to be of this generation, with so many entries. `STORAGE_ERROR` where LMDB begins no more
   * transactions: the usual reason is that more commits have open snapshots than it has room for.
   */
  view(generation: number, entryCount?: number): StoreView {
    return this.#viewOf(this.#begin(), generation, entryCount)
  }

  #begin(): ReadTransaction {
    const { root } = this.environment
    try {
      // One of now.
      root.resetReadTxn()
      return root.useReadTransaction() as unknown as ReadTransaction
    } catch (cause) {
      throw cannotRead(cause)
    }
  }

  #viewOf(transaction: ReadTransaction, generation: number, entryCount?: number): StoreView {
    try {
      const view = new StoreView(this.environment, transaction, generation, entryCount, () => this.#leave())
      this.#users++
      return view
    } catch (cause) {
      transaction.done()
      throw cannotRead(cause)
    }
  }

  /** Its content now, with the state of the same instant: another commit may come at any time. */
  latest(): StoreView {
    const transaction = this.#begin()
    try {
      this.#readState(transaction)
    } catch (error) {
      transaction.done()
      throw error
    }
    return this.#viewOf(transaction, this.state?.generation ?? 0)
  }

  #readState(transaction: ReadTransaction): void {
    const { meta } = this.environment
    const record = meta.getBinaryFast(STATE_KEY, { transaction })
    if (record === undefined) {
      if (this.#isNew) return
      throw new StateError('CORRUPTION', { what: this.#dataPath, reason: 'its state is missing' })
    }
    this.state = decodeStoreState(record.subarray(0, meta.lastSize))
    this.clockMs = this.state.clockMs
  }

  /** Resolves when all views of it were released and it is closed. */
  close(): Promise<void> {
    this.#leave()
    return this.#closed
  }

  #leave(): void {
    if (--this.#users === 0) this.#resolveClosed(this.environment.close())
  }
}

function cannotRead(cause: unknown): StateError {
  const details = { storage: 'lmdb', operation: 'begin to read', reason: reasonOf(cause) }
  return new StateError('STORAGE_ERROR', details, { cause })
}
