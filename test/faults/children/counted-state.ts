// A state that is a pure function of the position in its source: whoever restores both can tell whether they fit.

import type { StateBackend } from '../../../src/backend/state-backend.js'
import type { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'

/** Fewer than there are events between two checkpoints, so that entries are overwritten and deleted too. */
const KEYS = 23

interface Change {
  readonly put: readonly [key: string, value: string]
  /** Deleted after the put. */
  readonly remove: string | undefined
}

/** What the event at a position, counted from 1, does to the state. */
function changeAt(position: number): Change {
  return {
    put: [`key-${(position * 7) % KEYS}`, `of event ${position}`],
    remove: position % 3 === 0 ? `key-${(position * 5) % KEYS}` : undefined,
  }
}

/** Brings a backend from one position of the source to a later one. */
export function advance(backend: MemoryStateBackend, from: number, to: number): void {
  for (let position = from + 1; position <= to; position++) {
    const { put, remove } = changeAt(position)
    backend.putSync(Buffer.from(put[0]), Buffer.from(put[1]))
    if (remove !== undefined) backend.deleteSync(Buffer.from(remove))
  }
}

/** The state at a position as text, computed without any backend. */
export function stateAt(position: number): string {
  const state = new Map<string, string>()
  for (let at = 1; at <= position; at++) {
    const { put, remove } = changeAt(at)
    state.set(...put)
    if (remove !== undefined) state.delete(remove)
  }
  return [...state]
    .map((entry) => `${entry.join('=')}\n`)
    .sort()
    .join('')
}

/** What a backend holds, as text. */
export async function stateOf(backend: StateBackend): Promise<string> {
  const lines: string[] = []
  for await (const [key, value] of backend.scan()) {
    lines.push(`${Buffer.from(key).toString()}=${Buffer.from(value).toString()}\n`)
  }
  return lines.sort().join('')
}
