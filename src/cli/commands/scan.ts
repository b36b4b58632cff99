import { entriesIn, openEntries } from '../../view/entries.js'
import { checkState, type RangeOptions, rangeFrom, schemaUse } from '../../view/key-arguments.js'
import { openPlace } from '../../view/place.js'
import { asCell, checkedForm, EntryDisplay, type ShownEntry } from '../../view/shown-entry.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { toldBy } from '../newer.js'
import type { Terminal } from '../terminal.js'
import { valueCell, withUndecoded } from '../undecoded.js'

interface ScanOptions extends RangeOptions {
  readonly id?: string
  readonly state?: string
  readonly show: string
  readonly limit?: string
}

/** What is shown on a terminal where no limit is given. */
const SHOWN_ENTRIES = 100

/** Entries in key order: a table, or with `--json` an object for each. */
export async function scan(
  { terminal, signal }: CommandContext,
  path: string,
  options: ScanOptions,
): Promise<number> {
  const entries = await openEntries(await openPlace(path), options.id, {
    use: schemaUse(options),
    onNewer: toldBy(terminal),
  })
  try {
    if (options.state !== undefined) checkState(entries, options.state)
    const display = new EntryDisplay(entries.schema, checkedForm(options.show))
    const limit =
      options.limit === undefined
        ? terminal.isWatched && !terminal.json
          ? SHOWN_ENTRIES
          : Infinity
        : countFrom('--limit', options.limit)
    const printer = new EntryPrinter(terminal, display.isTyped)
    const progress = await terminal.progress('reading', entries.entryCount)
    let looked = 0
    let count = 0
    let hasMore = false
    for await (const entry of entriesIn(entries, rangeFrom(options), signal)) {
      progress.advance(++looked)
      const shown = display.shown(entry)
      if (shown === undefined || (options.state !== undefined && shown.state !== options.state)) continue
      if (count === limit) {
        hasMore = true
        break
      }
      count++
      await printer.add(shown)
    }
    progress.end()
    await printer.end()
    if (hasMore && !terminal.json) terminal.note(`only the first ${limit} are shown; --limit shows more`)
    return withUndecoded(terminal, display)
  } finally {
    await entries.close()
  }
}

/** A whole number of at least 0. */
export function countFrom(option: string, text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`${option} takes a whole number; not ${text}`)
  return Number(text)
}

/** Rows that are put into one table, and characters of it: so many at a time, so that any number of them takes little memory. */
const TABLE_ROWS = 1_000
const TABLE_CHARACTERS = 512 * 1024
/** What a cell of a table has at most: every row is as wide as the widest. */
const CELL_CHARACTERS = 10_000

/** Prints entries: rows of a table, or JSON. */
export class EntryPrinter {
  readonly #terminal: Terminal
  readonly #head: readonly string[]
  #rows: string[][] = []
  /** Characters of the longest row. */
  #widest = 0

  constructor(terminal: Terminal, isTyped: boolean) {
    this.#terminal = terminal
    this.#head = isTyped ? ['STATE', 'KEY', 'MAP KEY', 'VALUE', 'EXPIRES'] : ['KEY', 'VALUE', 'EXPIRES']
  }

  async add(entry: ShownEntry): Promise<void> {
    if (this.#terminal.json) {
      await this.#terminal.object({ ...entry })
      return
    }
    const { state, key, mapKey, place, expiresAt = '' } = entry
    const part = place === undefined ? asCell(mapKey) : `#${place}`
    const cells = [asCell(key), ...(state === undefined ? [] : [part]), valueCell(entry), expiresAt].map(cut)
    const row = state === undefined ? cells : [state, ...cells]
    this.#rows.push(row)
    this.#widest = Math.max(
      this.#widest,
      row.reduce((sum, cell) => sum + cell.length, 0),
    )
    const { length } = this.#rows
    if (length === TABLE_ROWS || length * this.#widest >= TABLE_CHARACTERS) await this.end()
  }

  async end(): Promise<void> {
    if (this.#terminal.json) return
    const rows = this.#rows
    this.#rows = []
    this.#widest = 0
    if (rows.length > 0) await this.#terminal.table(this.#head, rows)
  }
}

const cut = (cell: string): string =>
  cell.length <= CELL_CHARACTERS ? cell : `${cell.slice(0, CELL_CHARACTERS - 1)}…`
