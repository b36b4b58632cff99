import { createHash } from 'node:crypto'
import type { SyncStateBackend } from 'holdfast'
import {
  defineState,
  float64,
  int64,
  json,
  map,
  StateStore,
  struct,
  tuple,
  uint32,
  utf8,
  value,
} from 'holdfast/state'
import type { LlmRequest, SourcePosition } from './events.js'

export const WINDOW_MS = 60_000

/** For each model and tenant, one-minute tumbling windows by event time. Sums are whole numbers: their order does not matter. */
export const schema = defineState({
  key: tuple(utf8, utf8), // [model, tenant]
  states: {
    windows: map(
      int64, // when it begins
      struct({ count: uint32, tokensIn: int64, tokensOut: int64, costMicros: int64, maxLatencyMs: float64 }),
    ),
    /** Where the source is; for an engine that persists. There is one, under {@link everything}. */
    position: value(json<SourcePosition>()),
  },
})

export type WindowStore = StateStore<typeof schema>

export const openWindows = (backend: SyncStateBackend): Promise<WindowStore> =>
  StateStore.open(backend, schema)

export const everything: [string, string] = ['', '']

/** Adds a request to its window. Nothing is awaited, so that no snapshot can fall between the read and the write. */
export function add(store: WindowStore, request: LlmRequest): void {
  const startMs = Math.floor(request.timestampMs / WINDOW_MS) * WINDOW_MS
  store.windows.update([request.model, request.tenant], startMs, (window) => {
    window.count++
    window.tokensIn += request.tokensIn
    window.tokensOut += request.tokensOut
    window.costMicros += Math.round(request.costUsd * 1_000_000)
    window.maxLatencyMs = Math.max(window.maxLatencyMs, request.latencyMs)
  })
}

/** What is known of one window of one model and tenant. */
export interface WindowTotals {
  readonly startMs: number
  readonly model: string
  readonly tenant: string
  readonly count: number
  readonly tokensIn: number
  readonly tokensOut: number
  readonly costMicros: number
  readonly maxLatencyMs: number
}

/** All windows, in the order of the store: the same for the same content. */
export function* allWindows(store: WindowStore): Generator<WindowTotals> {
  for (const [[model, tenant], startMs, totals] of store.windows.all())
    yield { startMs, model, tenant, ...totals }
}

/** The windows with the most requests, the busiest first; among equals the earlier one. */
export function busiest(store: WindowStore, limit: number): WindowTotals[] {
  const top: WindowTotals[] = []
  for (const window of allWindows(store)) {
    const at = top.findIndex((other) => isBusier(window, other))
    if (at === -1) top.push(window)
    else top.splice(at, 0, window)
    if (top.length > limit) top.pop()
  }
  return top
}

function isBusier(left: WindowTotals, right: WindowTotals): boolean {
  if (left.count !== right.count) return left.count > right.count
  if (left.startMs !== right.startMs) return left.startMs < right.startMs
  return left.model === right.model ? left.tenant < right.tenant : left.model < right.model
}

/** SHA-256 over every window: equal exactly where the state is. */
export function digestOf(store: WindowStore): string {
  const hash = createHash('sha256')
  for (const window of allWindows(store)) hash.update(JSON.stringify(window))
  return hash.digest('hex')
}

export function windowCount(store: WindowStore): number {
  let count = 0
  for (const _ of allWindows(store)) count++
  return count
}
