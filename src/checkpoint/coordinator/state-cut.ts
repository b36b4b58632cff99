import { SCHEMA_KEY, type SchemaObject, schemaIn } from '../../backend/schema-entry.js'
import type { SharedSnapshot } from '../../backend/shared-snapshot.js'
import { isSyncBackend, type SnapshotSource, type StateBackend } from '../../backend/state-backend.js'
import type { ChangeBase, StateSnapshot } from '../../backend/state-snapshot.js'
import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { jsonTextOf, parseJsonText } from '../format/json-value.js'

/** Longest source position, in bytes of the manifest: half of what a manifest may have. */
const MAX_SOURCE_BYTES: number = 8 * 1024 * 1024

export interface CutOptions {
  /** Ask the backend to remember what changes from here on. */
  readonly trackChanges: boolean
  /** What has changed since then is wanted, not all. */
  readonly since: ChangeBase | undefined
  /** Another thread is to read it, where the backend can share it. */
  readonly share: boolean
}

/** State and source position of one instant. */
export interface StateCut {
  readonly snapshot: StateSnapshot
  /** What `source` returned, as JSON; `undefined` without a source. */
  readonly sourceText: string | undefined
  /** How typed state describes itself; `undefined` where the state is plain bytes. */
  readonly schema: SchemaObject | undefined
  /** What changed since the base that was asked for, for another thread; `undefined` where the backend does not share it. */
  readonly changes: SharedSnapshot | undefined
  /** All of it, where what has changed is not told; `undefined` where the backend shares nothing. */
  readonly all: SharedSnapshot | undefined
  /** How long this thread was held, in milliseconds. */
  readonly pauseMs: number
}

/**
 * Takes a snapshot and asks the source for its position, both in this very call, before anything else can run:
 * with `snapshotSync()` where the backend has it; otherwise `snapshot()` is called, which by contract means the
 * instant of the call, then the source, and only then is the snapshot awaited. Snapshots are shared only in the first case:
 * after waiting for one it would be too late. Their blocks are read instead.
 *
 * `SERIALIZATION_FAILED` where the position is not JSON; whatever `source` throws is passed on. The snapshot is then closed.
 */
export async function takeCut(
  backend: StateBackend & SnapshotSource,
  source: (() => JsonValue) | undefined,
  { trackChanges, since, share }: CutOptions,
): Promise<StateCut> {
  const startedAtMs = performance.now()
  const options = { track: trackChanges, ...(since === undefined ? {} : { since }) }
  const snapshot = isSyncBackend(backend) ? backend.snapshotSync(options) : undefined
  const pending = snapshot === undefined ? backend.snapshot(options) : Promise.resolve(snapshot)
  let changes: SharedSnapshot | undefined
  let all: SharedSnapshot | undefined
  let sourceText: string | undefined
  try {
    if (share && snapshot !== undefined) {
      if (snapshot.tellsChanges) changes = snapshot.share?.('changes')
      else all = snapshot.share?.()
    }
    sourceText = source === undefined ? undefined : sourceTextOf(source())
  } catch (error) {
    for (const shared of [changes, all]) if (shared !== undefined) discardShared(shared)
    await discard(pending)
    throw error
  }
  const pauseMs = performance.now() - startedAtMs
  try {
    const schema = schemaIn(snapshot?.getSync(SCHEMA_KEY) ?? (await (await pending).get(SCHEMA_KEY)))
    return { snapshot: await pending, sourceText, schema, changes, all, pauseMs }
  } catch (error) {
    for (const shared of [changes, all]) if (shared !== undefined) discardShared(shared)
    await discard(pending)
    throw error
  }
}

/** Lets go of a snapshot that nobody will read. Never rejects because it was not taken. */
async function discard(pending: Promise<StateSnapshot>): Promise<void> {
  await pending.then(
    (taken) => {
      taken.base?.release()
      return taken.close()
    },
    () => {},
  )
}

/** Lets go of a shared snapshot that no thread will open. */
function discardShared({ transferList }: SharedSnapshot): void {
  for (const each of transferList) if ('close' in each && typeof each.close === 'function') each.close()
}

function sourceTextOf(position: unknown): string {
  const text = jsonTextOf(position, 'source')
  const bytes = Buffer.byteLength(JSON.stringify(parseJsonText(text), null, 2))
  if (bytes > MAX_SOURCE_BYTES) {
    const reason = `it takes ${bytes} bytes in the manifest; the limit is ${MAX_SOURCE_BYTES}`
    throw new StateError('SERIALIZATION_FAILED', { what: 'source', reason })
  }
  return text
}
