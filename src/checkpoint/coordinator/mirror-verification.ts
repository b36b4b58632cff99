import type { NamedSegment, StorageContents } from '../archive/storage-contents.js'

/**
 * When each segment of a mirror was last read to its end: what came to it since, nobody knows. What an earlier process has read counts for
 * nothing.
 */
export class MirrorVerification {
  readonly #everyMs: number
  readonly #readAtMs = new Map<string, number>()

  /** @param everyMs how long a segment is believed to be as it was read. */
  constructor(everyMs: number) {
    this.#everyMs = everyMs
  }

  /** It was read to its end, or is about to be. */
  noteRead(name: string, atMs: number): void {
    this.#readAtMs.set(name, atMs)
  }

  /** The segment that was read longest ago, of those whose time has come. */
  async next(contents: StorageContents, nowMs: number): Promise<NamedSegment | undefined> {
    if (this.#everyMs === Infinity) return undefined
    const named = await contents.namedSegments()
    const names = new Set(named.map(({ segment }) => segment.name))
    for (const name of this.#readAtMs.keys()) if (!names.has(name)) this.#readAtMs.delete(name)
    let found: NamedSegment | undefined
    let foundAtMs = nowMs - this.#everyMs
    for (const each of named) {
      const atMs = this.#readAtMs.get(each.segment.name) ?? -Infinity
      if (atMs > foundAtMs || (found !== undefined && atMs === foundAtMs)) continue
      found = each
      foundAtMs = atMs
    }
    return found
  }
}
