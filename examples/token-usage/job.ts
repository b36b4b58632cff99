// The job: requests go in, and for each model, tenant and minute one line of totals comes out, once.

import { join } from 'node:path'
import type { CheckpointStorage, StateBackend } from 'holdfast'
import { boundedDisorder, defineJob, ndjsonFileSink, runJob, type Source } from 'holdfast/job'
import { defineState, tuple, utf8 } from 'holdfast/state'
import { combined, count, max, sum, tumbling, type WindowResult, windowed } from 'holdfast/window'
import { type LlmRequest, tooLate } from './events.js'
import type { Totals, WindowTotals } from './totals.js'

/** `disorderMs` is how much later than one with a higher timestamp a request may come. */
export const tokenUsage = (disorderMs: number) =>
  defineJob<LlmRequest, WindowTotals>()({
    name: 'token usage',
    schema: defineState({ key: tuple(utf8, utf8), states: {} }),
    key: ({ model, tenant }): [string, string] => [model, tenant],
    timestamp: ({ timestampMs }) => timestampMs,
    time: { watermarks: boundedDisorder(disorderMs), maxAheadMs: Infinity },
    windows: {
      minutes: windowed({
        windows: tumbling({ sizeMs: 60_000 }),
        aggregate: combined({
          count: count(),
          tokensIn: sum((request: LlmRequest) => request.tokensIn),
          tokensOut: sum((request: LlmRequest) => request.tokensOut),
          costMicros: sum((request: LlmRequest) => Math.round(request.costUsd * 1_000_000)),
          maxLatencyMs: max((request: LlmRequest) => request.latencyMs),
        }),
        output: ({ key, window, value }: WindowResult<[string, string], Totals>): WindowTotals => {
          return { startMs: window.startMs, model: key[0], tenant: key[1], ...value }
        },
        onLate: ({ event }) => tooLate(event),
      }),
    },
  })

export interface JobPlace {
  readonly directory: string
  readonly backend: StateBackend
  /** Where checkpoints go. */
  readonly storage: CheckpointStorage
  /** How often it is saved: by a checkpoint, or by a flush of an engine that persists. */
  readonly saveEveryMs: number
}

/** Starts the job, or goes on where an earlier process was. */
export function startJob(job: ReturnType<typeof tokenUsage>, source: Source<LlmRequest>, place: JobPlace) {
  const { directory, backend, storage, saveEveryMs } = place
  const checkpoints = { storage, intervalMs: saveEveryMs, maxCheckpoints: 3 }
  const sink = ndjsonFileSink<WindowTotals>({ path: join(directory, 'results.ndjson') })
  const saving = backend.supports.durable ? { flushIntervalMs: saveEveryMs } : { checkpoints }
  return runJob({ ...job, source, sink, backend, ...saving })
}
