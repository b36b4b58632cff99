import type { EngineEntry, EngineSnapshot } from '../backend/facade/engines.js'
import type { KeyInterval } from '../backend/scan-range.js'
import type { SharedSnapshot } from '../backend/shared-snapshot.js'
import type { ChangeBase, SnapshotOptions } from '../backend/state-snapshot.js'
import { compiledModule } from '../base/compiled.js'
import { keyBytes, keysIn, keyText, type ModelEntries, sortedKeys } from './model-entries.js'
import type { SharedModelContent } from './shared-model-snapshot.js'

/** What the model held at an instant: whatever differs later has changed. */
class ModelChangeBase implements ChangeBase {
  /** Without what had expired. */
  readonly entries: ModelEntries
  /** Of the content that is compared: after it was replaced as a whole, nothing can be told any more. */
  readonly content: object
  released = false

  constructor(entries: ModelEntries, content: object) {
    this.entries = entries
    this.content = content
  }

  release(): void {
    this.released = true
  }
}

/** A copy of what the model held at one instant. */
export class ModelSnapshot implements EngineSnapshot {
  readonly base: ChangeBase | undefined
  readonly tellsChanges: boolean
  readonly #entries: ModelEntries
  /** In order; of what has changed since the base that was given. */
  readonly #changed: readonly string[]

  /**
   * @param entries a copy that is the snapshot's own, without what had expired.
   * @param content stands for the content: it is another one after the whole was replaced.
   */
  constructor(entries: ModelEntries, content: object, { track = false, since }: SnapshotOptions) {
    this.#entries = entries
    this.base = track ? new ModelChangeBase(entries, content) : undefined
    const known = since instanceof ModelChangeBase && !since.released && since.content === content
    this.tellsChanges = known
    this.#changed = known ? changedKeys(entries, since.entries) : []
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#entries.get(keyText(key))?.value.slice()
  }

  count(): number {
    return this.#entries.size
  }

  entries(interval: KeyInterval): Iterable<EngineEntry> {
    return this.#under(keysIn(this.#entries, interval))
  }

  changes(): Iterable<EngineEntry> {
    return this.#under(this.#changed)
  }

  share(what: 'all' | 'changes'): SharedSnapshot {
    const keys = what === 'all' ? sortedKeys(this.#entries) : this.#changed
    const data: SharedModelContent = { aliveEntries: this.#entries.size, entries: [...this.#under(keys)] }
    return { module: compiledModule('#testing/shared-model-snapshot').href, data, transferList: [] }
  }

  close(): void {}

  /** The entries of these keys; one without a value where there is none. */
  *#under(keys: Iterable<string>): Generator<EngineEntry, void, undefined> {
    for (const key of keys) {
      const { value, expiresAtMs } = this.#entries.get(key) ?? { value: undefined, expiresAtMs: Infinity }
      yield { key: keyBytes(key), value: value?.slice(), expiresAtMs }
    }
  }
}

/**
 * The keys whose entries are others than before, or gone, in order. Entries are replaced, never changed: another object means
 * that it was written.
 */
function changedKeys(entries: ModelEntries, before: ModelEntries): string[] {
  const written = [...entries.keys()].filter((key) => entries.get(key) !== before.get(key))
  const gone = [...before.keys()].filter((key) => !entries.has(key))
  return [...written, ...gone].sort()
}
