import type { DifferingEntry, JsonValue } from '../../index.js'
import { openEntries } from '../../view/entries.js'
import { checkState, type RangeOptions, rangeFrom } from '../../view/key-arguments.js'
import { chosenCheckpoint, openCheckpoints, storedPlace } from '../../view/place.js'
import { asCell, checkedForm, EntryDisplay, type ShownEntry } from '../../view/shown-entry.js'
import type { CommandContext } from '../context.js'
import { countedReads } from '../counted.js'
import { toldBy } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import type { Terminal } from '../terminal.js'
import { valueCell, withUndecoded } from '../undecoded.js'
import { countText } from '../units.js'

interface DiffOptions extends RangeOptions {
  readonly state?: string
  readonly show?: string
  readonly summary?: boolean
}

type Kind = 'added' | 'removed' | 'changed'

const SIGNS: { readonly [Name in Kind]: readonly [sign: string, style: 'green' | 'red' | 'yellow'] } = {
  added: ['+', 'green'],
  removed: ['-', 'red'],
  changed: ['~', 'yellow'],
}

/** What has changed from one checkpoint to another, by state. A difference is a finding. */
export async function diff(
  { terminal, signal }: CommandContext,
  path: string,
  a: string,
  b: string,
  options: DiffOptions,
): Promise<number> {
  const place = await openCheckpoints(path)
  const [before, after] = [
    await chosenCheckpoint(place, a, toldBy(terminal)),
    await chosenCheckpoint(place, b, toldBy(terminal)),
  ]
  const entries = await openEntries(place, after.id)
  try {
    if (options.state !== undefined) checkState(entries, options.state)
    const display = new EntryDisplay(entries.schema, checkedForm(options.show ?? 'auto'))
    const counts = new Map<string, { [Name in Kind]: number }>()
    const range = { ...rangeFrom(options), signal }
    const progress = await terminal.progress('comparing', before.sizeBytes + after.sizeBytes)
    let readBytes = 0
    const onRead = (bytes: number) => progress.advance((readBytes += bytes))
    const { archive } = storedPlace(path, countedReads(place.storage, onRead), false)
    for await (const difference of archive.diff(before.id, after.id, range)) {
      const { kind, key } = difference
      const was = shownOf(display, key, difference.before)
      const is = shownOf(display, key, difference.after)
      const shown = is ?? was
      if (shown === undefined || (options.state !== undefined && shown.state !== options.state)) continue
      const state = shown.state ?? ''
      const counted = counts.get(state) ?? { added: 0, removed: 0, changed: 0 }
      counted[kind]++
      counts.set(state, counted)
      if (options.summary !== true) await print(terminal, kind, shown, was, is)
    }
    progress.end()
    await printSummary(terminal, counts, options.summary === true)
    return withUndecoded(terminal, display, counts.size === 0 ? ExitStatus.ok : ExitStatus.finding)
  } finally {
    await entries.close()
  }
}

function shownOf(
  display: EntryDisplay,
  key: Uint8Array,
  entry: DifferingEntry | undefined,
): ShownEntry | undefined {
  return entry === undefined ? undefined : display.shown({ key, ...entry })
}

async function print(
  terminal: Terminal,
  kind: Kind,
  { state, key, mapKey }: ShownEntry,
  was: ShownEntry | undefined,
  is: ShownEntry | undefined,
): Promise<void> {
  if (terminal.json) {
    const object: { [name: string]: JsonValue } = { kind, ...(state === undefined ? {} : { state }), key }
    if (mapKey !== undefined) object['mapKey'] = mapKey
    if (was !== undefined) object['before'] = valueOf(was)
    if (is !== undefined) object['after'] = valueOf(is)
    await terminal.object(object)
    return
  }
  const [sign, style] = SIGNS[kind]
  const whose = [state, asCell(key), asCell(mapKey)]
    .filter((part) => part !== undefined && part !== '')
    .join(' ')
  const values = [was, is].filter((each) => each !== undefined).map((each) => valueCell(each))
  await terminal.line(terminal.style(style, `${sign} ${whose}: ${values.join(' → ')}`))
}

const valueOf = ({ value, expiresAt, problem }: ShownEntry): JsonValue => ({
  value,
  ...(expiresAt === undefined ? {} : { expiresAt }),
  ...(problem === undefined ? {} : { problem }),
})

async function printSummary(
  terminal: Terminal,
  counts: ReadonlyMap<string, { readonly [Name in Kind]: number }>,
  isAll: boolean,
): Promise<void> {
  for (const [state, { added, removed, changed }] of counts) {
    if (terminal.json) {
      if (isAll) await terminal.object({ ...(state === '' ? {} : { state }), added, removed, changed })
      continue
    }
    const text = `${countText(added)} added, ${countText(removed)} removed, ${countText(changed)} changed`
    await terminal.line(state === '' ? text : `${state}: ${text}`)
  }
  if (counts.size === 0 && !terminal.json) await terminal.line('no difference')
}
