import type { AnyCodec, AnyKeyCodec } from '../codec/codec.js'

/** The kinds of state. */
export type StateKind = 'value' | 'list' | 'map' | 'reducing' | 'aggregating'

/** Under which a definition has what only the compiler knows of it. */
export declare const types: unique symbol

/** How a state is stored. */
export interface StateForm {
  readonly kind: StateKind
  readonly codec: AnyCodec
  /** Of a map. */
  readonly mapKey: AnyKeyCodec | undefined
}

/** What is known of a definition's types. */
export type TypesOf<Definition> = Definition extends { readonly [types]?: infer Types }
  ? NonNullable<Types>
  : never

/** Everything that a state holds under one key: what a migration from another kind is given, and returns. */
export type ContentOf<Definition extends StateForm> =
  TypesOf<Definition> extends infer Types extends { readonly value: unknown }
    ? Definition['kind'] extends 'list'
      ? Types['value'][]
      : Types extends { readonly mapKey: infer MapKey }
        ? [mapKey: MapKey, value: Types['value']][]
        : Types['value']
    : never
