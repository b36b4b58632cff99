// What commands print. Results go to stdout: tables and lines for people, or JSON with `--json`; progress and notes go to stderr.

import { styleText } from 'node:util'
import type { JsonValue } from '../index.js'
import { visible } from '../view/visible.js'
import type { Outlet, Streams } from './outlet.js'
import type { Progress } from './progress.js'

const NO_PROGRESS: Progress = { advance: () => {}, end: () => {} }

/** Lines are handed on in pieces of about this size. */
const CHUNK_CHARACTERS = 64 * 1024

export interface TerminalOptions {
  readonly json: boolean
  readonly quiet: boolean
  readonly color: boolean
  /** Whether a bar may show how far a command has come. */
  readonly bars: boolean
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow'

export class Terminal {
  readonly json: boolean
  readonly #options: TerminalOptions
  readonly #streams: Streams
  readonly #outlet: Outlet
  #pending = ''
  #bar: Progress | undefined

  constructor(options: TerminalOptions, streams: Streams, outlet: Outlet) {
    this.json = options.json
    this.#options = options
    this.#streams = streams
    this.#outlet = outlet
  }

  /** Whether somebody looks at the results as they come. */
  get isWatched(): boolean {
    return this.#streams.stdout.isTTY
  }

  /** Columns of the terminal; without one, lines may be as long as they are. */
  get width(): number {
    return this.#streams.stdout.isTTY ? (this.#streams.stdout.columns ?? 80) : Infinity
  }

  style(style: Style, text: string): string {
    return this.#options.color ? styleText(style, text, { validateStream: false }) : text
  }

  /** One line of the result. Whatever it was put together from does nothing to the terminal. */
  async line(text: string): Promise<void> {
    await this.raw(`${this.#options.color ? visibleButStyled(text) : visible(text)}\n`)
  }

  /** One JSON object, in a line of its own, with its characters as JSON has them. */
  async object(value: JsonValue): Promise<void> {
    await this.raw(`${JSON.stringify(value)}\n`)
  }

  /** A piece of a result that is no lines: the content of a file. */
  async raw(piece: string | Uint8Array): Promise<void> {
    if (typeof piece === 'string') {
      this.#pending += piece
      if (this.#pending.length >= CHUNK_CHARACTERS) await this.flush()
      return
    }
    await this.flush()
    await this.#write(piece)
  }

  /**
   * A table for people: columns as wide as what is in them, the widest ones cut where the terminal is narrower. Where little would be left of
   * them, each row is a paragraph.
   */
  async table(head: readonly string[], rows: readonly (readonly string[])[]): Promise<void> {
    const isPlain = [head, ...rows].every((row) => row.every((cell) => PLAIN.test(cell)))
    const shown = isPlain ? rows : rows.map((row) => row.map(visible))
    const widths = fitted(naturalWidths(head, shown), this.width)
    if (widths === undefined) {
      await this.#paragraphs(head, shown)
      return
    }
    if (isPlain) {
      await this.#plainTable(head, shown, widths)
      return
    }
    const { default: Table } = await import('cli-table3')
    const table = new Table({
      head: head.map((title) => this.style('bold', title)),
      colWidths: widths.map((width) => width + GAP),
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': GAP },
      chars: NO_BORDERS,
    })
    for (const row of shown) table.push([...row])
    for (const line of table.toString().split('\n')) await this.line(line.trimEnd())
  }

  /** The lines that `cli-table3` makes of such cells, without what it takes to load it and to look at each character (decision 89). */
  async #plainTable(
    head: readonly string[],
    rows: readonly (readonly string[])[],
    widths: readonly number[],
  ): Promise<void> {
    for (const [i, row] of [head, ...rows].entries()) {
      let line = ''
      for (const [column, width] of widths.entries()) {
        const cell = row[column] ?? ''
        const shown = cell.length <= width ? cell : `${cell.slice(0, width - 1)}…`
        line += (i === 0 ? this.style('bold', shown) : shown) + ' '.repeat(width - shown.length + GAP)
      }
      await this.line(line.trimEnd())
    }
  }

  async #paragraphs(head: readonly string[], rows: readonly (readonly string[])[]): Promise<void> {
    for (const [i, row] of rows.entries()) {
      if (i > 0) await this.line('')
      const there = head.flatMap((title, column) =>
        row[column] === undefined || row[column] === '' ? [] : [[title, row[column]] as const],
      )
      await this.fields(there)
    }
  }

  /** Names and what they are, one in a line. */
  async fields(fields: readonly (readonly [name: string, value: string])[]): Promise<void> {
    const width = Math.max(...fields.map(([name]) => name.length))
    for (const [name, value] of fields) await this.line(`${this.style('dim', name.padEnd(width))}  ${value}`)
  }

  /** Something to know beside the result. */
  note(text: string): void {
    if (this.#options.quiet) return
    // Where both are one terminal, it stands behind the lines that it is about.
    if (this.isWatched) void this.flush()
    this.#streams.stderr.write(`${visible(text)}\n`)
  }

  /** A bar for what takes longer than a second, on a terminal; nothing elsewhere, and where the whole is 0: it is not known, or there is nothing to do. */
  async progress(label: string, total: number): Promise<Progress> {
    const { stderr } = this.#streams
    if (!stderr.isTTY || !this.#options.bars || this.#options.quiet || total === 0) return NO_PROGRESS
    const { progressBar } = await import('./progress.js')
    this.#bar = progressBar(stderr, label, total)
    return this.#bar
  }

  /** Takes a bar away that a command has left, as it failed: one that goes on keeps the process, and the cursor hidden. */
  endProgress(): void {
    this.#bar?.end()
  }

  /** Hands on what was printed. Waits for a reader that is slow. */
  async flush(): Promise<void> {
    const text = this.#pending
    this.#pending = ''
    if (text !== '') await this.#write(text)
  }

  /** A bar is taken away first where both are one terminal: it would be in the middle of a line. It comes again with the next step. */
  async #write(piece: string | Uint8Array): Promise<void> {
    if (this.isWatched) this.#bar?.end()
    await this.#outlet.write(piece)
  }
}

const ESCAPE = '\u001b'
/** What `style` puts around a text. */
const OWN_STYLE = new RegExp(`(${ESCAPE}\\[(?:1|2|22|31|32|33|39)m)`)

/** As `visible`, in a line that has colours. One that somebody else has put there stays a colour of these, and does no more. */
const visibleButStyled = (text: string): string =>
  text
    .split(OWN_STYLE)
    .map((part, i) => (i % 2 === 0 ? visible(part) : part))
    .join('')

/** Between two columns. */
const GAP = 2
/** A cut column keeps so much. */
const MIN_WIDTH = 12

const NO_BORDERS = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid', 'left-mid', 'mid-mid', 'right-mid', 'middle']
    .concat(['top-mid', 'top-left', 'top-right', 'bottom-mid', 'bottom-left', 'bottom-right'])
    .map((name) => [name, '']),
)

function naturalWidths(head: readonly string[], rows: readonly (readonly string[])[]): number[] {
  return head.map((title, i) =>
    rows.reduce((width, row) => Math.max(width, columnsOf(row[i] ?? '')), title.length),
  )
}

/** Characters of which each takes one column, whatever stands beside it: those of ASCII, and what stands for what was cut. */
const PLAIN = /^[ -~…]*$/

/** Where no character is wider than one column. */
const NARROW = /^[\u0020-\u10ff…]*$/

/** How many columns of a terminal a text takes at most: characters of East Asia and pictures take two. */
function columnsOf(text: string): number {
  if (NARROW.test(text)) return text.length
  let columns = 0
  for (const character of text) columns += NARROW.test(character) ? 1 : 2
  return columns
}

/** The widest columns give way until all fit; `undefined` where they do not. */
function fitted(widths: readonly number[], available: number): number[] | undefined {
  const fittedWidths = widths.map((width) => Math.min(width, available))
  let excess = fittedWidths.reduce((sum, width) => sum + width + GAP, 0) - available
  for (; excess > 0; excess--) {
    const widest = Math.max(...fittedWidths)
    if (widest <= MIN_WIDTH) return undefined
    fittedWidths[fittedWidths.indexOf(widest)] = widest - 1
  }
  return fittedWidths
}
