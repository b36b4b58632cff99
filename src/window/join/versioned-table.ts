// A table whose rows change over time, and are looked up as they were at an event's time.

import { nonEmptyText, rejectViolations, requireSettings, violationsOf } from '../../base/options.js'
import type { AnyCodec, Codec, ValueOf } from '../../state/codec/codec.js'
import { int64 } from '../../state/codec/numbers.js'
import { type MapTypes, map, type StateDefinition } from '../../state/kinds/definitions.js'
import { mapOfKey } from './map-of-key.js'

/** The versions of a row for each key. */
export interface VersionedTable<Row extends AnyCodec, Name extends string> {
  /** The state that it needs, for the schema. */
  readonly states: {
    readonly [State in Name]: StateDefinition<'map', MapTypes<typeof int64, Row>>
  }
  /**
   * The row of the key at hand is this from a time on. Versions that no event beyond the watermark can ask for are removed.
   */
  put(
    state: object,
    row: ValueOf<Row>,
    times: { readonly timestampMs: number; readonly watermarkMs: number },
  ): void
  /** The row as it was at a time; `undefined` before its first version. */
  asOf(state: object, timestampMs: number): ValueOf<Row> | undefined
}

/**
 * A table whose rows have versions: for lookups of what was valid at the time of an event, such as prices and exchange rates.
 *
 * @example
 * const prices = versionedTable({ name: 'prices', row: float64 })
 * // in process: prices.put(state, 1.25, { timestampMs, watermarkMs }), prices.asOf(state, timestampMs)
 */
export function versionedTable<Row extends AnyCodec, const Name extends string>(options: {
  readonly name: Name
  readonly row: Row
}): VersionedTable<Row, Name> {
  requireSettings(options, ['name', 'row'])
  rejectViolations(
    violationsOf(options, {
      name: nonEmptyText,
      row: (codec) =>
        typeof codec === 'object' && codec !== null && 'read' in codec ? undefined : 'must be a codec',
    }),
  )
  const { name, row } = options
  return Object.freeze({
    states: { [name]: map(int64, row as unknown as Codec<unknown>) } as never,
    put: (
      state: object,
      version: ValueOf<Row>,
      { timestampMs, watermarkMs }: { readonly timestampMs: number; readonly watermarkMs: number },
    ) => {
      const versions = mapOfKey<number>(state, name)
      versions.put(timestampMs, version)
      if (!Number.isSafeInteger(watermarkMs)) return
      // The newest one up to the watermark is still asked for.
      const old = Array.from(versions.entries({ lte: watermarkMs, reverse: true }), ([fromMs]) => fromMs)
      for (const fromMs of old.slice(1)) versions.delete(fromMs)
    },
    asOf: (state: object, timestampMs: number) => {
      const [found] = mapOfKey<number>(state, name).entries({ lte: timestampMs, reverse: true, limit: 1 })
      return found?.[1] as ValueOf<Row> | undefined
    },
  })
}
