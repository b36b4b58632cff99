// The best of the events of a window.
//
//   accumulator := entry*                                          best first, at most n
//   entry       := score f64 · timestamp f64 · length u32 · what is kept of the event
//
// (1) Scores never increase from one entry to the next; of equal ones the timestamps never decrease.

import type { Violation } from '../../base/errors.js'
import { hasMethods, rejectViolations, rules, violationsOf } from '../../base/options.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { AnyCodec, Codec, InputOf, ValueOf } from '../../state/codec/codec.js'
import { CodecError, within } from '../../state/codec/codec-error.js'
import { checkedNumber } from './aggregate.js'
import { type BytesAggregate, bytesAggregate, viewOf } from './bytes-aggregate.js'

const HEAD_BYTES = 20

export interface TopNOptions<Event, C extends AnyCodec> {
  /** How many are kept: 1 to 10,000. */
  readonly n: number
  /** The higher, the better. What is no finite number makes the event a bad one (W20). */
  readonly by: (event: Event) => number
  /** The form in which they are kept. */
  readonly codec: C
  /** What is kept of an event. Default: the event. */
  readonly of?: (event: Event) => InputOf<C>
}

/**
 * The `n` events with the highest numbers, best first. Of equal ones the one with the earlier timestamp is better, then the one that came
 * first.
 *
 * @example topN({ n: 3, by: (bid: Bid) => bid.price, codec: json<Bid>() })
 */
export function topN<Event, C extends AnyCodec>(
  options: TopNOptions<Event, C> & { readonly of: (event: Event) => InputOf<C> },
): BytesAggregate<Event, readonly ValueOf<C>[]>
export function topN<Event extends InputOf<C>, C extends AnyCodec>(
  options: TopNOptions<Event, C>,
): BytesAggregate<Event, readonly ValueOf<C>[]>
export function topN<Event, C extends AnyCodec>(
  options: TopNOptions<Event, C>,
): BytesAggregate<Event, readonly ValueOf<C>[]> {
  const violations: Violation[] = violationsOf(options ?? null, {
    n: (n) =>
      rules.positiveInteger(n) ?? ((n as number) > MOST ? `must not be more than ${MOST}` : undefined),
    by: rules.function,
    codec: hasMethods('read', 'write'),
    of: rules.function,
  })
  for (const name of ['n', 'by', 'codec'] as const) {
    if (options?.[name] === undefined) violations.push({ argument: `options.${name}`, reason: 'is required' })
  }
  rejectViolations(violations)
  const { n, by, of = (event: Event) => event as InputOf<C> } = options
  const codec = options.codec as unknown as Codec<ValueOf<C>, InputOf<C>>
  const written = new ByteWriter()

  const add = (bytes: Uint8Array = NONE, event: Event, timestampMs: number): Uint8Array => {
    const score = checkedNumber(by(event), 'topN')
    const view = viewOf(bytes)
    let place = 0
    let at = 0
    while (at < bytes.length && !isBetter(score, timestampMs, view, at)) {
      at = behind(view, at)
      place++
    }
    if (place >= n) return bytes
    const kept = of(event)
    written.length = 0
    written.reserve(HEAD_BYTES)
    try {
      codec.write(kept, written)
    } catch (error) {
      throw within('topN', error, 'write')
    }
    written.view.setFloat64(0, score, true)
    written.view.setFloat64(8, timestampMs, true)
    written.view.setUint32(16, written.length - HEAD_BYTES, true)
    return inserted(bytes, at, written, endOf(view, at, n - 1 - place))
  }
  const read = (bytes: Uint8Array): ValueOf<C>[] => {
    const view = viewOf(bytes)
    const values: ValueOf<C>[] = []
    const reader = new ByteReader()
    for (let at = 0; at < bytes.length; at = behind(view, at)) {
      reader.fromBytes(bytes, at + HEAD_BYTES)
      reader.end = behind(view, at)
      values.push(codec.read(reader))
      reader.assertEnd()
    }
    return values
  }
  return bytesAggregate<Event, readonly ValueOf<C>[]>({
    descriptor: { topN: n, of: codec.descriptor },
    add,
    merge: (bytes, later) => merged(bytes, later, n),
    result: read,
    check: (bytes) => {
      checkOrder(bytes, n)
      read(bytes)
    },
  })
}

const MOST = 10_000
const NONE = new Uint8Array(0)

function isBetter(score: number, timestampMs: number, view: DataView, at: number): boolean {
  const other = view.getFloat64(at, true)
  return score > other || (score === other && timestampMs < view.getFloat64(at + 8, true))
}

function behind(view: DataView, at: number): number {
  return at + HEAD_BYTES + view.getUint32(at + 16, true)
}

/** Behind so many more entries, or the last one. */
function endOf(view: DataView, at: number, count: number): number {
  let end = at
  for (let i = 0; i < count && end < view.byteLength; i++) end = behind(view, end)
  return end
}

/** Up to `end`, with an entry put in at a place. */
function inserted(bytes: Uint8Array, at: number, entry: ByteWriter, end: number): Uint8Array {
  const whole = new Uint8Array(end + entry.length)
  whole.set(bytes.subarray(0, at))
  whole.set(entry.bytes.subarray(0, entry.length), at)
  whole.set(bytes.subarray(at, end), at + entry.length)
  return whole
}

function merged(bytes: Uint8Array, later: Uint8Array, n: number): Uint8Array {
  const view = viewOf(bytes)
  const laterView = viewOf(later)
  const whole = new Uint8Array(bytes.length + later.length)
  let length = 0
  let at = 0
  let laterAt = 0
  for (let i = 0; i < n && (at < bytes.length || laterAt < later.length); i++) {
    const isLater =
      at === bytes.length ||
      (laterAt < later.length &&
        isBetter(laterView.getFloat64(laterAt, true), laterView.getFloat64(laterAt + 8, true), view, at))
    const from = isLater ? later : bytes
    const start = isLater ? laterAt : at
    const end = behind(isLater ? laterView : view, start)
    whole.set(from.subarray(start, end), length)
    length += end - start
    if (isLater) laterAt = end
    else at = end
  }
  return whole.subarray(0, length)
}

function checkOrder(bytes: Uint8Array, n: number): void {
  const view = viewOf(bytes)
  let count = 0
  let before = -1
  for (let at = 0; at < bytes.length; ) {
    const end = at + HEAD_BYTES <= bytes.length ? behind(view, at) : Infinity
    if (end > bytes.length) throw new CodecError('bytes that are cut off')
    const score = view.getFloat64(at, true)
    const timestampMs = view.getFloat64(at + 8, true)
    if (!Number.isFinite(score) || !Number.isSafeInteger(timestampMs)) {
      throw new CodecError('a score or a timestamp that is no number')
    }
    if (before >= 0 && isBetter(score, timestampMs, view, before)) {
      throw new CodecError('entries that are not in order')
    }
    before = at
    at = end
    count++
  }
  if (count > n) throw new CodecError(`${count} entries instead of at most ${n}`)
}
