// Aggregates of fixed size that work on their bytes: nothing is made for an event.

import type { FixedCodec } from '../../state/codec/codec.js'
import { struct } from '../../state/codec/struct.js'
import type { Aggregate } from './aggregate.js'

/** Work on an accumulator that lies at a place of a view. */
export interface RawAggregate<Event, Result> {
  /** What it is: recorded, so that one is not taken for another of the same form. */
  readonly kind?: string
  /** The fields of the accumulator, one behind the other; a name is empty where there is only one. */
  readonly fields: readonly (readonly [name: string, codec: FixedCodec<unknown, never>])[]
  /** `isFirst` where nothing was added before: what lies there is zeros. */
  add(view: DataView, at: number, event: Event, timestampMs: number, isFirst: boolean): void
  /** Both have something. */
  merge(view: DataView, at: number, later: DataView, laterAt: number): void
  result(view: DataView, at: number): Result
  /** Throws a `CodecError` where the bytes, which come from the store, are none of an accumulator. Default: all are. */
  check?(view: DataView, at: number): void
}

/** An aggregate of numbers and other things of fixed size, which can be a part of `combined`. */
export interface FixedAggregate<Event, Result> extends Aggregate<Event, unknown, Result> {
  readonly raw: RawAggregate<Event, Result>
}

export function rawOf(aggregate: object): RawAggregate<unknown, unknown> | undefined {
  return (aggregate as Partial<FixedAggregate<unknown, unknown>>).raw
}

export function fixedAggregate<Event, Result>(
  raw: RawAggregate<Event, Result>,
): FixedAggregate<Event, Result> {
  const codec = struct(
    Object.fromEntries(raw.fields.map(([name, field]) => [name === '' ? 'value' : name, field])),
  )
  const unused = (): never => {
    throw new Error('it works on its bytes')
  }
  const kind = raw.kind === undefined ? {} : { kind: raw.kind }
  return Object.freeze({ codec, raw, ...kind, add: unused, merge: unused, result: unused }) as FixedAggregate<
    Event,
    Result
  >
}

/** Several aggregates of one event, side by side. */
export function sideBySide(parts: {
  readonly [name: string]: RawAggregate<unknown, unknown>
}): RawAggregate<unknown, Record<string, unknown>> {
  let end = 0
  const fields: [string, FixedCodec<unknown, never>][] = []
  const placed = Object.entries(parts).map(([name, raw]) => {
    const at = end
    for (const [field, codec] of raw.fields) {
      fields.push([field === '' ? name : `${name}.${field}`, codec])
      end += codec.fixedBytes
    }
    return { name, raw, at }
  })
  const kind = `combined(${placed.map(({ name, raw }) => `${name}: ${raw.kind ?? 'own'}`).join(', ')})`
  return { kind, fields, ...(placed.length <= CALLED_BY_NAME ? called(placed) : looped(placed)) }
}

interface Placed {
  readonly name: string
  readonly raw: RawAggregate<unknown, unknown>
  readonly at: number
}

type Work = Omit<RawAggregate<unknown, Record<string, unknown>>, 'fields'>

function looped(placed: readonly Placed[]): Work {
  return {
    add: (view, at, event, timestampMs, isFirst) => {
      for (const part of placed) part.raw.add(view, at + part.at, event, timestampMs, isFirst)
    },
    merge: (view, at, later, laterAt) => {
      for (const part of placed) part.raw.merge(view, at + part.at, later, laterAt + part.at)
    },
    result: (view, at) => {
      const result: Record<string, unknown> = {}
      for (const part of placed) result[part.name] = part.raw.result(view, at + part.at)
      return result
    },
    check: (view, at) => {
      for (const part of placed) part.raw.check?.(view, at + part.at)
    },
  }
}

/** So many parts have a call of their own each in `called`. */
const CALLED_BY_NAME = 6

/**
 * The same with a line of its own for each part: the compiler learns for each line what is called there, and puts it in its place.
 * In a loop every part is called at the same line, of which it learns only that anything may be.
 */
function called(placed: readonly Placed[]): Work {
  const { length } = placed
  const [p0, p1 = none, p2 = none, p3 = none, p4 = none, p5 = none] = placed as [Placed, ...Placed[]]
  const [add0, add1, add2, add3, add4, add5] = [
    p0.raw.add,
    p1.raw.add,
    p2.raw.add,
    p3.raw.add,
    p4.raw.add,
    p5.raw.add,
  ]
  return {
    ...looped(placed),
    add: (view, at, event, timestampMs, isFirst) => {
      add0(view, at, event, timestampMs, isFirst)
      if (length === 1) return
      add1(view, at + p1.at, event, timestampMs, isFirst)
      if (length === 2) return
      add2(view, at + p2.at, event, timestampMs, isFirst)
      if (length === 3) return
      add3(view, at + p3.at, event, timestampMs, isFirst)
      if (length === 4) return
      add4(view, at + p4.at, event, timestampMs, isFirst)
      if (length === 5) return
      add5(view, at + p5.at, event, timestampMs, isFirst)
    },
    merge: (view, at, later, laterAt) => {
      p0.raw.merge(view, at, later, laterAt)
      if (length === 1) return
      p1.raw.merge(view, at + p1.at, later, laterAt + p1.at)
      if (length === 2) return
      p2.raw.merge(view, at + p2.at, later, laterAt + p2.at)
      if (length === 3) return
      p3.raw.merge(view, at + p3.at, later, laterAt + p3.at)
      if (length === 4) return
      p4.raw.merge(view, at + p4.at, later, laterAt + p4.at)
      if (length === 5) return
      p5.raw.merge(view, at + p5.at, later, laterAt + p5.at)
    },
    result: (view, at) => {
      const result: Record<string, unknown> = {}
      result[p0.name] = p0.raw.result(view, at)
      if (length === 1) return result
      result[p1.name] = p1.raw.result(view, at + p1.at)
      if (length === 2) return result
      result[p2.name] = p2.raw.result(view, at + p2.at)
      if (length === 3) return result
      result[p3.name] = p3.raw.result(view, at + p3.at)
      if (length === 4) return result
      result[p4.name] = p4.raw.result(view, at + p4.at)
      if (length === 5) return result
      result[p5.name] = p5.raw.result(view, at + p5.at)
      return result
    },
  }
}

const none: Placed = {
  name: '',
  at: 0,
  raw: { fields: [], add: () => {}, merge: () => {}, result: () => undefined },
}
