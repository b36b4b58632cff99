import { entriesIn, openEntries } from '../../view/entries.js'
import { checkState, type RangeOptions, rangeFrom, schemaUse } from '../../view/key-arguments.js'
import { openPlace } from '../../view/place.js'
import { asCell, checkedForm, EntryDisplay, type ShownEntry } from '../../view/shown-entry.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { toldBy } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import { withUndecoded } from '../undecoded.js'
import { countFrom, EntryPrinter } from './scan.js'

interface GrepOptions extends RangeOptions {
  readonly id?: string
  readonly state?: string
  readonly show: string
  readonly ignoreCase?: boolean
  readonly limit?: string
}

/** Entries of which something matches, as it is shown. That none does is a finding. */
export async function grep(
  { terminal, signal }: CommandContext,
  path: string,
  pattern: string,
  options: GrepOptions,
): Promise<number> {
  const expression = expressionFrom(pattern, options.ignoreCase ?? false)
  const entries = await openEntries(await openPlace(path), options.id, {
    use: schemaUse(options),
    onNewer: toldBy(terminal),
  })
  try {
    if (options.state !== undefined) checkState(entries, options.state)
    const display = new EntryDisplay(entries.schema, checkedForm(options.show))
    const printer = new EntryPrinter(terminal, display.isTyped)
    const limit = options.limit === undefined ? Infinity : countFrom('--limit', options.limit)
    const progress = await terminal.progress('searching', entries.entryCount)
    let looked = 0
    let found = 0
    for await (const entry of entriesIn(entries, rangeFrom(options), signal)) {
      progress.advance(++looked)
      const shown = display.shown(entry)
      if (shown === undefined || (options.state !== undefined && shown.state !== options.state)) continue
      if (!matches(expression, shown)) continue
      await printer.add(shown)
      if (++found === limit) break
    }
    progress.end()
    await printer.end()
    return withUndecoded(terminal, display, found > 0 ? ExitStatus.ok : ExitStatus.finding)
  } finally {
    await entries.close()
  }
}

const matches = (expression: RegExp, { key, mapKey, value }: ShownEntry): boolean =>
  [key, mapKey, value].some((part) => expression.test(asCell(part)))

function expressionFrom(pattern: string, ignoreCase: boolean): RegExp {
  try {
    return new RegExp(pattern, ignoreCase ? 'iu' : 'u')
  } catch (error) {
    throw new UsageError(`the pattern is no regular expression: ${(error as Error).message}`)
  }
}
