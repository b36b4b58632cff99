import { openEntries } from '../../view/entries.js'
import { keyFrom, schemaUse } from '../../view/key-arguments.js'
import { openPlace } from '../../view/place.js'
import { checkedForm, EntryDisplay } from '../../view/shown-entry.js'
import type { CommandContext } from '../context.js'
import { toldBy } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import { valueCell, withUndecoded } from '../undecoded.js'

interface GetOptions {
  readonly id?: string
  readonly state?: string
  readonly mapKey?: string
  readonly show: string
}

/** The value of a key. That there is none is a finding. */
export async function get(
  { terminal }: CommandContext,
  path: string,
  key: string,
  options: GetOptions,
): Promise<number> {
  const entries = await openEntries(await openPlace(path), options.id, {
    use: schemaUse(options),
    onNewer: toldBy(terminal),
  })
  try {
    const stored = keyFrom(entries, key, options.state, options.mapKey)
    const value = await entries.get(stored)
    if (value === undefined) {
      terminal.note(`${entries.label} has no entry for ${key}`)
      return ExitStatus.finding
    }
    const form = checkedForm(options.show)
    const found = { key: stored, value, expiresAtMs: Infinity }
    const display = new EntryDisplay(entries.schema, form)
    const shown = display.shown(found) ?? new EntryDisplay(undefined, form).shown(found)
    if (terminal.json) await terminal.object({ ...shown })
    else if (shown !== undefined) await terminal.line(valueCell(shown))
    return withUndecoded(terminal, display)
  } finally {
    await entries.close()
  }
}
