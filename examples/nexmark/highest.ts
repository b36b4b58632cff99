import type { Codec } from 'holdfast/state'
import type { Aggregate } from 'holdfast/window'

/** The events with the highest number, all of them where several have it: an aggregate of one's own. */
export function highest<Event>(
  codec: Codec<Event[]>,
  by: (event: Event) => number,
): Aggregate<Event, Event[], readonly Event[]> {
  const better = (some: Event[], others: Event[]): Event[] => {
    const [one] = some
    const [other] = others
    if (one === undefined || other === undefined) return one === undefined ? others : some
    if (by(one) === by(other)) return [...some, ...others]
    return by(one) > by(other) ? some : others
  }
  return {
    codec,
    first: () => [],
    add: (best, event) => better(best, [event]),
    merge: better,
  }
}
