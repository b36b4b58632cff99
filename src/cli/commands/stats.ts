import { entriesIn, openEntries, type StoredEntry } from '../../view/entries.js'
import { openPlace } from '../../view/place.js'
import { asCell, EntryDisplay } from '../../view/shown-entry.js'
import { LIFE_ENDS, Survey } from '../../view/survey.js'
import type { CommandContext } from '../context.js'
import { toldBy } from '../newer.js'
import type { Terminal } from '../terminal.js'
import { withUndecoded } from '../undecoded.js'
import { bytesText, countText, entriesText } from '../units.js'
import { countFrom } from './scan.js'

interface StatsOptions {
  readonly id?: string
  readonly separator: string
  readonly top: string
}

/** What is large, how long it lives, and how evenly it is spread over key groups. */
export async function stats(
  { terminal, signal }: CommandContext,
  path: string,
  options: StatsOptions,
): Promise<number> {
  const top = countFrom('--top', options.top)
  const entries = await openEntries(await openPlace(path), options.id, { onNewer: toldBy(terminal) })
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
    if (terminal.json) await terminal.object(asJson(survey, largest))
    else await print(terminal, survey, largest)
    return withUndecoded(terminal, display)
  } finally {
    await entries.close()
  }
}

function asJson(survey: Survey, largest: readonly { readonly key: string; readonly bytes: number }[]) {
  return {
    ...survey.all,
    parts: survey.sortedParts.map(([name, tally]) => ({ name, ...tally })),
    timesToLive: Object.fromEntries(survey.lives),
    largest: largest.map((each) => ({ ...each })),
    ...(survey.groups.size === 0 ? {} : { keyGroups: { ...survey.spread() } }),
  }
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
  await terminal.line(`${entriesText(all.entries)}, ${bytesText(all.bytes)} of keys and values`)
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
    `key groups: ${used} of ${there} used; the fullest, ${fullest}, has ${entriesText(entries)}, ${skew} times the mean`,
  )
}
