import { isErrorLike } from '../../base/shapes.js'

/** What was read, decoded. Where that fails, nothing is in the place of the event, and `failures` says why: the job decides (J7). */
export interface Decoded<Event> {
  readonly events: Event[]
  readonly failures: ReadonlyMap<number, Error>
}

export function decodeEach<Raw, Event>(raws: readonly Raw[], decode: (raw: Raw) => Event): Decoded<Event> {
  const failures = new Map<number, Error>()
  const events = raws.map((raw, place) => {
    try {
      return decode(raw)
    } catch (error) {
      failures.set(place, isErrorLike(error) ? error : new Error(String(error)))
      return undefined as Event
    }
  })
  return { events, failures }
}
