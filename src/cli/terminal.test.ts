import { Writable } from 'node:stream'
import * as fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { Outlet, type Streams } from './outlet.js'
import { Terminal } from './terminal.js'

/** A terminal that is so wide, for results and for all else. */
function terminalOf(
  columns: number,
  bars = true,
): { readonly terminal: Terminal; readonly text: () => string } {
  let text = ''
  const write = (piece: Buffer, _encoding: string, done: () => void) => {
    text += piece.toString()
    done()
  }
  const stdout = Object.assign(new Writable({ write }), { isTTY: true, columns })
  const streams = { stdout, stderr: stdout } as unknown as Streams
  const terminal = new Terminal(
    { json: false, quiet: false, color: true, bars },
    streams,
    new Outlet(streams),
  )
  return { terminal, text: () => text }
}

/** What a table looks like. */
async function printed(columns: number, head: readonly string[], rows: readonly (readonly string[])[]) {
  const { terminal, text } = terminalOf(columns)
  await terminal.table(head, rows)
  await terminal.flush()
  return text()
}

describe('a table of plain characters', () => {
  it('is the one that cli-table3 makes', async () => {
    const cell = fc.string({ unit: fc.constantFrom(...'abc 09-"{}:…~'), maxLength: 40 })
    const tables = fc.integer({ min: 1, max: 4 }).chain((columns) => {
      const row = fc.array(cell, { minLength: columns, maxLength: columns })
      return fc.tuple(fc.array(row, { minLength: 1, maxLength: 5 }), fc.integer({ min: 60, max: 120 }))
    })
    await fc.assert(
      fc.asyncProperty(tables, async ([rows, width]) => {
        const head = (rows[0] ?? []).map((_, i) => `COLUMN ${i}`)
        // A table with a character beyond ASCII is laid out by the package: the rows before that one are the same.
        const accented = [...rows, head.map((_, i) => (i === 0 ? 'é' : ''))]
        const [plain, laidOut] = [await printed(width, head, rows), await printed(width, head, accented)]
        const withoutLast = laidOut.split('\n').slice(0, -2).join('\n')
        expect(withoutLast).toBe(plain.slice(0, -1))
      }),
      { numRuns: 30 },
    )
  })
})

describe('a progress bar', () => {
  it('is left out on a terminal that cannot show one', async () => {
    const now = vi.spyOn(performance, 'now').mockReturnValueOnce(0).mockReturnValue(5_000)
    const { terminal, text } = terminalOf(80, false)
    try {
      const bar = await terminal.progress('reading', 10)
      bar.advance(3)
      bar.end()
    } finally {
      now.mockRestore()
    }
    expect(text()).toBe('')
  })

  it('is taken away before lines of the result come to the same terminal, and comes again', async () => {
    let nowMs = 0
    const now = vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += 1_100))
    const { terminal, text } = terminalOf(80)
    try {
      const bar = await terminal.progress('reading', 10)
      bar.advance(3)
      await terminal.line('a result')
      await terminal.flush()
      bar.advance(6)
      bar.end()
    } finally {
      now.mockRestore()
    }
    const shown = Array.from(text().matchAll(/\[\?25[lh]|a result|\d+ %/g), ([what]) => what)
    expect(shown).toEqual([
      '[?25l',
      expect.stringContaining('%'),
      '30 %',
      '[?25h',
      'a result',
      '[?25l',
      expect.stringContaining('%'),
      '60 %',
      '[?25h',
    ])
  })
})
