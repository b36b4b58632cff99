import { isSyncBackend, type StateBackend, type StateSnapshot } from '../backend/state-backend.js'
import { StateError } from '../base/errors.js'
import type { JsonValue } from '../base/json.js'
import { jsonTextOf, parseJsonText } from './json-value.js'

/** Longest source position, in bytes of the manifest: half of what a manifest may have. */
const MAX_SOURCE_BYTES: number = 8 * 1024 * 1024

/** State and source position of one instant. */
export interface StateCut {
  readonly snapshot: StateSnapshot
  /** What `source` returned, as JSON; `undefined` without a source. */
  readonly sourceText: string | undefined
}

/**
 * Takes a snapshot and asks the source for its position, both in this very call, before anything else can run:
 * with `snapshotSync()` where the backend has it; otherwise `snapshot()` is called, which by contract means the
 * instant of the call, then the source, and only then is the snapshot awaited.
 *
 * `SERIALIZATION_FAILED` where the position is not JSON; whatever `source` throws is passed on. The snapshot is then closed.
 */
export async function takeCut(
  backend: StateBackend,
  source: (() => JsonValue) | undefined,
): Promise<StateCut> {
  const pending = isSyncBackend(backend) ? Promise.resolve(backend.snapshotSync()) : backend.snapshot()
  let sourceText: string | undefined
  try {
    sourceText = source === undefined ? undefined : sourceTextOf(source())
  } catch (error) {
    await pending.then(
      (snapshot) => snapshot.close(),
      () => {},
    )
    throw error
  }
  return { snapshot: await pending, sourceText }
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
