// What is read from or written to goes away while it is used.

import type { SourceReader } from '../../src/job.js'

const NONE: ReadonlySet<string> = new Set()
const LIMIT_MS = 120_000

/** What a source ends with that is polled again and again; `undefined` where it goes on for too long. Told of each poll's events. */
export async function endOf<Event>(
  reader: SourceReader<Event>,
  onEvents: (events: readonly Event[]) => void = () => {},
): Promise<unknown> {
  const deadline = performance.now() + LIMIT_MS
  while (performance.now() < deadline) {
    try {
      for (const { events } of await reader.poll({ maxEvents: 9, waitMs: 200, paused: NONE }))
        onEvents(events)
    } catch (error) {
      return error
    }
  }
  return undefined
}

/** Reads so many events. */
export async function readEvents<Event>(reader: SourceReader<Event>, count: number): Promise<Event[]> {
  const read: Event[] = []
  const deadline = performance.now() + LIMIT_MS
  while (read.length < count && performance.now() < deadline)
    for (const { events } of await reader.poll({ maxEvents: 9, waitMs: 200, paused: NONE }))
      read.push(...events)
  return read
}

/** The outputs of an epoch with one output in a state that has it always. */
export const oneOutput = {
  state: { put: () => {}, read: () => [[0, { n: 0 }]] as const, removeFrom: () => {} },
  epochOf: (number: number) => ({ epoch: { lineage: 'l', number }, token: { first: 0, next: 1 } }),
}
