// Ready-made aggregates whose accumulators are bytes of a form of their own, which grow with what they keep.

import type { JsonValue } from '../../base/json.js'
import { brandClass } from '../../base/shapes.js'
import type { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec } from '../../state/codec/codec.js'
import { CodecError } from '../../state/codec/codec-error.js'
import type { Aggregate } from './aggregate.js'
import { type FixedAggregate, type RawAggregate, rawOf } from './raw-aggregate.js'

const APPENDED = Symbol.for('holdfast.Appended')

/** What comes behind the bytes of an accumulator, which stay as they are. */
export class Appended {
  static {
    brandClass(Appended, APPENDED)
  }

  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }
}

/** Whether an aggregate, also one of another copy of this package, has come to bytes that are appended. */
export function isAppended(made: Uint8Array | Appended): made is Appended {
  return (made as { readonly [APPENDED]?: boolean })[APPENDED] === true
}

/** Work on an accumulator as bytes. Those that are given to it are its own: it may change them and give them back. */
export interface BytesWork<Event, Result> {
  /** The form of the bytes: equal descriptors mean equal bytes. */
  readonly descriptor: JsonValue
  /** `add` changes nothing of the bytes that it is given. */
  readonly leavesBytes?: true
  /** `undefined` where nothing was added before. What throws may have changed them: the caller has them as they were. */
  add(bytes: Uint8Array | undefined, event: Event, timestampMs: number): Uint8Array | Appended
  merge(bytes: Uint8Array, later: Uint8Array): Uint8Array
  result(bytes: Uint8Array): Result
  /** Throws where bytes, which come from the store, are not those of an accumulator. */
  check(bytes: Uint8Array): void
}

/** An aggregate that keeps more the more it is given, which can be a part of `combined`. */
export interface BytesAggregate<Event, Result> extends Aggregate<Event, Uint8Array, Result> {
  readonly work: BytesWork<Event, Result>
}

export function bytesAggregate<Event, Result>(work: BytesWork<Event, Result>): BytesAggregate<Event, Result> {
  const codec: Codec<Uint8Array> = Object.freeze({
    descriptor: work.descriptor,
    fixedBytes: undefined,
    isOpenEnded: true,
    write: (bytes: Uint8Array, to: ByteWriter) => to.append(bytes),
    read: (from: ByteReader) => from.copy(from.rest()),
  })
  return Object.freeze({
    codec,
    work,
    // Nothing was added where there are no bytes.
    add: (bytes: Uint8Array | undefined, event: Event, timestampMs: number) =>
      wholeOf(bytes, work.add(bytes, event, timestampMs)),
    merge: (bytes: Uint8Array, later: Uint8Array) => work.merge(bytes, later),
    result: (bytes: Uint8Array) => work.result(bytes),
  }) as BytesAggregate<Event, Result>
}

/** What a ready-made aggregate does on bytes; `undefined` of any other one. */
export function bytesWorkOf(aggregate: object): BytesWork<unknown, unknown> | undefined {
  const raw = rawOf(aggregate)
  if (raw === undefined) return (aggregate as Partial<BytesAggregate<unknown, unknown>>).work
  return fixedWork(raw, (aggregate as FixedAggregate<unknown, unknown>).codec)
}

/** Several of them on one event: their accumulators one behind the other, each with its length in front as u32. */
export function partsOfBytes(parts: {
  readonly [name: string]: BytesWork<unknown, unknown>
}): BytesWork<unknown, Record<string, unknown>> {
  const works = Object.entries(parts)
  return {
    descriptor: { combined: works.map(([name, { descriptor }]) => [name, descriptor]) },
    add: (bytes, event, timestampMs) => {
      const before = bytes === undefined ? undefined : split(bytes, works.length)
      let isInPlace = before !== undefined
      const after = works.map(([, work], i) => {
        const part = work.add(before?.[i], event, timestampMs)
        isInPlace &&= part === before?.[i]
        return part
      })
      // The parts are views: what has changed where it lies has changed in the whole.
      return isInPlace ? (bytes as Uint8Array) : joined(after, before)
    },
    merge: (bytes, later) => {
      const before = split(bytes, works.length)
      const others = split(later, works.length)
      return joined(works.map(([, work], i) => work.merge(before[i] as Uint8Array, others[i] as Uint8Array)))
    },
    result: (bytes) => {
      const before = split(bytes, works.length)
      const result: Record<string, unknown> = {}
      for (const [i, [name, work]] of works.entries()) result[name] = work.result(before[i] as Uint8Array)
      return result
    },
    check: (bytes) => {
      const before = split(bytes, works.length)
      for (const [i, [, work]] of works.entries()) work.check(before[i] as Uint8Array)
    },
  }
}

/** An aggregate of fixed size, on bytes. */
function fixedWork(
  raw: RawAggregate<unknown, unknown>,
  codec: Codec<unknown, unknown>,
): BytesWork<unknown, unknown> {
  const size = codec.fixedBytes as number
  return {
    descriptor: codec.descriptor,
    add: (bytes, event, timestampMs) => {
      const changed = bytes ?? new Uint8Array(size)
      raw.add(viewOf(changed), 0, event, timestampMs, bytes === undefined)
      return changed
    },
    merge: (bytes, later) => {
      raw.merge(viewOf(bytes), 0, viewOf(later), 0)
      return bytes
    },
    result: (bytes) => raw.result(viewOf(bytes), 0),
    check: (bytes) => {
      if (bytes.length !== size) throw new CodecError(`${bytes.length} bytes instead of ${size}`)
      raw.check?.(viewOf(bytes), 0)
    },
  }
}

/** The bytes that `add` has come to, all of them. */
export function wholeOf(bytes: Uint8Array | undefined, made: Uint8Array | Appended): Uint8Array {
  if (!isAppended(made)) return made
  const { length } = bytes ?? NOTHING
  const whole = new Uint8Array(length + made.bytes.length)
  if (bytes !== undefined) whole.set(bytes)
  whole.set(made.bytes, length)
  return whole
}

const NOTHING = new Uint8Array(0)

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Parts one behind the other; of those that something is appended to, the bytes are in `before`. */
function joined(parts: readonly (Uint8Array | Appended)[], before: readonly Uint8Array[] = []): Uint8Array {
  const lengths = parts.map((part, i) =>
    isAppended(part) ? (before[i]?.length ?? 0) + part.bytes.length : part.length,
  )
  const whole = new Uint8Array(lengths.reduce((total, length) => total + 4 + length, 0))
  const view = viewOf(whole)
  let at = 0
  for (const [i, part] of parts.entries()) {
    const length = lengths[i] as number
    view.setUint32(at, length, true)
    at += 4
    const known = isAppended(part) ? (before[i] ?? NOTHING) : part
    whole.set(known, at)
    if (isAppended(part)) whole.set(part.bytes, at + known.length)
    at += length
  }
  return whole
}

/** The parts where they lie. */
function split(bytes: Uint8Array, count: number): Uint8Array[] {
  const view = viewOf(bytes)
  const parts: Uint8Array[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    const start = at + 4
    const end = start <= bytes.length ? start + view.getUint32(at, true) : Infinity
    if (end > bytes.length) throw new CodecError('bytes that are cut off')
    parts.push(bytes.subarray(start, end))
    at = end
  }
  if (at !== bytes.length) throw new CodecError(`${bytes.length - at} bytes behind the end of the value`)
  return parts
}
