// What a job keeps of itself in each cut: everything that is no typed state.
//
//   job := { job: 1 or 2, name, epoch, positions, time?, clockMs?, prepared, outbox? }   as JSON
//
// It lies in the manifest of a checkpoint (`source`), or, where the engine itself persists, in the store under `ff ff` and `job`.

import { StateError } from '../base/errors.js'
import type { JsonValue } from '../base/json.js'
import type { SavedSourceTime } from '../window/time/source-time.js'
import type { EpochId, PreparedEpoch } from './sink/sink.js'
import type { Positions } from './source/source.js'

const FORMAT = 1
/** Since several outputs lie in one entry: where there are some. Versions before would not find them. */
const OUTBOX_FORMAT = 2

/** Outputs that lie in the store until their sink has them: numbers `first` up to, and without, `next`. */
export type Outbox = { readonly first: number; readonly next: number }

export interface JobCut {
  readonly name: string
  /** The epoch that comes next. */
  readonly epoch: EpochId
  readonly positions: Positions
  /** Where event time is used. */
  readonly time: SavedSourceTime | undefined
  /** Where there are windows of processing time: they have fired up to here. */
  readonly clockMs: number | undefined
  /** Epochs that count and may not be committed yet, the oldest first. */
  readonly prepared: readonly PreparedEpoch[]
  readonly outbox: Outbox
}

export function cutToJson(cut: JobCut): JsonValue {
  const { name, epoch, positions, time, clockMs, prepared, outbox } = cut
  const saved = { ...(time !== undefined && { time }), ...(clockMs !== undefined && { clockMs }) }
  const isWaiting = outbox.next > outbox.first
  const waiting = isWaiting ? { outbox } : {}
  return { job: isWaiting ? OUTBOX_FORMAT : FORMAT, name, epoch, positions, ...saved, prepared, ...waiting }
}

/** `INCOMPATIBLE` where it is the cut of no job, of another one, or of a newer version. */
export function cutFromJson(json: JsonValue | undefined, name: string): JobCut {
  const cut = typeof json === 'object' && json !== null && !Array.isArray(json) ? json : {}
  const fields = cut as { readonly [field: string]: JsonValue | undefined }
  if (fields['job'] !== FORMAT && fields['job'] !== OUTBOX_FORMAT) {
    const found =
      fields['job'] === undefined ? 'the state of no job' : `a job of format ${JSON.stringify(fields['job'])}`
    throw new StateError('INCOMPATIBLE', {
      what: `job '${name}'`,
      found,
      supported: `formats ${FORMAT} and ${OUTBOX_FORMAT}`,
    })
  }
  if (fields['name'] !== name) {
    const found = `the state of job ${JSON.stringify(fields['name'])}`
    throw new StateError('INCOMPATIBLE', { what: `job '${name}'`, found, supported: 'its own state' })
  }
  const { epoch, positions, prepared, time, clockMs, outbox } = fields as unknown as Partial<JobCut>
  if (!isEpoch(epoch) || typeof positions !== 'object' || !Array.isArray(prepared)) {
    throw new StateError('CORRUPTION', {
      what: `the cut of job '${name}'`,
      reason: 'it lacks epoch, positions or prepared',
    })
  }
  return { name, epoch, positions, prepared, time, clockMs, outbox: outbox ?? { first: 0, next: 0 } }
}

function isEpoch(epoch: unknown): epoch is EpochId {
  return typeof epoch === 'object' && epoch !== null && 'lineage' in epoch && 'number' in epoch
}
