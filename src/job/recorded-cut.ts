// What the store of an engine that persists says of its job, under `ff ff` and `job`: the newest cut, where cuts lie in the store (stored-cuts.ts), or
// that they are checkpoints. So a job whose cuts were kept elsewhere before goes on from there, or is refused: it never reads the events that are in
// the state once more.
//
//   elsewhere := { job: 3, name, cuts: 'checkpoints' }   as JSON

import { SCHEMA_KEY } from '../backend/schema-entry.js'
import type { StateBackend } from '../backend/state-backend.js'
import { NEVER_EXPIRES } from '../backend/validate.js'
import { StateError } from '../base/errors.js'
import type { JsonValue } from '../base/json.js'
import { cutFromJson, type JobCut } from './cut.js'

export const RECORD_KEY: Uint8Array = Uint8Array.of(0xff, 0xff, ...Buffer.from('job'))
const ELSEWHERE_FORMAT = 3

/** The cut that lies in the store. `INCOMPATIBLE` where cuts are checkpoints, or it is of another job. */
export async function cutInStore(backend: StateBackend, jobName: string): Promise<JobCut | undefined> {
  const record = await recordIn(backend, jobName)
  if (record === undefined) return undefined
  if (isElsewhere(record, jobName)) {
    throw new StateError('INCOMPATIBLE', {
      what: `the store of job '${jobName}'`,
      found: 'the state of a job whose cuts are checkpoints: how far it has read is told there',
      supported: 'it with its `checkpoints`; without them a job needs a store of its own',
    })
  }
  return cutFromJson(record, jobName)
}

/**
 * The cut that a job whose cuts are checkpoints goes on from where there is none yet. `RESTORE_FAILED` where there have been some: what the store holds
 * is of no cut that is known.
 */
export async function cutBeforeCheckpoints(
  backend: StateBackend,
  jobName: string,
): Promise<JobCut | undefined> {
  const record = await recordIn(backend, jobName)
  if (record === undefined) return undefined
  if (isElsewhere(record, jobName)) {
    const reason = `the store has the state of job '${jobName}', whose checkpoints are not here: how far it has read is told there`
    throw new StateError('RESTORE_FAILED', { checkpointId: undefined, reason, skipped: [] })
  }
  const cut = cutFromJson(record, jobName)
  const waiting = cut.outbox.next - cut.outbox.first
  if (waiting === 0) return cut
  throw new StateError('INCOMPATIBLE', {
    what: `the store of job '${jobName}'`,
    found: `${waiting} outputs that wait for the sink`,
    supported: '`checkpoints` where there are none: run it without them until the sink has these',
  })
}

/** Says in the store that cuts are checkpoints from now on. Only once there is one. */
export async function noteCheckpoints(backend: StateBackend, jobName: string): Promise<void> {
  const noted = Buffer.from(JSON.stringify({ job: ELSEWHERE_FORMAT, name: jobName, cuts: 'checkpoints' }))
  const found = await backend.get(RECORD_KEY)
  if (found === undefined || !noted.equals(found)) await backend.put(RECORD_KEY, noted, NEVER_EXPIRES)
}

/** What a job has read is in the state of an engine that does not persist: which job that is, as long as the process lives. */
const readInto = new WeakMap<object, string>()

/** Events of this job are in the state. */
export function noteRead(backend: object, jobName: string): void {
  readInto.set(backend, jobName)
}

/** `RESTORE_FAILED` where the job would read events once more that are in the state: it was run there before, and there is no checkpoint. */
export async function requireUnread(backend: StateBackend, jobName: string): Promise<void> {
  if (readInto.get(backend) !== jobName) return
  // What was cleared has nothing of it, and goes on having nothing where this job opens its states and cannot begin.
  if ((await backend.get(SCHEMA_KEY)) === undefined) {
    readInto.delete(backend)
    return
  }
  const reason = `the backend has the state of job '${jobName}', which has run on it, and the checkpoints of that are not here: how far it has read is told there. Open another backend`
  throw new StateError('RESTORE_FAILED', { checkpointId: undefined, reason, skipped: [] })
}

async function recordIn(backend: StateBackend, jobName: string): Promise<JsonValue | undefined> {
  const record = await backend.get(RECORD_KEY)
  return record === undefined ? undefined : parsedJson(record, `the record of job '${jobName}'`)
}

/** `INCOMPATIBLE` where it says so of another job. */
function isElsewhere(record: JsonValue, jobName: string): boolean {
  const { job, name } = (record ?? {}) as { readonly job?: JsonValue; readonly name?: JsonValue }
  if (job !== ELSEWHERE_FORMAT) return false
  if (name === jobName) return true
  const found = `the state of job ${JSON.stringify(name)}`
  throw new StateError('INCOMPATIBLE', { what: `job '${jobName}'`, found, supported: 'its own state' })
}

/** `CORRUPTION` where it is no JSON. */
export function parsedJson(bytes: Uint8Array, what: string): JsonValue {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as JsonValue
  } catch (error) {
    throw new StateError('CORRUPTION', { what, reason: String(error) }, { cause: error })
  }
}
