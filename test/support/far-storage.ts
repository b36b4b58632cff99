import { setImmediate as nextTurn } from 'node:timers/promises'
import type { CheckpointStorage, ObjectReader, OpenOptions } from '../../src/storage/checkpoint-storage.js'

/** What reading from a storage far away came to. */
export interface FarReads {
  readonly storage: Pick<CheckpointStorage, 'open' | 'read'>
  /** Times that a reader had to wait for answers, however many it asked for at a time. */
  readonly roundTrips: number
  /** Reads of objects that were under way at a time. */
  readonly mostInFlight: number
  readonly bytesRead: number
  /** What `open` was told, by name. */
  readonly hints: ReadonlyMap<string, OpenOptions['access']>
}

/**
 * A storage whose every answer takes one turn of the event loop, at whose end all that was asked meanwhile is answered: a round
 * trip. It is exact where nothing else takes turns: with codec `none`, and blocks under a MiB.
 */
export function farAway(near: CheckpointStorage): FarReads {
  let roundTrips = 0
  let inFlight = 0
  let mostInFlight = 0
  let bytesRead = 0
  let turn: Promise<void> | undefined
  const hints = new Map<string, OpenOptions['access']>()
  const answer = async (): Promise<void> => {
    await nextTurn()
    turn = undefined
    roundTrips++
  }
  const roundTrip = (): Promise<void> => {
    turn ??= answer()
    return turn
  }
  const farReader = (reader: ObjectReader): ObjectReader => ({
    sizeBytes: reader.sizeBytes,
    readAhead: reader.readAhead,
    read: async (offset, length) => {
      mostInFlight = Math.max(mostInFlight, ++inFlight)
      bytesRead += length
      await roundTrip()
      inFlight--
      return await reader.read(offset, length)
    },
    close: () => reader.close(),
  })
  return {
    storage: {
      open: async (name, options) => {
        hints.set(name, options?.access)
        await roundTrip()
        const reader = await near.open(name, options)
        return reader === undefined ? undefined : farReader(reader)
      },
      read: async (name, maxBytes) => {
        await roundTrip()
        const bytes = await near.read(name, maxBytes)
        bytesRead += bytes?.length ?? 0
        return bytes
      },
    },
    get roundTrips() {
      return roundTrips
    },
    get mostInFlight() {
      return mostInFlight
    },
    get bytesRead() {
      return bytesRead
    },
    hints,
  }
}
