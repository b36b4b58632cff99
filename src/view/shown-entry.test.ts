import { expect, it } from 'vitest'
import { asCell } from './shown-entry.js'

it('what would do something to a terminal, or turn a line around, is written out in a cell', () => {
  expect(asCell('a\u001b[31mred\u0000\u009b2J')).toBe(String.raw`a\u{1b}[31mred\u{0}\u{9b}2J`)
  expect(asCell(['\u202etxt', 'x\u007f'])).toBe(String.raw`["\u{202e}txt","x\u{7f}"]`)
  expect(asCell('two\nlines\tand a column, Grüße, 日本')).toBe('two lines and a column, Grüße, 日本')
})
