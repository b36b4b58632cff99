// What commands print. Results go to stdout: tables and lines for people, or JSON with `--json`; progress and notes go to stderr.

import { styleText } from 'node:util'
import type { JsonValue } from '../index.js'
import type { Progress } from './progress.js'

/** Lines are handed on in pieces of about this size. */
const CHUNK_CHARACTERS = 64 * 1024
/** The width of lines where there is no terminal. */
const UNLIMITED_WIDTH = 10_000

export interface TerminalOptions {
  readonly json: boolean
  readonly quiet: boolean
  readonly color: boolean
}

/** The part of a process's streams that is used. */
export interface Streams {
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow'

export class Terminal {
  readonly json: boolean
  readonly #options: TerminalOptions
  readonly #streams: Streams
  #pending = ''
  #bar: Progress | undefined

  constructor(options: TerminalOptions, streams: Streams) {
    this.json = options.json
    this.#options = options
    this.#streams = streams
  }

  /** Columns of the terminal; without one, lines may be as long as they are. */
  get width(): number {
    return this.#streams.stdout.isTTY ? (this.#streams.stdout.columns ?? 80) : UNLIMITED_WIDTH
  }

  style(style: Style, text: string): string {
    return this.#options.color ? styleText(style, text) : text
  }

  /** One line of the result. */
  async line(text: string): Promise<void> {
    this.#pending += `${text}\n`
    if (this.#pending.length >= CHUNK_CHARACTERS) await this.flush()
  }

  /** One JSON object, in a line of its own. */
  async object(value: JsonValue): Promise<void> {
    await this.line(JSON.stringify(value))
  }

  /** A piece of a result that is no lines: the content of a file. */
  async raw(piece: string | Uint8Array): Promise<void> {
    if (typeof piece === 'string') {
      this.#pending += piece
      if (this.#pending.length >= CHUNK_CHARACTERS) await this.flush()
      return
    }
    await this.flush()
    await this.#hand(piece)
  }

  /** A table for people: columns as wide as what is in them, the widest ones cut where the terminal is narrower. */
  async table(head: readonly string[], rows: readonly (readonly string[])[]): Promise<void> {
    const { default: Table } = await import('cli-table3')
    const widths = fitted(naturalWidths(head, rows), this.width)
    const table = new Table({
      head: head.map((title) => this.style('bold', title)),
      colWidths: widths.map((width) => width + GAP),
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': GAP },
      chars: NO_BORDERS,
    })
    for (const row of rows) table.push([...row])
    for (const line of table.toString().split('\n')) await this.line(line.trimEnd())
  }

  /** Names and what they are, one in a line. */
  async fields(fields: readonly (readonly [name: string, value: string])[]): Promise<void> {
    const width = Math.max(...fields.map(([name]) => name.length))
    for (const [name, value] of fields) await this.line(`${this.style('dim', name.padEnd(width))}  ${value}`)
  }

  /** Something to know beside the result. */
  note(text: string): void {
    if (!this.#options.quiet) this.#streams.stderr.write(`${text}\n`)
  }

  /** A bar for what takes longer than a second, on a terminal; nothing elsewhere. */
  async progress(label: string, total: number): Promise<Progress> {
    const { progressBar, noProgress } = await import('./progress.js')
    const { stderr } = this.#streams
    const bar = stderr.isTTY && !this.#options.quiet ? progressBar(stderr, label, total) : noProgress
    this.#bar = bar
    return bar
  }

  /** Takes a bar away that a command has left, as it failed: one that goes on keeps the process, and the cursor hidden. */
  endProgress(): void {
    this.#bar?.end()
  }

  /** Hands on what was printed. Waits for a reader that is slow. */
  async flush(): Promise<void> {
    const text = this.#pending
    this.#pending = ''
    if (text !== '') await this.#hand(text)
  }

  async #hand(piece: string | Uint8Array): Promise<void> {
    const { stdout } = this.#streams
    if (stdout.write(piece)) return
    await new Promise<void>((resolve) => {
      const end = () => {
        stdout.off('drain', end)
        stdout.off('close', end)
        resolve()
      }
      stdout.once('drain', end)
      stdout.once('close', end)
    })
  }
}

/** Between two columns. */
const GAP = 2
/** A cut column keeps so much. */
const MIN_WIDTH = 6

const NO_BORDERS = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid', 'left-mid', 'mid-mid', 'right-mid', 'middle']
    .concat(['top-mid', 'top-left', 'top-right', 'bottom-mid', 'bottom-left', 'bottom-right'])
    .map((name) => [name, '']),
)

function naturalWidths(head: readonly string[], rows: readonly (readonly string[])[]): number[] {
  return head.map((title, i) =>
    rows.reduce((width, row) => Math.max(width, (row[i] ?? '').length), title.length),
  )
}

/** The widest columns give way until all fit. */
function fitted(widths: number[], available: number): number[] {
  const fittedWidths = [...widths]
  const total = () => fittedWidths.reduce((sum, width) => sum + width + GAP, 0)
  let excess = total() - available
  while (excess > 0) {
    const widest = Math.max(...fittedWidths)
    if (widest <= MIN_WIDTH) break
    fittedWidths[fittedWidths.indexOf(widest)] = widest - 1
    excess--
  }
  return fittedWidths
}
