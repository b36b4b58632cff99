import { isErrorLike } from '../../base/shapes.js'

/** What was read, decoded. Where that fails, nothing is in the place of the event, and `failures` says why: the job decides (J7). */
export interface Decoded<Event> {
  readonly events: Event[]
  readonly failures: ReadonlyMap<number, Error>
}

const NO_FAILURES: ReadonlyMap<number, Error> = new Map()

export function decodeEach<Raw, Event>(raws: readonly Raw[], decode: (raw: Raw) => Event): Decoded<Event> {
  const events: Event[] = []
  let failures: Map<number, Error> | undefined
  let place = 0
  while (place < raws.length) {
    // The guard is set up again only behind an event that has failed.
    try {
      for (; place < raws.length; place++) events.push(decode(raws[place] as Raw))
    } catch (error) {
      failures ??= new Map()
      failures.set(place, isErrorLike(error) ? error : new Error(String(error)))
      events.push(undefined as Event)
      place++
    }
  }
  return { events, failures: failures ?? NO_FAILURES }
}
