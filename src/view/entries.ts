// The entries of a checkpoint, or of a store of the LMDB engine, as commands read them.

import { compareBytes, isInInterval, keyStretch } from '../engine.js'
import {
  type CheckpointMetadata,
  type EntryBlock,
  EntryBlockCursor,
  type JsonValue,
  type KeyRange,
  type SkippedCheckpoint,
} from '../index.js'
import { decodeSchema, type RecordedSchema, SCHEMA_KEY } from '../state.js'
import { type CheckpointPlace, chosenCheckpoint, type Place, type StorePlace } from './place.js'

export interface StoredEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array
  /** Infinity: never. */
  readonly expiresAtMs: number
}

/** One instant of a state, open to be read. */
export interface OpenEntries {
  /** What it is, for messages: `checkpoint chk-0000000003`, `store`. */
  readonly label: string
  /** `undefined` where the state is plain bytes. */
  readonly schema: RecordedSchema | undefined
  /** The time by which it is decided what has expired. */
  readonly clockMs: number
  /** How many there are, or a little more. */
  readonly entryCount: number
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  blocks(range: KeyRange, signal: AbortSignal): AsyncIterable<EntryBlock>
  /** The entries of a stretch of keys, found without reading what is before it, where `blocks` cannot. It does not tell when entries expire. */
  seek?(range: KeyRange, signal: AbortSignal): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]>
  close(): Promise<void>
}

/** What is made of the schema that is recorded; `ignored`: all is plain bytes, also where that record cannot be read. */
export type SchemaUse = 'read' | 'ignored'

export interface OpenEntriesOptions {
  /** Default `'read'`. */
  readonly use?: SchemaUse
  /** As that of `chosenCheckpoint`. */
  readonly onNewer?: (skipped: SkippedCheckpoint) => void
}

/** Opens what lies there: of checkpoints the one with that id, or the newest that can be read. */
export async function openEntries(
  place: Place,
  id: string | undefined,
  { use = 'read', onNewer }: OpenEntriesOptions = {},
): Promise<OpenEntries> {
  if (place.kind === 'store') return await openStore(place, use)
  return await openCheckpoint(place, await chosenCheckpoint(place, id, onNewer), use)
}

/** Opens a checkpoint that was found already: nothing is listed for it. */
export async function openCheckpoint(
  place: CheckpointPlace,
  checkpoint: CheckpointMetadata,
  use: SchemaUse = 'read',
): Promise<OpenEntries> {
  const reader = await place.archive.open(checkpoint.id)
  try {
    return {
      label: `checkpoint ${checkpoint.id}`,
      schema: use === 'ignored' ? undefined : schemaFrom(await reader.get(SCHEMA_KEY)),
      clockMs: reader.manifest.clockMs,
      entryCount: checkpoint.entryCount,
      get: (key) => reader.get(key),
      blocks: (range, signal) => reader.blocks({ ...range, signal }),
      close: () => reader.close(),
    }
  } catch (error) {
    await reader.close()
    throw error
  }
}

async function openStore({ path }: StorePlace, use: SchemaUse): Promise<OpenEntries> {
  const { LmdbStateBackend } = await import('../lmdb.js')
  const backend = await LmdbStateBackend.open({ path, readOnly: true })
  try {
    const snapshot = backend.snapshotSync()
    return {
      label: 'store',
      schema: use === 'ignored' ? undefined : schemaFrom(snapshot.getSync(SCHEMA_KEY)),
      clockMs: snapshot.takenAtMs,
      entryCount: backend.stats().entries,
      get: (key) => snapshot.get(key),
      blocks: (_range, signal) => snapshot.blocks({ signal }),
      seek: (range, signal) => snapshot.scan({ ...range, signal }),
      close: () => backend.close(),
    }
  } catch (error) {
    await backend.close()
    throw error
  }
}

function schemaFrom(record: Uint8Array | undefined): RecordedSchema | undefined {
  return record === undefined ? undefined : decodeSchema(record)
}

/** The schema of a manifest, which was checked when that was read. */
export const recordedIn = (schema: { readonly [name: string]: JsonValue }): RecordedSchema =>
  decodeSchema(new Uint8Array(Buffer.from(JSON.stringify(schema))))

/** Each entry in range that has not expired, in key order. Keys and values are views, until the next one. */
export async function* entriesIn(
  entries: OpenEntries,
  range: KeyRange,
  signal: AbortSignal,
): AsyncGenerator<StoredEntry, void, undefined> {
  const stretch = keyStretch(range)
  for await (const block of entries.blocks(range, signal)) {
    const cursor = new EntryBlockCursor(block.bytes)
    while (cursor.next()) {
      if (cursor.expiresAtMs <= entries.clockMs) continue
      const key = cursor.key()
      // A store hands out all that it has.
      if (isInInterval(key, stretch)) yield { key, value: cursor.value(), expiresAtMs: cursor.expiresAtMs }
      else if (compareBytes(key, stretch.from) > 0) return
    }
  }
}

/** The same for a look at a short stretch of keys. Of a store it is not told when entries expire: `Infinity` there. */
export async function* soughtEntries(
  entries: OpenEntries,
  range: KeyRange,
  signal: AbortSignal,
): AsyncGenerator<StoredEntry, void, undefined> {
  if (entries.seek === undefined) {
    yield* entriesIn(entries, range, signal)
    return
  }
  for await (const [key, value] of entries.seek(range, signal)) yield { key, value, expiresAtMs: Infinity }
}
