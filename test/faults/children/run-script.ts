// Runs a child script under the fault shim: once, or again and again as the parent says by messages.

import { closeSync, openSync, writeSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { sayLine } from './say-line.js'

export interface ChildContext {
  readonly args: readonly string[]
  /** Acknowledges: what was said before a kill is never lost. */
  say(...words: readonly string[]): void
  /** Ends the fault. */
  mend(): void
}

/** What a script exports as `run`. */
export type ChildScript = (context: ChildContext) => Promise<void>

/** What a session answers per run. */
export interface SessionReply {
  readonly lines: readonly string[]
  /** What the script threw. */
  readonly failure: string | undefined
}

const [scriptPath, ...args] = process.argv.slice(2)
// Not awaited before the messages are listened to: one that came earlier would be lost.
const script = import(pathToFileURL(scriptPath as string).href) as Promise<{ readonly run: ChildScript }>

if (process.send === undefined) {
  const { run } = await script
  await run({ args, say: (...words) => sayLine(words.join(' ')), mend })
} else {
  process.on('message', async (message) => {
    process.send?.(await runOnce(message as readonly string[]))
  })
}

async function runOnce(runArgs: readonly string[]): Promise<SessionReply> {
  const lines: string[] = []
  try {
    const { run } = await script
    await run({ args: runArgs, say: (...words) => void lines.push(words.join(' ')), mend })
    return { lines, failure: undefined }
  } catch (error) {
    return { lines, failure: inspect(error) }
  }
}

/** Sets the action of the control file (the second of its 64-bit integers) to none. */
function mend(): void {
  const fd = openSync(process.env['HOLDFAST_FAULT_CONTROL'] as string, 'r+')
  writeSync(fd, new BigInt64Array(1), 0, 8, 8)
  closeSync(fd)
}
