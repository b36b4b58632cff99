// Entries that cannot be decoded: what has been shown of them, how many there were, and that they are a finding.

import { asCell, type EntryDisplay, type ShownEntry } from '../view/shown-entry.js'
import { ExitStatus } from './outcome.js'
import type { Terminal } from './terminal.js'
import { countText } from './units.js'

/** Says how many entries could not be decoded, if any: then that is the outcome. Otherwise it is `status`. */
export function withUndecoded(
  terminal: Terminal,
  { undecoded }: EntryDisplay,
  status: number = ExitStatus.ok,
): number {
  if (undecoded === 0) return status
  const [were, are] = undecoded === 1 ? ['entry', 'is'] : ['entries', 'are']
  terminal.note(
    `${countText(undecoded)} ${were} could not be decoded, and ${are} shown as stored; --json and export give the reason`,
  )
  return ExitStatus.finding
}

/** A value in a table or a line; where it could not be decoded, with the reason. */
export const valueCell = ({ value, problem }: ShownEntry): string =>
  problem === undefined ? asCell(value) : `${asCell(value)} (not decoded: ${asCell(problem)})`
