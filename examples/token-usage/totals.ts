// What comes out of the job, and what is read from the file of it.

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What the requests of a window come to. */
export interface Totals {
  readonly count: number
  readonly tokensIn: number
  readonly tokensOut: number
  readonly costMicros: number
  readonly maxLatencyMs: number
}

/** A line of the results: one window of one model and tenant. */
export interface WindowTotals extends Totals {
  readonly startMs: number
  readonly model: string
  readonly tenant: string
}

export interface Results {
  readonly windows: number
  /** SHA-256 of the file: equal exactly where every line is, and their order. */
  readonly digest: string
  /** The windows with the most requests, the busiest first; among equals the earlier one. */
  readonly busiest: readonly WindowTotals[]
}

export async function readResults(directory: string, limit: number): Promise<Results> {
  const text = await readFile(join(directory, 'results.ndjson'), 'utf8')
  const lines = text.split('\n').filter((line) => line !== '')
  const totals = lines.map((line) => JSON.parse(line) as WindowTotals)
  const digest = createHash('sha256').update(text).digest('hex')
  return { windows: lines.length, digest, busiest: busiest(totals, limit) }
}

export function busiest(totals: readonly WindowTotals[], limit: number): WindowTotals[] {
  const top: WindowTotals[] = []
  for (const window of totals) {
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
