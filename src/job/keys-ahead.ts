import type { PolledEvents } from './source/source.js'

/**
 * The keys of the next events, taken before the first of them is processed: whoever looks them up can ask memory for all of them at once, instead
 * of waiting for one after the other.
 *
 * (1) Only strings and numbers are told: what another object has under it may change until its turn comes.
 * (2) Each event is asked for its key once, and once more where a slice has ended before its turn came. What that throws is thrown when the turn of the event has come, behind everything before it.
 */
export class KeysAhead<Event, Key> {
  readonly #keyOf: (event: Event) => Key
  readonly #most: number
  readonly #tell: (keys: readonly unknown[], count: number) => void
  readonly #keys: Key[] = []
  /** The place of the first event whose key was told last, and the one behind the last of them. */
  toldFrom = 0
  toldUntil = 0
  #from = 0
  /** Where the key of an event has thrown; -1 where none has. */
  #failedAt = -1
  #error: unknown

  /** @param most of how many events at once. */
  constructor(
    keyOf: (event: Event) => Key,
    most: number,
    tell: (keys: readonly unknown[], count: number) => void,
  ) {
    this.#keyOf = keyOf
    this.#most = most
    this.#tell = tell
  }

  /** Takes keys from there on; returns up to where `keyAt` knows them. */
  look(polled: PolledEvents<Event>, from: number, until: number): number {
    const { events, failures } = polled
    const keys = this.#keys
    const end = Math.min(until, from + this.#most)
    this.#from = from
    this.#failedAt = -1
    let place = from
    let told = 0
    for (; place < end; place++) {
      if (failures?.has(place) === true) break
      let key: Key
      try {
        key = this.#keyOf(events[place] as Event)
      } catch (error) {
        this.#failedAt = place++
        this.#error = error
        break
      }
      keys[place - from] = key
      if (typeof key !== 'number' && typeof key !== 'string') {
        place++
        break
      }
      told++
    }
    this.toldFrom = from
    this.toldUntil = told > 1 ? from + told : from
    if (told > 1) this.#tell(keys, told)
    return place
  }

  /** The key of an event that was looked at. */
  keyAt(place: number): Key {
    if (place === this.#failedAt) throw this.#error
    return this.#keys[place - this.#from] as Key
  }
}
