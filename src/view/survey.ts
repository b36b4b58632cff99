// What is large in a state, how long it lives, and how evenly it is spread over key groups.

import { hexOf, type RecordedSchema } from '../state.js'
import type { StoredEntry } from './entries.js'
import { textOf } from './shown-entry.js'
import { StateNames } from './state-names.js'

/** How much there is of something. */
export interface Tally {
  entries: number
  bytes: number
}

/** How evenly entries are spread over key groups. */
export interface Spread {
  readonly count: number
  readonly used: number
  /** The number of the group with most entries, and how many these are. */
  readonly fullest: number
  readonly entries: number
  /** Times the mean. */
  readonly skew: number
}

/** Prefixes that are counted by themselves; what comes after these counts as others, so that memory has a bound. */
const MAX_PREFIXES = 10_000

/** Ends of the histogram of times to live, in milliseconds. */
export const LIFE_ENDS: readonly (readonly [name: string, belowMs: number])[] = [
  ['below a minute', 60_000],
  ['below an hour', 3_600_000],
  ['below a day', 86_400_000],
  ['below 30 days', 30 * 86_400_000],
  ['longer', Infinity],
]

export class Survey {
  readonly all: Tally = { entries: 0, bytes: 0 }
  /** By state, or by the prefix of the key. */
  readonly parts: Map<string, Tally> = new Map()
  readonly lives: Map<string, number> = new Map()
  readonly groups: Map<number, Tally> = new Map()
  /** The largest first. */
  readonly largest: { key: Uint8Array; value: Uint8Array; bytes: number }[] = []
  readonly #clockMs: number
  readonly #separator: string
  readonly #top: number
  readonly #keyGroups: number
  readonly #states: StateNames

  constructor(schema: RecordedSchema | undefined, clockMs: number, separator: string, top: number) {
    this.#clockMs = clockMs
    this.#separator = separator
    this.#top = top
    this.#keyGroups = schema?.keyGroups ?? 0
    this.#states = new StateNames(schema)
  }

  add({ key, value, expiresAtMs }: StoredEntry): void {
    const bytes = key.length + value.length
    count(this.all, bytes)
    count(tallyOf(this.parts, this.#partOf(key)), bytes)
    if (expiresAtMs !== Infinity) {
      const life = expiresAtMs - this.#clockMs
      const name = LIFE_ENDS.find(([, belowMs]) => life < belowMs)?.[0] ?? 'longer'
      this.lives.set(name, (this.lives.get(name) ?? 0) + 1)
    }
    const group = this.#states.groupOf(key)
    if (group !== undefined) count(tallyOf(this.groups, group), bytes)
    this.#keepLargest(key, value, bytes)
  }

  /** The parts by bytes, the largest first. */
  #sorted(): [string, Tally][] {
    return [...this.parts].sort(([, left], [, right]) => right.bytes - left.bytes)
  }

  get sortedParts(): readonly (readonly [name: string, tally: Tally])[] {
    return this.#sorted()
  }

  /** How evenly entries are spread over key groups: the fullest one beside the mean. */
  spread(): Spread {
    let [fullest, most] = [0, 0]
    for (const [group, { entries }] of this.groups) if (entries > most) [fullest, most] = [group, entries]
    const counted = [...this.groups.values()].reduce((sum, { entries }) => sum + entries, 0)
    const mean = counted / this.#keyGroups
    return {
      count: this.#keyGroups,
      used: this.groups.size,
      fullest,
      entries: most,
      skew: Number((most / mean).toFixed(2)),
    }
  }

  #partOf(key: Uint8Array): string {
    if (this.#keyGroups > 0) {
      if (this.#states.groupOf(key) === undefined)
        return key[0] === 0xff && key[1] === 0xfe ? '(indices)' : '(the store itself)'
      const state = (key[2] as number) * 256 + (key[3] as number)
      return (
        this.#states.nameOf(key) ??
        (state === 0xff01 ? '(expiry by event time)' : `(state ${state}, dropped)`)
      )
    }
    const text = textOf(key)
    const end = text?.indexOf(this.#separator) ?? -1
    const prefix =
      text === undefined
        ? `${hexOf(key.subarray(0, 2))}…`
        : end < 0
          ? '(no prefix)'
          : text.slice(0, end + this.#separator.length)
    return this.parts.has(prefix) || this.parts.size < MAX_PREFIXES ? prefix : '(others)'
  }

  #keepLargest(key: Uint8Array, value: Uint8Array, bytes: number): void {
    const { largest } = this
    const smallest = largest.at(-1)
    if (
      this.#top === 0 ||
      (largest.length === this.#top && smallest !== undefined && smallest.bytes >= bytes)
    )
      return
    if (largest.length === this.#top) largest.pop()
    largest.push({ key: new Uint8Array(key), value: new Uint8Array(value), bytes })
    largest.sort((left, right) => right.bytes - left.bytes)
  }
}

function count(tally: Tally, bytes: number): void {
  tally.entries++
  tally.bytes += bytes
}

function tallyOf<Name>(tallies: Map<Name, Tally>, name: Name): Tally {
  const known = tallies.get(name)
  if (known !== undefined) return known
  const tally = { entries: 0, bytes: 0 }
  tallies.set(name, tally)
  return tally
}
