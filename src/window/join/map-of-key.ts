import { invalidArgument } from '../../base/options.js'

/** A map state that is bound to the key at hand, as `process` is given it. */
export interface MapOfKey<MapKey> {
  get(mapKey: MapKey): unknown
  putIfAbsent(mapKey: MapKey, value: unknown): boolean
  put(mapKey: MapKey, value: unknown): void
  delete(mapKey: MapKey): void
  entries(options: {
    readonly gte?: MapKey
    readonly lt?: MapKey
    readonly lte?: MapKey
    readonly reverse?: boolean
    readonly limit?: number
  }): IterableIterator<[MapKey, unknown]>
}

/** One of the states that `process` is given; `INVALID_ARGUMENT` where the schema does not have it. */
export function mapOfKey<MapKey>(state: object, name: string): MapOfKey<MapKey> {
  const found = (state as { readonly [name: string]: unknown })[name]
  if (found === undefined)
    throw invalidArgument('state', `lacks '${name}': spread \`states\` into the schema`)
  return found as MapOfKey<MapKey>
}
