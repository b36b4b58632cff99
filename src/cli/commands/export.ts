import { SCHEMA_KEY } from '../../state.js'
import { entriesIn, type OpenEntries, openEntries } from '../../view/entries.js'
import { checkState, type RangeOptions, rangeFrom } from '../../view/key-arguments.js'
import { openPlace } from '../../view/place.js'
import { EntryDisplay, type ShownEntry } from '../../view/shown-entry.js'
import { UsageError } from '../../view/usage-error.js'
import { columnsOf } from '../columns.js'
import type { CommandContext } from '../context.js'
import { EntryLines, rawLine } from '../entry-lines.js'
import { refuseNewer } from '../newer.js'
import { type Output, openOutput } from '../output-file.js'
import { withUndecoded } from '../undecoded.js'
import { entriesText } from '../units.js'

interface ExportOptions extends RangeOptions {
  readonly id?: string
  readonly state?: string
  readonly format: 'ndjson' | 'csv' | 'parquet'
  readonly raw?: boolean
  readonly editable?: boolean
}

/** Rows that are written at a time, as a piece of CSV or a row group of Parquet; fewer where they are large. */
const ROWS_AT_A_TIME = 20_000
const BYTES_AT_A_TIME = 512 * 1024

/** All entries into a file, which has its name only when it is whole. */
export async function exportEntries(
  context: CommandContext,
  path: string,
  file: string | undefined,
  options: ExportOptions,
): Promise<number> {
  const { terminal, signal } = context
  const { format, state, raw = false, editable = false } = options
  if (raw && editable) throw new UsageError('--raw and --editable are two forms of a line: choose one')
  for (const [option, isGiven] of [
    ['--raw', raw],
    ['--editable', editable],
  ] as const) {
    if (isGiven && format !== 'ndjson') throw new UsageError(`${option} goes with --format ndjson`)
    if (isGiven && state !== undefined) throw new UsageError(`${option} is for all states`)
  }
  const entries = await openEntries(await openPlace(path), options.id, {
    use: raw ? 'ignored' : 'read',
    onNewer: refuseNewer,
  })
  try {
    if (state !== undefined) checkState(entries, state)
    const display = new EntryDisplay(raw ? undefined : entries.schema, 'auto')
    const output = await openOutput(file, terminal)
    const progress = await terminal.progress('exporting', entries.entryCount)
    let exported = 0
    const onRow = () => progress.advance(++exported)
    try {
      if (raw) await writeRaw(entries, output, options, signal, onRow)
      else if (editable) await writeEditable(entries, display, output, options, signal, onRow)
      else await writeShown(shownEntries(entries, display, options, signal, onRow), entries, output, options)
      await output.commit()
    } catch (error) {
      await output.abort()
      throw error
    } finally {
      progress.end()
    }
    if (file !== undefined) terminal.note(`${entriesText(exported)} of ${entries.label} are in ${file}`)
    return withUndecoded(terminal, display)
  } finally {
    await entries.close()
  }
}

async function writeRaw(
  entries: OpenEntries,
  output: Output,
  options: ExportOptions,
  signal: AbortSignal,
  onRow: () => void,
): Promise<void> {
  for await (const entry of entriesIn(entries, rangeFrom(options), signal)) {
    await output.write(`${JSON.stringify(rawLine(entry))}\n`)
    onRow()
  }
}

/** The schema first, as typed lines are turned into bytes by it. */
async function writeEditable(
  entries: OpenEntries,
  display: EntryDisplay,
  output: Output,
  options: ExportOptions,
  signal: AbortSignal,
  onRow: () => void,
): Promise<void> {
  const lines = new EntryLines()
  const record = entries.schema === undefined ? undefined : await entries.get(SCHEMA_KEY)
  if (record !== undefined) {
    const schema = { key: SCHEMA_KEY, value: record, expiresAtMs: Infinity }
    await output.write(`${lines.lineOf(schema, undefined)}\n`)
  }
  for await (const entry of entriesIn(entries, rangeFrom(options), signal)) {
    onRow()
    if (record !== undefined && Buffer.compare(entry.key, SCHEMA_KEY) === 0) continue
    // Of plain bytes a text is not told from the digits of a key, so they are digits.
    const shown = display.isTyped ? display.shown(entry) : undefined
    await output.write(`${lines.lineOf(entry, shown)}\n`)
  }
}

async function* shownEntries(
  entries: OpenEntries,
  display: EntryDisplay,
  options: ExportOptions,
  signal: AbortSignal,
  onRow: () => void,
): AsyncGenerator<readonly [shown: ShownEntry, bytes: number], void, undefined> {
  for await (const entry of entriesIn(entries, rangeFrom(options), signal)) {
    const shown = display.shown(entry)
    if (shown === undefined || (options.state !== undefined && shown.state !== options.state)) continue
    yield [shown, entry.key.length + entry.value.length]
    onRow()
  }
}

async function writeShown(
  shown: AsyncIterable<readonly [shown: ShownEntry, bytes: number]>,
  entries: OpenEntries,
  output: Output,
  { format, state }: ExportOptions,
): Promise<void> {
  if (format === 'ndjson') {
    for await (const [entry] of shown) await output.write(`${JSON.stringify(entry)}\n`)
    return
  }
  const columns = columnsOf(entries.schema, state)
  const { csvWriter, parquetWriter } = await import('../table-files.js')
  const writer = format === 'csv' ? await csvWriter(output, columns) : await parquetWriter(output, columns)
  let rows: ShownEntry[] = []
  let pending = 0
  for await (const [entry, bytes] of shown) {
    rows.push(entry)
    pending += bytes
    if (rows.length < ROWS_AT_A_TIME && pending < BYTES_AT_A_TIME) continue
    await writer.rows(rows)
    rows = []
    pending = 0
  }
  if (rows.length > 0) await writer.rows(rows)
  await writer.end()
}
