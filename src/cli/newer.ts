// Without an id, a command takes the newest checkpoint that can be read. That there are newer ones is told, or keeps it from going on.

import type { SkippedCheckpoint } from '../index.js'
import { UsageError } from '../view/usage-error.js'
import type { Terminal } from './terminal.js'

export const newerText = ({ id, reason }: SkippedCheckpoint): string =>
  `${id} is newer, and cannot be read: ${reason}`

/** For commands that show what a checkpoint has. */
export const toldBy =
  (terminal: Terminal) =>
  (skipped: SkippedCheckpoint): void =>
    terminal.note(newerText(skipped))

/** For commands that make something new of it, which would quietly have less. */
export function refuseNewer(skipped: SkippedCheckpoint): never {
  throw new UsageError(`${newerText(skipped)}; for an older one, give its id`)
}
