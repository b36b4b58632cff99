// Entries of a state as they are stored, page by page, with what is left of their time to live.

import { EntryBlockCursor } from '../../backend/entry-block.js'
import { hasSnapshots, type StateBackend } from '../../backend/state-backend.js'
import { throwIfAborted } from '../../base/abort.js'
import type { Host, ScannedEntry } from '../entries/host.js'
import { statePrefix } from '../key/stored-key.js'

export interface RawEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array
  /** When the engine removes it, by its clock; `Infinity` where never, or where that cannot be told. */
  readonly expiresAtMs: number
}

export interface RawPages {
  readonly backend: StateBackend
  readonly host: Host
  readonly keyGroups: number
  readonly id: number
  /** Whether entries expire by the engine's clock, so that it must be told when. */
  readonly expires: boolean
  readonly signal: AbortSignal | undefined
}

const PAGE_ENTRIES = 512
/** What a scan brings at a time, entries or bytes, before it is ended: nothing is written while a snapshot is open. */
const CHUNK_ENTRIES = 4_096
const CHUNK_BYTES = 4 * 1024 * 1024
/** A page is what one block has of the state. */
const BLOCK_BYTES = 32 * 1024

/** Every entry under one state id. */
export async function* rawPages(pages: RawPages): AsyncGenerator<readonly RawEntry[], void, undefined> {
  // Only blocks tell when entries expire; an engine that has none leaves that to be counted anew.
  const source = pages.expires && hasSnapshots(pages.backend) ? fromBlocks(pages) : fromScans(pages)
  for await (const page of source) {
    throwIfAborted(pages.signal, 'migrate')
    yield page
  }
  throwIfAborted(pages.signal, 'migrate')
}

async function* fromScans({ host, keyGroups, id }: RawPages): AsyncGenerator<RawEntry[], void, undefined> {
  let page: RawEntry[] = []
  for (let group = 0; group < keyGroups; group++) {
    let gte = statePrefix(group, id)
    const lt = statePrefix(group, id + 1)
    for (;;) {
      const chunk = new Chunk()
      const scan = host.scan([{ gte, lt }])
      if (Symbol.iterator in scan) {
        for (const entry of scan) if (chunk.add(entry)) break
      } else {
        for await (const entry of scan) if (chunk.add(entry)) break
      }
      for (const entry of chunk.entries) {
        page.push(entry)
        if (page.length < PAGE_ENTRIES) continue
        yield page
        page = []
      }
      const last = chunk.entries.at(-1)
      if (!chunk.isFull || last === undefined) break
      gte = new Uint8Array([...last.key, 0])
    }
  }
  if (page.length > 0) yield page
}

/** What one scan has brought. */
class Chunk {
  readonly entries: RawEntry[] = []
  #bytes = 0

  get isFull(): boolean {
    return this.entries.length >= CHUNK_ENTRIES || this.#bytes >= CHUNK_BYTES
  }

  /** Returns whether the chunk is full. */
  add([key, value]: ScannedEntry): boolean {
    this.entries.push({ key, value, expiresAtMs: Infinity })
    this.#bytes += key.length + value.length
    return this.isFull
  }
}

async function* fromBlocks({
  backend,
  keyGroups,
  id,
  signal,
}: RawPages): AsyncGenerator<RawEntry[], void, undefined> {
  if (!hasSnapshots(backend)) return
  const snapshot = await backend.snapshot()
  try {
    for await (const block of snapshot.blocks({
      targetBytes: BLOCK_BYTES,
      ...(signal === undefined ? {} : { signal }),
    })) {
      const page: RawEntry[] = []
      const cursor = new EntryBlockCursor(block.bytes)
      while (cursor.next()) {
        const at = cursor.keyStart
        const { bytes } = cursor
        if (cursor.keyLength < 4 || (bytes[at] as number) * 256 + (bytes[at + 1] as number) >= keyGroups)
          continue
        if ((bytes[at + 2] as number) * 256 + (bytes[at + 3] as number) !== id) continue
        const key = bytes.slice(at, at + cursor.keyLength)
        const value = bytes.slice(cursor.valueStart, cursor.valueStart + cursor.valueLength)
        page.push({ key, value, expiresAtMs: cursor.expiresAtMs })
      }
      if (page.length > 0) yield page
    }
  } finally {
    await snapshot.close()
  }
}

/** The engine's time, where it can be told. */
export async function timeOf(backend: StateBackend): Promise<number | undefined> {
  if (!hasSnapshots(backend)) return undefined
  const snapshot = await backend.snapshot()
  await snapshot.close()
  return snapshot.takenAtMs
}
