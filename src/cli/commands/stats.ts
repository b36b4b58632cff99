import { hexOf, type RecordedSchema } from '../../state.js'
import type { CommandContext } from '../context.js'
import { entriesIn, openEntries, type StoredEntry } from '../entries.js'
import { ExitStatus } from '../outcome.js'
import { openPlace } from '../place.js'
import { asCell, EntryDisplay, textOf } from '../shown-entry.js'
import type { Terminal } from '../terminal.js'
import { bytesText, countText } from '../units.js'
import { countFrom } from './scan.js'

interface StatsOptions {
  readonly id?: string
  readonly separator: string
  readonly top: string
}

/** How much there is of something. */
interface Tally {
  entries: number
  bytes: number
}

/** Prefixes that are counted by themselves; what comes after these counts as others, so that memory has a bound. */
const MAX_PREFIXES = 10_000

/** Ends of the histogram of times to live, in milliseconds. */
const LIFE_ENDS: readonly (readonly [name: string, belowMs: number])[] = [
  ['below a minute', 60_000],
  ['below an hour', 3_600_000],
  ['below a day', 86_400_000],
  ['below 30 days', 30 * 86_400_000],
  ['longer', Infinity],
]

/** What is large, how long it lives, and how evenly it is spread over key groups. */
export async function stats(
  { terminal, signal }: CommandContext,
  path: string,
  options: StatsOptions,
): Promise<number> {
  const top = countFrom('--top', options.top)
  const entries = await openEntries(await openPlace(path), options.id)
  try {
    const { schema, clockMs } = entries
    const survey = new Survey(schema, clockMs, options.separator, top)
    const progress = await terminal.progress('reading', entries.entryCount)
    for await (const entry of entriesIn(entries, {}, signal)) {
      survey.add(entry)
      progress.advance(survey.all.entries)
    }
    progress.end()
    const display = new EntryDisplay(schema, 'auto')
    const largest = survey.largest.map(({ key, value, bytes }) => ({
      key: keyText(display, { key, value, expiresAtMs: Infinity }),
      bytes,
    }))
    if (terminal.json) await terminal.object(survey.asJson(largest))
    else await print(terminal, survey, largest)
    return ExitStatus.ok
  } finally {
    await entries.close()
  }
}

class Survey {
  readonly all: Tally = { entries: 0, bytes: 0 }
  /** By state, or by the prefix of the key. */
  readonly parts = new Map<string, Tally>()
  readonly lives = new Map<string, number>()
  readonly groups = new Map<number, Tally>()
  /** The largest first. */
  readonly largest: { key: Uint8Array; value: Uint8Array; bytes: number }[] = []
  readonly #clockMs: number
  readonly #separator: string
  readonly #top: number
  readonly #keyGroups: number
  readonly #names = new Map<number, string>()

  constructor(schema: RecordedSchema | undefined, clockMs: number, separator: string, top: number) {
    this.#clockMs = clockMs
    this.#separator = separator
    this.#top = top
    this.#keyGroups = schema?.keyGroups ?? 0
    for (const { id, name, former = [] } of schema?.states ?? []) {
      this.#names.set(id, name)
      for (const generation of former) this.#names.set(generation.id, name)
    }
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
    const group = this.#groupOf(key)
    if (group !== undefined) count(tallyOf(this.groups, group), bytes)
    this.#keepLargest(key, value, bytes)
  }

  asJson(largest: readonly { readonly key: string; readonly bytes: number }[]) {
    return {
      ...this.all,
      parts: this.#sorted().map(([name, tally]) => ({ name, ...tally })),
      timesToLive: Object.fromEntries(this.lives),
      largest: largest.map((each) => ({ ...each })),
      ...(this.groups.size === 0 ? {} : { keyGroups: this.spread() }),
    }
  }

  /** The parts by bytes, the largest first. */
  #sorted(): [string, Tally][] {
    return [...this.parts].sort(([, left], [, right]) => right.bytes - left.bytes)
  }

  get sortedParts(): readonly (readonly [name: string, tally: Tally])[] {
    return this.#sorted()
  }

  /** How evenly entries are spread over key groups: the fullest one beside the mean. */
  spread() {
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

  #groupOf(key: Uint8Array): number | undefined {
    if (key.length < 4) return undefined
    const group = (key[0] as number) * 256 + (key[1] as number)
    return group < this.#keyGroups ? group : undefined
  }

  #partOf(key: Uint8Array): string {
    if (this.#keyGroups > 0) {
      if (this.#groupOf(key) === undefined)
        return key[0] === 0xff && key[1] === 0xfe ? '(indices)' : '(the store itself)'
      const state = (key[2] as number) * 256 + (key[3] as number)
      return (
        this.#names.get(state) ?? (state === 0xff01 ? '(expiry by event time)' : `(state ${state}, dropped)`)
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

function keyText(display: EntryDisplay, entry: StoredEntry): string {
  const shown = display.shown(entry) ?? new EntryDisplay(undefined, 'auto').shown(entry)
  return [shown?.state, asCell(shown?.key), asCell(shown?.mapKey)]
    .filter((part) => part !== undefined && part !== '')
    .join(' ')
}

async function print(
  terminal: Terminal,
  survey: Survey,
  largest: readonly { readonly key: string; readonly bytes: number }[],
): Promise<void> {
  const { all, lives, groups } = survey
  await terminal.line(`${countText(all.entries)} entries, ${bytesText(all.bytes)} of keys and values`)
  await terminal.line('')
  const share = (bytes: number) => `${((100 * bytes) / Math.max(1, all.bytes)).toFixed(1)} %`
  await terminal.table(
    ['WHAT', 'ENTRIES', 'SIZE', 'SHARE'],
    survey.sortedParts
      .slice(0, 50)
      .map(([name, { entries, bytes }]) => [name, countText(entries), bytesText(bytes), share(bytes)]),
  )
  await terminal.line('')
  const mortal = [...lives.values()].reduce((sum, entries) => sum + entries, 0)
  const rows = LIFE_ENDS.filter(([name]) => lives.has(name)).map(([name]) => [
    name,
    countText(lives.get(name) ?? 0),
  ])
  await terminal.table(['TIME TO LIVE', 'ENTRIES'], [...rows, ['for ever', countText(all.entries - mortal)]])
  await terminal.line('')
  await terminal.table(
    ['LARGEST', 'SIZE'],
    largest.map(({ key, bytes }) => [key, bytesText(bytes)]),
  )
  if (groups.size === 0) return
  const { count: there, used, fullest, entries, skew } = survey.spread()
  await terminal.line('')
  await terminal.line(
    `key groups: ${used} of ${there} used; the fullest, ${fullest}, has ${countText(entries)} entries, ${skew} times the mean`,
  )
}
