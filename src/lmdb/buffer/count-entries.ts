import type { SlicedWork } from '../../base/slices.js'
import { NOTHING_DELETED } from '../store/deleted-ranges.js'
import type { Layer, SortedLayers } from './merged-scan.js'

const STEP_KEYS = 256

/**
 * How many entries layers over a view hold at an instant. Looks at the keys of the layers, at what is due in the view and at what
 * was deleted of it, not at the rest.
 */
export function* countEntries({ layers, deleted, view, takenAtMs: nowMs }: SortedLayers): SlicedWork<number> {
  let count = view?.entryCount ?? 0
  if (view !== undefined && view.firstDeadlineMs <= nowMs) {
    for (const page of view.duePages(-1, nowMs, STEP_KEYS)) {
      count -= page.length
      yield
    }
  }
  for (const { from, until } of view === undefined ? NOTHING_DELETED : deleted) {
    for (const page of view?.keyPages(from, until, STEP_KEYS) ?? []) {
      for (const key of page) {
        const isLeft = !isCovered(layers, layers.length, key, 0, key.length)
        if (isLeft && (view?.expiryOf(key, 0, key.length) ?? 0) > nowMs) count--
      }
      yield
    }
  }
  for (const [depth, { log, epoch, sorted }] of layers.entries()) {
    const { entries } = log
    const keys = sorted.walk()
    let walked = 0
    for (let key = keys.next(); key !== 0; key = keys.next()) {
      if (++walked % STEP_KEYS === 0) yield
      const address = log.entries.version(log.latest(key), epoch)
      if (address === 0) continue
      const bytes = entries.segmentBytes(address)
      const keyStart = entries.keyStart(address)
      const keyLength = entries.keyLength(address)
      if (isCovered(layers, depth, bytes, keyStart, keyLength)) continue
      if (!entries.isTombstone(address) && entries.expiresAtMs(address) > nowMs) count++
      if (view !== undefined && view.expiryOf(bytes, keyStart, keyLength) > nowMs) count--
    }
  }
  return count
}

/** Whether a layer above `depth` has the key. */
function isCovered(
  layers: readonly Layer[],
  depth: number,
  bytes: Uint8Array,
  start: number,
  length: number,
): boolean {
  for (let i = 0; i < depth; i++) {
    const { log, epoch } = layers[i] as Layer
    if (log.entries.version(log.seek(bytes, start, length), epoch) !== 0) return true
  }
  return false
}
