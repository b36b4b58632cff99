// Aggregates of fixed size that work on their bytes: nothing is made for an event.

import type { FixedCodec } from '../../state/codec/codec.js'
import { struct } from '../../state/codec/struct.js'
import type { Aggregate } from './aggregate.js'

/** Work on an accumulator that lies at a place of a view. */
export interface RawAggregate<Event, Result> {
  /** The fields of the accumulator, one behind the other; a name is empty where there is only one. */
  readonly fields: readonly (readonly [name: string, codec: FixedCodec<unknown, never>])[]
  /** `isFirst` where nothing was added before: what lies there is zeros. */
  add(view: DataView, at: number, event: Event, timestampMs: number, isFirst: boolean): void
  /** Both have something. */
  merge(view: DataView, at: number, later: DataView, laterAt: number): void
  result(view: DataView, at: number): Result
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
  return Object.freeze({ codec, raw, add: unused, merge: unused, result: unused }) as FixedAggregate<
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
  return {
    fields,
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
  }
}
