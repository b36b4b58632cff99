// Without an id, a command takes the newest checkpoint that can be read. That there are newer ones is told, or keeps it from going on.

import type { SkippedCheckpoint } from '../index.js'
import { UsageError } from '../view/usage-error.js'
import type { Terminal } from './terminal.js'

/** For commands that show what a checkpoint has. */
export const toldBy =
  (terminal: Terminal) =>
  ({ id, reason }: SkippedCheckpoint): void =>
    terminal.note(`${id} is newer, and cannot be read: ${reason}`)

/** For commands that make something new of it, which would quietly have less. */
export function refuseNewer({ id, reason }: SkippedCheckpoint): never {
  throw new UsageError(`${id} is newer, and cannot be read: ${reason}; for an older one, give its id`)
}
