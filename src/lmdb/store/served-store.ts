import { inNextTurn } from '../../base/slices.js'
import type { Environment } from './environment.js'
import { OpenStore } from './open-store.js'
import type { StoreDirectory } from './store-directory.js'
import type { StoreState } from './store-state.js'
import type { StoreView } from './store-view.js'

/** The content of a store after a commit. */
export interface StoreContent {
  readonly generation: number
  readonly entries: number
}

/** How often a store may be compacted while its data file is being opened beside the process that writes. */
const TRIES = 5

/** Opens the data file of a store that another process writes to, which may put another one in its place, and remove it, at any time. */
export function openForReading(directory: StoreDirectory): OpenStore {
  return inForce(directory, (dataPath) => new OpenStore(dataPath, { readOnly: true }))
}

/** Where the file that the identity named is gone by now, it names another one. */
function inForce(directory: StoreDirectory, open: (dataPath: string) => OpenStore): OpenStore {
  for (let tries = 1; ; tries++) {
    const { dataPath } = directory
    try {
      return open(dataPath)
    } catch (error) {
      directory.refresh()
      if (tries === TRIES || directory.dataPath === dataPath) throw error
    }
  }
}

/**
 * The data file that reads go to, and the newest view of it. A file that another one has replaced stays open until nobody reads from
 * it any more.
 */
export class ServedStore {
  readonly #directory: StoreDirectory
  readonly #readOnly: boolean
  #store: OpenStore
  #view: StoreView
  /** Of files that were replaced and are still being read: each resolves when its file is closed. */
  readonly #retiring = new Set<Promise<void>>()
  /** Where another process writes: what is there was looked at in this turn of the event loop. */
  #isFresh = false

  constructor(store: OpenStore, directory: StoreDirectory, { readOnly }: { readonly readOnly: boolean }) {
    this.#store = store
    this.#directory = directory
    this.#readOnly = readOnly
    this.#view = store.latest()
  }

  get view(): StoreView {
    return this.#view
  }

  get environment(): Environment {
    return this.#store.environment
  }

  /** The time that the store knew to have come when it was looked at last without a commit of this process. */
  get clockMs(): number {
    return this.#store.clockMs
  }

  /** The state of the store when it was looked at last without a commit of this process; undefined: none yet. */
  get state(): StoreState | undefined {
    return this.#store.state
  }

  /**
   * Shows what another process has committed, anew in every turn of the event loop, and then calls `refreshed`. Where either throws, the next
   * call looks again: what was seen by halves is not to be read.
   */
  refresh(refreshed: () => void): void {
    if (this.#isFresh) return
    this.refreshNow()
    refreshed()
    this.#isFresh = true
    inNextTurn(() => {
      this.#isFresh = false
    })
  }

  /** Shows what another process has committed by now. */
  refreshNow(): void {
    this.#directory.refresh()
    const former = { store: this.#store, view: this.#view }
    const store = inForce(this.#directory, (dataPath) =>
      former.store.isOf(dataPath) ? former.store : new OpenStore(dataPath, { readOnly: true }),
    )
    this.#store = store
    this.#view = store.latest()
    former.view.release()
    if (store !== former.store) void this.#retire(former.store)
  }

  /** Shows a commit of this process. Where it throws, the former view stays. */
  showCommit({ generation, entries }: StoreContent): void {
    const former = this.#view
    this.#view = this.#store.view(generation, entries)
    former.release()
  }

  /** Shows what a compacted copy holds, which has taken the file's place. Resolves when the file is gone; `undefined`: it is still being read. */
  showCopy(dataPath: string, content: StoreContent): Promise<void> | undefined {
    const replaced = this.#store
    this.#store = new OpenStore(dataPath, { readOnly: false })
    this.showCommit(content)
    const retired = this.#retire(replaced)
    return replaced.inUse ? undefined : retired
  }

  /** Resolves when nobody reads from it any more. */
  async close(): Promise<void> {
    this.#view.release()
    await this.#store.close()
    await Promise.all(this.#retiring)
  }

  /** Closes a file that another one has replaced as soon as nobody reads from it, and removes it. Never rejects. */
  #retire(replaced: OpenStore): Promise<void> {
    const retired = replaced
      .close()
      // What cannot be removed now is removed when the store is opened next.
      .then(() => (this.#readOnly ? undefined : this.#directory.removeLeftovers()))
      .catch(() => {})
      .finally(() => this.#retiring.delete(retired))
    this.#retiring.add(retired)
    return retired
  }
}
