// A store with indices, whose entries say which write has made them.

import { defineState, index, indexEach, json, map, struct, uint32, utf8, value } from '../../../src/state.js'

export interface Place {
  readonly floor: number
  readonly version: number
}

export const places = defineState({
  key: utf8,
  keyGroups: 8,
  states: {
    place: value(struct({ floor: uint32, version: uint32 }), {
      indexes: { byFloor: index(uint32, ({ floor }: Place) => floor) },
    }),
    tags: map(utf8, json<string[]>(), { indexes: { byTag: indexEach(utf8, (tags: string[]) => tags) } }),
  },
})

const KEYS = 40

export const writtenKey = (version: number): string => `k${version % KEYS}`
export const placeOf = (version: number): Place => ({ floor: (version * 7) % 13, version })
export const tagsOf = (version: number): string[] =>
  ['a', 'b', 'c', 'd'].filter((_, i) => (version >> i) % 2 === 1)
