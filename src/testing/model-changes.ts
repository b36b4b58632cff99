import type { SharedSnapshot } from '../backend/shared-snapshot.js'
import type { ChangeBase } from '../backend/state-snapshot.js'
import { compiledModule } from '../base/compiled.js'
import { keyBytes, type ModelEntries } from './model-entries.js'
import type { PackableEntry } from './model-pack.js'
import type { SharedModelContent } from './shared-model-snapshot.js'

/** What the model held at an instant: whatever differs later has changed. */
export class ModelChangeBase implements ChangeBase {
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

/** Entries for another thread: all, or with tombstones those that have changed. */
export function sharedModel(entries: ModelEntries, keys: readonly string[]): SharedSnapshot {
  const data: SharedModelContent = { aliveEntries: entries.size, entries: [...packable(entries, keys)] }
  return { module: compiledModule('#testing/shared-model-snapshot').href, data, transferList: [] }
}

/** The entries of these keys; a tombstone where there is none. */
export function* packable(
  entries: ModelEntries,
  keys: readonly string[],
): Generator<PackableEntry, void, undefined> {
  for (const key of keys) {
    const { value, expiresAtMs } = entries.get(key) ?? { value: undefined, expiresAtMs: Infinity }
    yield { key: keyBytes(key), value, expiresAtMs }
  }
}

/**
 * The keys whose entries are others than before, or gone, in order. Entries are replaced, never changed: another object means
 * that it was written.
 */
export function changedKeys(entries: ModelEntries, before: ModelEntries): string[] {
  const written = [...entries.keys()].filter((key) => entries.get(key) !== before.get(key))
  const gone = [...before.keys()].filter((key) => !entries.has(key))
  return [...written, ...gone].sort()
}
