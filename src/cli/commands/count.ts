import { entriesIn, openEntries, type StoredEntry } from '../../view/entries.js'
import { checkState, type RangeOptions, rangeFrom } from '../../view/key-arguments.js'
import { openPlace } from '../../view/place.js'
import { EntryDisplay } from '../../view/shown-entry.js'
import type { CommandContext } from '../context.js'
import { toldBy } from '../newer.js'
import { ExitStatus } from '../outcome.js'

interface CountOptions extends RangeOptions {
  readonly id?: string
  readonly state?: string
}

/** How many entries there are, of a state or in a range: of a whole checkpoint as its manifest says it. */
export async function count(
  { terminal, signal }: CommandContext,
  path: string,
  options: CountOptions,
): Promise<number> {
  const place = await openPlace(path)
  const entries = await openEntries(place, options.id, {
    use: options.state === undefined ? 'ignored' : 'read',
    onNewer: toldBy(terminal),
  })
  try {
    const { state } = options
    if (state !== undefined) checkState(entries, state)
    const range = rangeFrom(options)
    const isWhole = state === undefined && Object.keys(range).length === 0
    let counted = 0
    if (isWhole && place.kind === 'checkpoints') {
      counted = entries.entryCount
    } else {
      const display = new EntryDisplay(state === undefined ? undefined : entries.schema, 'auto')
      // The head of a list is no element, which only what lies behind its key tells.
      const isList = entries.schema?.states.some(({ name, kind }) => name === state && kind === 'list')
      const stateOf = (entry: StoredEntry) =>
        isList ? display.stateOf(entry) : display.stateOfKey(entry.key)
      const progress = await terminal.progress('counting', entries.entryCount)
      let looked = 0
      for await (const entry of entriesIn(entries, range, signal)) {
        progress.advance(++looked)
        if (state === undefined || stateOf(entry) === state) counted++
      }
      progress.end()
    }
    if (terminal.json) await terminal.object({ count: counted })
    else await terminal.line(String(counted))
    return ExitStatus.ok
  } finally {
    await entries.close()
  }
}
