// A short life of a store in which every kind of commit occurs. What it holds at each station is a pure function, so
// whoever opens it can tell which station it is at, and whether it is there wholly.

import type { EntryBlock } from '../../../src/backend/entry-block.js'
import type { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { batchAt, changeAt } from './lmdb-plan.js'

const BATCHES_PER_STATION = 40
/** Takes pages of its own, beside the tree. */
const LARGE_BYTES = 60_000

type Content = Map<string, string | undefined>

const bytes = (text: string) => Buffer.from(text)
const large = (station: number) => `large of ${station} `.padEnd(LARGE_BYTES, '.')
export const textOf = (found: Uint8Array | undefined): string | undefined =>
  found === undefined ? undefined : Buffer.from(found).toString()

/** The kinds of stations, in order. */
const kinds = ['batches', 'batches', 'large', 'clear', 'batches', 'replace', 'batches'] as const
export const STATIONS: number = kinds.length

/** The content when a station's commit is durable; station 0: nothing. */
export function contentAt(station: number): Content {
  if (station === 0) return new Map()
  const kind = kinds[station - 1]
  const content = kind === 'clear' || kind === 'replace' ? new Map() : contentAt(station - 1)
  if (kind === 'large') for (const i of [1, 2, 3]) content.set(`large-${i}`, large(station))
  for (const step of kind === 'large' ? [] : stepsOf(station)) {
    for (const [key, value] of changeAt(step)) {
      if (value === undefined) content.delete(key)
      else content.set(key, value)
    }
  }
  content.set('station', `${station}`)
  return content
}

/** Writes what the station adds, and resolves when it is durable. */
export async function visit(backend: LmdbStateBackend, station: number): Promise<void> {
  const kind = kinds[station - 1]
  if (kind === 'replace') return await backend.replaceAll(blocksOf(contentAt(station)))
  if (kind === 'clear') await backend.clear()
  if (kind === 'large') {
    for (const i of [1, 2, 3]) backend.putSync(bytes(`large-${i}`), bytes(large(station)))
  } else {
    for (const step of stepsOf(station)) backend.writeSync(batchAt(step))
  }
  const last = backend.put(bytes('station'), bytes(`${station}`), { durable: station % 2 === 0 })
  await Promise.all([last, backend.flush()])
}

function stepsOf(station: number): number[] {
  return Array.from({ length: BATCHES_PER_STATION }, (_, i) => (station - 1) * BATCHES_PER_STATION + i + 1)
}

async function* blocksOf(content: Content): AsyncGenerator<EntryBlock, undefined> {
  await using memory = new MemoryStateBackend()
  for (const [key, value] of content) memory.putSync(bytes(key), bytes(value as string))
  using snapshot = memory.snapshotSync()
  yield* snapshot.blocks({ targetBytes: 8_192 })
}
