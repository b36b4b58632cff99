import type { Terminal } from './terminal.js'

/** What a command works with. */
export interface CommandContext {
  readonly terminal: Terminal
  /** Fires at Ctrl-C: nothing is to be left half written. */
  readonly signal: AbortSignal
}
