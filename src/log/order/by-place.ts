import type { SlicedWork } from '../../base/slices.js'

/** The stretches of the log that are told apart, as a number of bits. */
const STRETCH_BITS = 12
/** Addresses looked at between two points where the work may pause. */
const PLACE_STEP = 16 * 1024

/**
 * Addresses by where they lead: a hash table has them in no order, and whoever goes to and fro in the log waits for memory each time. What was put in
 * the order of its keys, as by a restore, is in order then.
 */
export function* byPlace(addresses: Uint32Array): SlicedWork<Uint32Array> {
  const slices = Array.from({ length: Math.ceil(addresses.length / PLACE_STEP) }, (_, i) =>
    addresses.subarray(i * PLACE_STEP, (i + 1) * PLACE_STEP),
  )
  let most = 0
  for (const slice of slices) {
    for (const address of slice) if (address > most) most = address
    yield
  }
  const shift = Math.max(0, 32 - Math.clz32(most) - STRETCH_BITS)
  // Of each stretch of the log: how many lead there, then where the next of them goes, at last where they end.
  const places = new Uint32Array(1 << STRETCH_BITS)
  for (const slice of slices) {
    for (let i = 0; i < slice.length; i++) {
      const stretch = (slice[i] as number) >>> shift
      places[stretch] = (places[stretch] as number) + 1
    }
    yield
  }
  let sum = 0
  for (let stretch = 0; stretch < places.length; stretch++) {
    const count = places[stretch] as number
    places[stretch] = sum
    sum += count
  }
  const placed = new Uint32Array(addresses.length)
  for (const slice of slices) {
    for (let i = 0; i < slice.length; i++) {
      const address = slice[i] as number
      const stretch = address >>> shift
      const place = places[stretch] as number
      places[stretch] = place + 1
      placed[place] = address
    }
    yield
  }
  let sorted = 0
  let from = 0
  for (const end of places) {
    if (end - from > 1) placed.subarray(from, end).sort()
    sorted += end - from
    from = end
    if (sorted < PLACE_STEP) continue
    sorted = 0
    yield
  }
  return placed
}
